import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import compute_executors
import pytest
from compute_executors import EXECUTORS, call, step

from foresight.compute import ledger
from foresight.compute.claim import Holder, try_claim
from foresight.compute.code_identity import code_identity
from foresight.compute.journal import JournalWriter, read_journal
from foresight.compute.run_step import run_call, steps_to_json
from foresight.compute.step import Step
from foresight.files import read_json, sha256_file, write_json
from foresight.home import Home
from foresight.results.record import read_record


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


def run(home, *steps, call_id="call", run_id="run", **options):
    return run_call(steps_to_json(call(*steps)), home, call_id, run_id, executors=EXECUTORS, **options)


def attempt_of(home, each, number=1):
    return home.step(each.fingerprint) / "attempts" / str(number)


def test_a_step_leaves_a_record_that_names_everything(home):
    work = step("work", text="apples")
    (outcome,) = run(home, work)
    assert (outcome.status, outcome.attempt, outcome.error) == ("completed", 1, "")
    record = read_record(home, work.fingerprint)
    assert (record.experiment_id, record.sub_experiment, record.seed, record.run_id) == ("c1", "e1_1", 0, "run")
    assert record.finding == "it is 0.50"
    assert record.identity == work.identity
    (made,) = record.artifacts
    assert made.path == f"steps/{work.fingerprint}/artifacts/plots/a.txt"
    assert (home.root / made.path).read_text() == "picture of apples"
    assert sha256_file(home.root / made.path) == made.sha256
    assert record.usage.device == "cpu"
    assert 0 < record.usage.seconds < 60
    assert record.usage.cpu_seconds >= 0
    assert record.usage.peak_memory_bytes > 10e6
    assert record.provenance.versions["numpy"]
    assert record.provenance.lock_sha256 == sha256_file(Path(__file__).parents[2] / "requirements.lock")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True)
    assert record.provenance.git_commit == (head.stdout.strip() or None)


def test_its_log_and_metrics_stay_with_the_attempt(home):
    first, second = step("work", text="apples"), step("work", text="pears")
    run(home, first, second)
    log = (attempt_of(home, first) / "log.txt").read_text()
    assert log == "working on apples\nfrom a child: apples\n::progress 0.5 half of apples\n"
    assert "pears" in (attempt_of(home, second) / "log.txt").read_text()
    assert (attempt_of(home, first) / "metrics.jsonl").exists()
    assert not (attempt_of(home, first) / "started.json").exists()
    assert not (attempt_of(home, first) / "attempt.json").exists()


def test_what_is_recorded_is_not_computed_again(home):
    work = step("work")
    run(home, work)
    before = home.record(work.fingerprint).read_bytes()
    (outcome,) = run(home, work, call_id="second")
    assert outcome.status == "completed"
    assert home.record(work.fingerprint).read_bytes() == before
    assert (home.ledger / "run" / "second.log").read_text() == ""


def test_refresh_replaces_the_record_once(home):
    plain, forced = step("work"), step("work", work={"refresh": "r2"})
    assert plain.fingerprint == forced.fingerprint
    run(home, plain, run_id="r1")
    (again,) = run(home, forced, run_id="r2", call_id="c2")
    assert again.attempt == 2
    (kept,) = run(home, forced, run_id="r2", call_id="c3")
    assert kept.attempt == 2
    record = read_record(home, plain.fingerprint)
    assert (record.run_id, record.attempt) == ("r2", 2)
    assert (home.root / record.artifacts[0].path).exists()
    assert not (attempt_of(home, plain) / "attempt.json").exists()


def test_a_refresh_that_fails_keeps_what_there_was(home, monkeypatch):
    work = step("work", work={"refresh": "r2"})
    run(home, step("work"), run_id="r1")
    monkeypatch.setattr(compute_executors, "do_work", compute_executors.do_raise)
    (outcome,) = run(home, work, run_id="r2", call_id="c2")
    assert outcome.cause == "exception"
    record = read_record(home, work.fingerprint)
    assert record.attempt == 1
    assert (home.root / record.artifacts[0].path).exists()


