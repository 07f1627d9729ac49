"""A recorded step computed again says whether the numbers agree, and refuses what it cannot compute."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from foresight.compute import reproduce
from foresight.compute.planner import plan_steps
from foresight.compute.reproduce import find_record
from foresight.compute.request import RunRequest, resolve
from foresight.errors import StepFailed, UserError
from foresight.files import write_json
from foresight.home import Home
from foresight.results.record import Record, read_record


@pytest.fixture
def ran(toy) -> Home:
    """The toy programme, one seed, in this process."""
    from foresight.cli.shortcut import run_in_process

    run_in_process(resolve(RunRequest(("t1",), plan=toy.plan, seeds=1)), toy.home)
    return toy.home


def record_of(home: Home, sub: str = "t_a") -> Record:
    return find_record(home, f"t1/{sub}")


def rewrite(home: Home, record: Record, **changes: object) -> Record:
    """The record with a changed field, as another machine or another day would have left it."""
    write_json(home.record(record.fingerprint), {**record.model_dump(mode="json"), **changes})
    changed = read_record(home, record.fingerprint)
    assert changed is not None
    return changed


def test_the_same_machine_gives_every_number_to_the_last_bit(ran):
    before = sorted(path for path in ran.root.rglob("*"))
    result = reproduce.reproduce(ran, record_of(ran))
    assert (result.agrees, result.exact) == (True, True)
    assert result.scores == (48, 48)
    assert result.files == (1, 1)
    assert [number.name for number in result.numbers] == ["accuracy", "extra"]
    assert sorted(path for path in ran.root.rglob("*")) == before  # the place of its own left nothing behind


def test_a_number_that_was_edited_does_not_agree(ran):
    record = record_of(ran)
    edited = rewrite(ran, record, metrics={**record.metrics, "accuracy": record.metrics["accuracy"] + 1e-12})
    result = reproduce.reproduce(ran, edited)
    assert not result.agrees
    assert [number.name for number in result.numbers if not number.agrees] == ["accuracy"]


def test_a_single_score_that_was_edited_does_not_agree(ran):
    record = record_of(ran)
    samples = [one.model_dump(mode="json") for one in record.samples]
    samples[0]["scores"][3] += 1e-12
    result = reproduce.reproduce(ran, rewrite(ran, record, samples=samples))
    assert result.scores == (48, 47)
    assert not result.agrees


@pytest.mark.parametrize(("off", "agrees"), [(1e-5, True), (0.05, False)])
def test_on_another_machine_a_tolerance_is_stated_and_kept(ran, off: float, agrees: bool):
    record = record_of(ran)
    provenance = {**record.provenance.model_dump(mode="json"), "processor": "Another CPU"}
    metrics = {**record.metrics, "accuracy": record.metrics["accuracy"] + off}
    result = reproduce.reproduce(ran, rewrite(ran, record, provenance=provenance, metrics=metrics))
    assert (result.exact, result.agrees) == (False, agrees)
    assert "Another CPU" in result.because
    error = 0.02 / 24**0.5  # of 24 scores that scatter by 0.02
    assert result.numbers[0].tolerance == pytest.approx(0.1 * error, rel=0.4)


@pytest.fixture
def timed(toy) -> None:
    """The toy's plan says of both sub-experiments that their numbers are times."""
    plan = Path(toy.plan)
    plan.write_text(plan.read_text().replace("{id: t_a,", "{id: t_a, timed: true,"))


def test_times_are_taken_again_and_shown_and_nobody_expects_the_same(timed, ran):
    record = record_of(ran)
    metrics = {**record.metrics, "accuracy": 10 * record.metrics["accuracy"]}
    result = reproduce.reproduce(ran, rewrite(ran, record, metrics=metrics))
    assert (result.exact, result.agrees) == (False, True)
    assert result.because == "it was timed, and no two runs take as long"
    assert result.numbers[0].again == record.metrics["accuracy"]


