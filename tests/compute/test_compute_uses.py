"""A sub-experiment reads what another one left for the same seed: brought along, verified, counted, never mixed up."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import pytest

from foresight.cli.shortcut import recorded_already, run_in_process
from foresight.compute import planner, reproduce
from foresight.compute.backend import Call
from foresight.compute.request import RunRequest, resolve
from foresight.compute.run_step import run_call, steps_to_json
from foresight.errors import UserError
from foresight.files import sha256_file, write_json
from foresight.plan.loader import load_plan
from foresight.results import export, gates, spending
from foresight.results.record import read_record
from foresight.results.report.origin import source_of
from foresight.results.verify import verify


@pytest.fixture
def two(toy):
    toy.in_two_steps()
    return toy


def job(toy, *subs: str, **options):
    return resolve(RunRequest(("t1",), subs or ("t_b",), plan=toy.plan, **{"seeds": 1, **options}))


def ran(toy, *subs: str, **options):
    """The document of t1 after a run in this process, and the labels of what failed."""
    documents, failed = run_in_process(job(toy, *subs, **options), toy.home)
    return documents["t1-toy"], failed


def record(toy, sub: str, seed: int = 0):
    return reproduce.find_record(toy.home, f"t1/{sub}", seed)


def rewrite(toy, record, **changes):
    write_json(toy.home.record(record.fingerprint), {**record.model_dump(mode="json"), **changes})


def test_what_it_uses_comes_along_for_each_seed_and_it_is_said(two, capsys):
    document, failed = ran(two, seeds=2)
    assert failed == ()
    assert "t_a belongs to it, since t_b reads what t_a leaves" in capsys.readouterr().out
    subs = document["results"]["experiments"]
    assert [subs[sub]["status"] for sub in ("t_a", "t_b")] == ["completed", "completed"]
    for seed in (0, 1):
        trained, scored = record(two, "t_a", seed), record(two, "t_b", seed)
        assert scored.identity["uses"] == {"t_a": trained.fingerprint}
        (system,) = trained.artifacts
        assert scored.read == {"t_a/system.json": system.sha256}
        weights = json.loads((two.home.root / system.path).read_text())["weights"]
        assert scored.metrics["first"] == weights[0]  # of its own seed
    assert recorded_already(job(two, seeds=2), two.home) is not None
    assert verify(two.home) == []


def test_who_asks_for_it_by_name_is_told_nothing(two):
    assert job(two, "t_a", "t_b").brought_along == ""
    assert resolve(RunRequest(("t1",), plan=two.plan)).brought_along == ""
    assert [sub.id for sub in job(two, "t_a").selections[0].sub_experiments] == ["t_a"]


def test_another_training_is_another_identity_of_what_uses_it(two):
    before = planner.plan_steps(job(two), two.home, "").seeded
    two.edit_handlers("standard_normal(4)", "standard_normal(5)")
    after = planner.plan_steps(job(two), two.home, "").seeded
    assert [before[key].fingerprint == after[key].fingerprint for key in before] == [False, False]


def test_what_it_uses_failed_so_it_fails_and_says_why(two):
    two.in_two_steps(first="broken")
    document, failed = ran(two)
    assert failed == ("t1/t_a seed 0", "t1/t_b seed 0")
    assert "t_a has no record" in document["results"]["experiments"]["t_b"]["error"]
    assert document["recommendation"] == "investigate"


def test_a_damaged_file_is_not_read_but_made_again(two):
    ran(two, "t_a")
    (system,) = record(two, "t_a").artifacts
    path = two.home.root / system.path
    whole = path.read_text()
    path.write_text(whole.replace("0", "1"))
    _, failed = ran(two)
    assert failed == ()
    assert path.read_text() == whole
    path.write_text("{}")
    step = planner.plan_steps(job(two), two.home, "").of("t1-toy", "t_b")[0]
    two.home.record(step.fingerprint).unlink()
    (outcome,) = run_call(steps_to_json(Call((step,))), two.home, "call", "run")
    assert outcome.cause == "needs"
    assert "system.json of t1/t_a seed 0 is damaged" in outcome.error


def test_only_what_the_plan_says_can_be_read(two):
    two.edit_handlers('runner.artifact("t_a", ', 'runner.artifact("t_c", ')
    document, _ = ran(two)
    assert "List t_c under `uses`" in document["results"]["experiments"]["t_b"]["error"]


def test_a_score_of_a_system_that_was_trained_anew_is_seen_and_computed_again(two):
    """On a GPU the same training need not come out the same to the last bit."""
    ran(two)
    trained, scored = record(two, "t_a"), record(two, "t_b")
    (system,) = trained.artifacts
    path = two.home.root / system.path
    path.write_text(json.dumps({"weights": [9.0, 9.0, 9.0, 9.0]}))
    anew = system.model_copy(update={"sha256": sha256_file(path), "size_bytes": path.stat().st_size})
    rewrite(two, trained, artifacts=[anew.model_dump(mode="json")], finished_at="2999-01-01T00:00:00+00:00")
    (problem,) = [one for one in verify(two.home) if scored.fingerprint in one.path]
    assert "it read another t_a/system.json than there is now" in problem.what
    with pytest.raises(UserError, match="t_a was computed again since"):
        reproduce.reproduce(two.home, scored)
    assert recorded_already(job(two), two.home) is None


def test_it_is_reproduced_with_the_system_that_it_read_and_without_one_by_training_it(two):
    ran(two)
    found = reproduce.reproduce(two.home, record(two, "t_b"))
    assert (found.agrees, found.extracted) == (True, ())
    two.home.record(record(two, "t_a").fingerprint).unlink()
    found = reproduce.reproduce(two.home, record(two, "t_b"))
    assert (found.agrees, found.extracted) == (True, ("t1/t_a seed 0",))


def test_what_is_wrong_with_the_training_is_wrong_with_the_score(two, tmp_path):
    """Uncommitted code and stand-ins of the used step count in gates, in the report's origin and in tables."""
    ran(two)
    trained, scored = record(two, "t_a"), record(two, "t_b")

    def with_training(**changes):
        provenance = {**trained.provenance.model_dump(mode="json"), "git_dirty": False, **changes}
        rewrite(two, trained, provenance=provenance)
        rewrite(two, scored, provenance={**scored.provenance.model_dump(mode="json"), "git_dirty": False})
        plan = load_plan(two.folder / "plan.yaml")
        gate = gates.evaluate(two.home, plan, "gate_1", profile="tiny", moves_gates=True)
        export.export(two.home, tmp_path / "tables")
        rows = list(csv.DictReader((tmp_path / "tables" / "metrics.csv").open()))
        row = next(row for row in rows if row["sub_experiment"] == "t_b")
        return gate.reason, row, source_of(two.home, [record(two, "t_b")])

    for path in two.home.results.glob("*/runs/*/run.json"):  # whatever this checkout is
        write_json(path, {**json.loads(path.read_text()), "git_dirty": False})
    reason, row, source = with_training()
    assert (row["stand_in"], row["git_dirty"], source.dirty) == ("0", "0", False)
    assert "committed" not in reason
    reason, row, source = with_training(git_dirty=True)
    assert "t_b was measured with changes that were not committed" in reason
    assert (row["git_dirty"], source.dirty) == ("1", True)
    model = {"id": "toy/stand-in", "revision": "1", "weights_sha256": "0" * 64, "stand_in": True}
    reason, row, source = with_training(models={"vlm": model})
    assert "measured on stand-ins (toy/stand-in)" in reason
    assert (row["stand_in"], [model[4] for model in source.models]) == ("1", [True])
    two.home.record(trained.fingerprint).unlink()
    plan = load_plan(two.folder / "plan.yaml")
    assert (
        "rests on t_a, whose record is gone"
        in gates.evaluate(two.home, plan, "gate_1", profile="tiny", moves_gates=True).reason
    )


def test_what_it_cost_holds_what_the_training_cost(two):
    ran(two)
    trained, scored = record(two, "t_a"), record(two, "t_b")
    spent = spending.of_steps(two.home, [scored.fingerprint], with_needs=True)
    assert spent.seconds == pytest.approx(trained.usage.seconds + scored.usage.seconds)


def test_a_refreshed_training_takes_its_score_with_it(two):
    ran(two)
    before = record(two, "t_b").run_id
    ran(two, refresh=True)
    assert record(two, "t_b").run_id == record(two, "t_a").run_id != before


def test_the_steps_of_a_wave_come_after_what_they_use(two):
    plan = planner.plan_steps(replace(job(two), seeds=(0, 1)), two.home, "")
    labels = [call.label for call in plan.calls()]
    assert labels == ["t1/t_a seed 0", "t1/t_a seed 1", "t1/t_b seed 0", "t1/t_b seed 1"]
    assert read_record(two.home, plan.of("t1-toy", "t_b")[1].needs["t_a"]) is None