@pytest.mark.parametrize(
    ("do", "cause", "says", "retryable"),
    [
        ("raise", "exception", "ZeroDivisionError: by zero", False),
        ("user_error", "exception", "it is wrong. because. do this.", False),
        ("exit", "exception", "SystemExit: 3", False),
        ("unknown", "exception", "KeyError", False),
        ("not_finite", "invalid_output", "metrics.score.*a finite number", False),
        ("nothing", "invalid_output", "returned NoneType, not a StepOutput", False),
        ("bad_finding", "invalid_output", "template", False),
        ("liar", "invalid_output", "changed after it was saved", False),
        ("absent", "invalid_output", "is not there: features/x", False),
        ("outside", "invalid_output", "outside FORESIGHT_HOME", False),
        ("memory", "out_of_memory", "MemoryError.*batch_size", False),
        ("gpu_memory", "out_of_memory", "CUDA out of memory.*batch_size", False),
        ("disk", "disk", "no space left.*results prune", True),
        ("disk_wrapped", "disk", "no space left.*results prune", True),
    ],
)
def test_a_failure_has_a_cause_and_leaves_everything(home, do, cause, says, retryable):
    bad = step(do)
    (outcome,) = run(home, bad, usd_per_second=1.0)
    assert (outcome.status, outcome.cause, outcome.retryable, outcome.attempt) == ("failed", cause, retryable, 1)
    assert read_record(home, bad.fingerprint) is None
    assert not (home.step(bad.fingerprint) / "artifacts").exists()
    failed = read_json(attempt_of(home, bad) / "attempt.json")
    assert failed["cause"] == cause
    assert "\n" not in failed["error"]
    assert failed["error"] == outcome.error
    re.search(says, failed["error"]) or pytest.fail(failed["error"])
    assert "Traceback" in failed["traceback"]
    assert failed["cost_usd"] == failed["seconds"] > 0
    assert failed["traceback"] in (attempt_of(home, bad) / "log.txt").read_text()


def test_a_failed_attempt_keeps_its_artifacts_apart(home, monkeypatch):
    work = step("work")
    with monkeypatch.context() as patch:
        patch.setattr(compute_executors, "do_work", compute_executors.do_raise)
        run(home, work)
    (outcome,) = run(home, work, call_id="second")
    assert (outcome.status, outcome.attempt) == ("completed", 2)
    assert [a.name for a in read_record(home, work.fingerprint).artifacts] == ["plots/a.txt"]
    assert (attempt_of(home, work) / "artifacts" / "partial.txt").exists()
    assert not (home.step(work.fingerprint) / "artifacts" / "partial.txt").exists()


def test_one_step_s_failure_is_not_the_next_one_s(home):
    outcomes = run(home, step("raise"), step("work"), step("not_finite"), step("work", text="x"))
    assert [outcome.status for outcome in outcomes] == ["failed", "completed", "failed", "completed"]


def test_steps_of_one_model_reach_their_executor_together(home):
    steps = [step("work", kind="extract", text=text) for text in "abc"]
    recorded = steps[1]
    run(home, recorded, call_id="earlier")
    outcomes = run(home, *steps, step("work"))
    assert [outcome.status for outcome in outcomes] == ["completed"] * 4
    journal = read_journal(ledger.call_file(home, "run", "call", ".journal.jsonl"))
    assert [[a.fingerprint for a in began.attempts] for began in journal.began] == [
        [steps[0].fingerprint, steps[2].fingerprint],
        [step("work").fingerprint],
    ]
    assert journal.began[0].timeout_s == 120.0
    assert journal.is_over
    assert journal.outcomes == {outcome.fingerprint: outcome for outcome in outcomes}


def test_an_exception_halfway_keeps_what_was_finished(home):
    steps = [step("work", kind="extract"), step("raise", kind="extract"), step("work", kind="extract", text="never")]
    outcomes = run(home, *steps)
    assert [outcome.status for outcome in outcomes] == ["completed", "failed", "failed"]
    assert {outcome.cause for outcome in outcomes[1:]} == {"exception"}


def test_a_wrong_output_halfway_is_its_own_step_s(home):
    steps = [step("work", kind="extract"), step("liar", kind="extract"), step("skip", kind="extract")]
    outcomes = run(home, *steps)
    assert [outcome.cause for outcome in outcomes] == [None, "invalid_output", "invalid_output"]
    assert "without finishing" in outcomes[2].error


def test_unlisted_artifacts_and_shards_elsewhere_are_recorded(home):
    run(home, step("unlisted"), step("shard"))
    (forgotten,) = read_record(home, step("unlisted").fingerprint).artifacts
    assert forgotten.name == "forgotten.txt"
    assert sha256_file(home.root / forgotten.path) == forgotten.sha256
    (shard,) = read_record(home, step("shard").fingerprint).artifacts
    assert shard.path == "features/f/00000.bin"


def test_a_claimed_step_is_left_to_its_holder(home):
    work = step("work")
    with try_claim(home, work.fingerprint, Holder.here("other-call", "other-run")):
        outcomes = run(home, work, step("work", text="free"))
    assert [outcome.status for outcome in outcomes] == ["claimed_elsewhere", "completed"]
    assert "call other-call of run other-run (pid" in outcomes[0].error
    assert not (home.step(work.fingerprint) / "attempts").exists()