def test_a_time_on_one_gpu_is_no_answer_for_another(timed, toy):
    def planned(gpu: str | None) -> dict[str, str]:
        job = resolve(RunRequest(("t1",), plan=toy.plan, seeds=1, gpu=gpu, compute="modal"))
        return {key.sub_experiment: step.fingerprint for key, step in plan_steps(job, toy.home, "").seeded.items()}

    profiles = toy.folder / "profiles.yaml"
    profiles.write_text(profiles.read_text().replace("sub_experiment: {device: cpu", "sub_experiment: {device: A10"))
    own, other = planned(None), planned("H100")
    assert own["t_a"] != other["t_a"]
    assert own["t_b"] == other["t_b"], "what is not timed is the same wherever it runs"


def test_other_code_is_refused_with_what_differs(ran, toy):
    record = record_of(ran)
    toy.edit_handlers("0.9 + 0.02", "0.8 + 0.02")
    with pytest.raises(UserError, match=r"code would be different here\. Check out"):
        reproduce.reproduce(ran, record)


def test_a_plan_that_is_gone_is_asked_for(ran, toy, tmp_path):
    record = record_of(ran)
    moved = Path(toy.plan).rename(toy.folder / "moved.yaml")
    with pytest.raises(UserError, match="--plan"):
        reproduce.reproduce(ran, record)
    assert reproduce.reproduce(ran, record, str(moved)).agrees


def test_what_ran_on_a_gpu_is_refused(ran):
    record = record_of(ran)
    elsewhere = rewrite(ran, record, usage={**record.usage.model_dump(), "device": "A10"})
    with pytest.raises(UserError, match="was computed on a A10"):
        reproduce.reproduce(ran, elsewhere)


def test_a_step_that_fails_this_time_says_so(ran, toy, monkeypatch):
    record = record_of(ran)
    monkeypatch.setenv("TOY_CALLS", str(toy.folder / "no" / "such" / "folder"))
    with pytest.raises(StepFailed, match="failed this time: FileNotFoundError"):
        reproduce.reproduce(ran, record)


def test_a_record_is_found_by_name_prefix_and_path(ran):
    record = record_of(ran)
    assert find_record(ran, record.fingerprint[:12]) == record
    assert find_record(ran, str(ran.record(record.fingerprint))) == record
    assert find_record(ran, str(ran.step(record.fingerprint))) == record
    assert find_record(ran, "t1/t_a", seed=0) == record
    assert find_record(ran, "t1-toy/t_a") == record


@pytest.mark.parametrize(
    ("wanted", "seed", "said"),
    [
        ("t1/t_a", 7, "no record of seed 7. It has: 0"),
        ("t1/t_z", None, "no sub-experiment 't_z' of t1: did you mean 't_b'"),
        ("t7/t_a", None, "t7 has no results here"),
        ("ffff", None, "no record 'ffff'"),
        ("e1", None, "no record 'e1'"),
        ("*", None, "no record"),
    ],
)
def test_what_is_not_there_is_named(ran, wanted: str, seed: int | None, said: str):
    with pytest.raises(UserError, match=said.replace("*", r"\*")):
        find_record(ran, wanted, seed)


def test_a_prefix_of_several_records_asks_for_more(ran):
    record = record_of(ran)
    twin = record.fingerprint[:8] + "0" * 56
    ran.step(twin).mkdir(parents=True)
    write_json(ran.record(twin), {**record.model_dump(mode="json"), "fingerprint": twin})
    with pytest.raises(UserError, match="2 records begin with"):
        find_record(ran, record.fingerprint[:8])


def test_the_shell_says_it_and_speaks_json(ran, toy, capsys):
    from foresight.cli import app

    assert app(["reproduce", "t1/t_a"], standalone_mode=False) == 0
    said = capsys.readouterr().out
    assert "computing t1/t_a seed 0 again" in said
    assert "bit for bit" in said
    assert app(["reproduce", "t1/t_a", "--json"], standalone_mode=False) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["agrees"] is True
    assert answer["scores"] == {"all": 48, "equal": 48}
    record = record_of(ran)
    rewrite(ran, record, metrics={**record.metrics, "extra": 2.0})
    assert app(["reproduce", "t1/t_a"], standalone_mode=False) == 1
    assert "differs" in capsys.readouterr().out