def test_claims_are_free_afterwards(home):
    run(home, step("work"), step("raise"))
    for each in (step("work"), step("raise")):
        try_claim(home, each.fingerprint, Holder.here("c", "r")).release()


def test_claims_may_lie_elsewhere(home):
    asked = []

    def claims(fingerprint, holder):
        asked.append((fingerprint, holder.call_id))
        return Holder("far", "away", None)

    (outcome,) = run(home, step("work"), claims=claims)
    assert (outcome.status, outcome.error) == ("claimed_elsewhere", "call far of run away works on it")
    assert asked == [(step("work").fingerprint, "call")]


def with_identity(**identity):
    return Step("sub_experiment", "stated", "tiny", {"parameters": {"do": "work"}, **identity})


def test_work_under_a_false_identity_is_refused(home):
    handler = "foresight.home:Home"
    stated = steps_to_json(call(with_identity(handler=handler, code=code_identity(handler), versions={"numpy": "1.0"})))
    stated[0]["identity"]["seed"] = 7
    (outcome,) = run_call(stated, home, "c", "r", executors=EXECUTORS)
    assert (outcome.status, outcome.cause, outcome.retryable) == ("failed", "identity", False)
    assert "hashes to" in outcome.error
    assert "deployed code differs: run `modal deploy" in outcome.error
    assert not home.steps.exists() or not list(home.steps.glob("*/attempts"))


@pytest.mark.parametrize(
    ("identity", "says"),
    [
        ({"handler": "foresight.home:Home", "code": "0" * 64}, "the code of foresight.home:Home.*modal deploy"),
        ({"handler": "foresight.gone:run", "code": "0" * 64}, "no module 'foresight.gone'.*modal deploy"),
        ({"versions": {"numpy": "0.1"}}, r"numpy 0\.1 was planned, \d.* is installed here"),
        ({"extraction_version": "another"}, "extraction version another, .* here .*modal deploy"),
        ({"versions": {"no-such-library": "1"}}, "no-such-library 1 was planned, none is installed"),
    ],
)
def test_what_differs_is_named(home, identity, says):
    each = with_identity(**identity)
    (outcome,) = run(home, each)
    assert (outcome.cause, outcome.attempt) == ("identity", 0)
    re.search(says, outcome.error) or pytest.fail(outcome.error)
    assert not home.record(each.fingerprint).exists()


def test_what_agrees_is_let_through(home):
    import numpy

    each = with_identity(
        handler="foresight.home:Home", code=code_identity("foresight.home:Home"), versions={"numpy": numpy.__version__}
    )
    assert run(home, each)[0].status == "completed"


def test_other_weights_than_planned_are_refused(home):
    from foresight.models.identity import ModelSpec, identity, write_manifest

    spec = ModelSpec("vlm", "lab/model", "abc")
    folder = home.models / "lab--model" / "abc"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    write_manifest(folder, id=spec.id, revision=spec.revision, licence="none")
    models = {"vlm": identity(spec, home).model_dump()}
    work = {"model_specs": {"vlm": spec.to_json()}}
    good = Step("sub_experiment", "good", "tiny", {"parameters": {"do": "work"}, "models": models}, work)
    assert run(home, good)[0].status == "completed"
    assert (
        read_record(home, good.fingerprint).provenance.models["vlm"].weights_sha256 == models["vlm"]["weights_sha256"]
    )
    (folder / "model.safetensors").write_bytes(b"other weights")
    write_manifest(folder, id=spec.id, revision=spec.revision, licence="none")
    bad = Step("sub_experiment", "bad", "tiny", {**good.identity, "seed": 1}, work)
    (outcome,) = run(home, bad, call_id="second")
    assert outcome.cause == "identity"
    assert "model vlm: lab/model at abc with weights" in outcome.error


def test_being_taken_down_closes_the_attempt_and_is_passed_on(home):
    with pytest.raises(KeyboardInterrupt):
        run(home, step("interrupt"))
    assert read_json(attempt_of(home, step("interrupt")) / "attempt.json")["cause"] == "signal"
    try_claim(home, step("interrupt").fingerprint, Holder.here("c", "r")).release()


def test_a_home_that_cannot_be_written_is_an_outcome(home, tmp_path):
    (tmp_path / "home").write_text("a file where the home should be")
    (outcome,) = run(home, step("work"))
    assert (outcome.status, outcome.cause) == ("failed", "exception")


def test_a_disk_that_is_full_for_the_journal_is_an_outcome(home, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(JournalWriter, "_append", full)
    outcomes = run(home, step("work"), step("work", text="x"))
    assert {(o.status, o.cause, o.retryable) for o in outcomes} == {("failed", "disk", True)}
    try_claim(home, step("work").fingerprint, Holder.here("c", "r")).release()


def test_an_extraction_s_provenance_names_its_model_and_data(home):
    model = {"id": "lab/model", "revision": "abc", "weights_sha256": "0" * 64, "stand_in": False}
    identity = {"parameters": {"do": "work"}, "model": model, "role": "vlm", "data": "d" * 64}
    each = Step("extract", "x", "tiny", identity, {"data_spec": {"name": "photographs"}})
    run(home, each)
    provenance = read_record(home, each.fingerprint).provenance
    assert provenance.models["vlm"].model_dump() == model
    assert provenance.data == {"photographs": "d" * 64}


def test_echo_shows_the_log_on_the_stdout_that_was_there_before(home, capfd):
    run(home, step("print", lines=2000), echo=True)
    assert capfd.readouterr().out == "".join(f"line {n}\n" for n in range(2000))


def test_output_goes_to_the_log_only_while_the_call_runs(home, capfd):
    run(home, step("work"))
    print("after")
    os.write(1, b"fd after\n")
    assert capfd.readouterr().out == "after\nfd after\n"


CRASH = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from compute_executors import EXECUTORS, call, step
from foresight.compute import crash_points
from foresight.compute.run_step import run_call, steps_to_json
from foresight.home import Home
point, how = sys.argv[3:5]
def reached(here):
    if here == point:
        os.kill(os.getpid(), signal.SIGKILL)
crash_points.reached = reached
work = step("work", work={"refresh": "r2"} if how == "refresh" else None)
run_call(steps_to_json(call(work)), Home(Path(sys.argv[2])), "crashed", "r2", executors=EXECUTORS)
print("not reached")
"""
POINTS = [
    "claimed", "attempt opened", "executed", "verified", "earlier record withdrawn", "artifacts moved",
    "before record", "record written",
]  # fmt: skip


@pytest.mark.parametrize("how", ["kill", "refresh"])
@pytest.mark.parametrize("point", POINTS)
def test_a_crash_anywhere_shows_nothing_half_written_and_the_next_run_finishes(home, point, how):
    work = step("work")
    if how == "refresh":
        run(home, work, run_id="r1", call_id="first")
    died = subprocess.run(
        [sys.executable, "-c", CRASH, str(Path(__file__).parent), str(home.root), point, how],
        capture_output=True,
        text=True,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr
    record = read_record(home, work.fingerprint)  # raises on anything half-written
    withdrawn = how == "refresh" and POINTS.index(point) < POINTS.index("earlier record withdrawn")
    assert (record is not None) is (withdrawn or point == "record written")
    if record is not None:
        assert all(sha256_file(home.root / a.path) == a.sha256 for a in record.artifacts)

    (outcome,) = run(home, work, call_id="next")
    assert outcome.status == "completed"
    record = read_record(home, work.fingerprint)
    assert (home.root / record.artifacts[0].path).read_text() == "picture of hello"
    if point != "record written" and not (how == "refresh" and withdrawn):
        open_ones = list(home.step(work.fingerprint).glob("attempts/*/started.json"))
        assert open_ones == []
    lost = home.step(work.fingerprint) / "attempts" / ("2" if how == "refresh" else "1") / "attempt.json"
    crashed_in_attempt = point not in ("claimed", "record written")
    if crashed_in_attempt and not withdrawn:
        assert read_json(lost)["cause"] == "lost"
        assert record.attempt == (3 if how == "refresh" else 2)


def test_what_a_crash_left_of_artifacts_is_replaced(home):
    work = step("work")
    leftover = home.step(work.fingerprint) / "artifacts" / "old.txt"
    leftover.parent.mkdir(parents=True)
    leftover.write_text("old")
    run(home, work)
    assert [path.name for path in leftover.parent.rglob("*") if path.is_file()] == ["a.txt"]


def test_a_lost_attempt_keeps_its_log_and_seconds(home):
    work = step("work")
    run(home, work)
    record = home.record(work.fingerprint)
    record.unlink()  # as if it had crashed before the record
    folder = attempt_of(home, work)
    journal = (home.ledger / "run" / "call.journal.jsonl").read_text().splitlines()
    write_json(folder / "started.json", json.loads(journal[0])["began"][0])
    (folder / "log.txt").unlink()
    run(home, work, call_id="next")
    lost = read_json(folder / "attempt.json")
    assert lost["cause"] == "lost"
    assert "working on hello" in (folder / "log.txt").read_text()
