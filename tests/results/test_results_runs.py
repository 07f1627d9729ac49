from __future__ import annotations

import json
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from results_builders import LPIPS, begin, complete, experiment, record, store

from foresight.compute.process import Process
from foresight.errors import UserError
from foresight.results import runs

ID = "c1-vlm-latent-sufficiency"


def test_a_run_begins_with_its_criteria_and_nothing_done(home):
    begun = begin(home, "run-1", seeds=(0, 1), skipped={"e1_1": "not implemented"}, options={"refresh": True})
    read = runs.read_run(home, ID, "run-1")
    assert read == begun
    assert (read.status, read.finished_at, read.seeds) == ("running", None, (0, 1))
    assert {sub: one.status for sub, one in read.sub_experiments.items()} == {
        "e1_1": "skipped",
        "e1_4": "pending",
        "e1_5": "pending",
    }
    assert read.plan_hash == experiment().hash
    assert read.criteria_hash == runs.criteria_hash(experiment().criteria)
    assert not read.has_run


def test_a_run_is_never_begun_twice(home):
    begin(home, "run-1")
    with pytest.raises(UserError, match="exists already"):
        begin(home, "run-1")


def test_updates_are_kept_and_the_hashes_of_records_are_noted(home):
    run = begin(home, "run-1", seeds=(0,))
    runs.update_sub_experiment(home, ID, "run-1", "e1_5", status="running")
    assert runs.read_run(home, ID, "run-1").has_run
    one = store(home, record("e1_5", 0, metrics={"lpips": 0.2}))
    after = complete(home, run, one)
    assert after.sub_experiments["e1_5"].steps == {0: one.fingerprint}
    assert list(after.record_sha256) == [one.fingerprint]
    ended = runs.finish(home, ID, "run-1", "completed")
    assert ended.status == "completed"
    assert ended.finished_at is not None
    assert runs.read_run(home, ID, "run-1") == ended


@pytest.mark.parametrize(("how", "why"), [("cancelled", "cancelled"), ("failed", "its run ended before it did")])
def test_what_was_under_way_when_its_run_ended_is_pending_and_says_why(home, how, why):
    run = begin(home, "run-1", seeds=(0, 1))
    whole = [store(home, record("e1_4", seed, metrics={"iou": 0.7})) for seed in (0, 1)]
    half = [store(home, record("e1_5", 0, metrics={"lpips": 0.2})), record("e1_5", 1, metrics={"lpips": 0.2})]
    for records in (whole, half):
        complete(home, run, *records, status="running")
    ended = runs.finish(home, ID, "run-1", how)
    assert (ended.sub_experiments["e1_5"].status, ended.has_run) == ("pending", True)
    assert why in ended.sub_experiments["e1_5"].note
    assert ended.sub_experiments["e1_4"].status == "completed"  # nobody had noted it yet
    assert set(ended.record_sha256) == {one.fingerprint for one in whole}
    again = runs.go_on(home, ID, "run-1")
    assert (again.status, again.finished_at) == ("running", None)


def test_a_refresh_that_was_cut_short_does_not_take_the_old_records_for_its_own(home):
    run = begin(home, "run-1", seeds=(0,), options={"refresh": True})
    complete(home, run, store(home, record("e1_4", 0, metrics={"iou": 0.7})), status="running")
    assert runs.finish(home, ID, "run-1", "failed").sub_experiments["e1_4"].status == "pending"


def test_what_runs_here_is_left_and_what_was_killed_is_ended(home):
    begin(home, "alive")
    begin(home, "killed")
    gone = Process(pid=1, started=0.0, host=Process.current().host)
    begin(home, "elsewhere")
    for name, process in (("killed", gone), ("elsewhere", replace(gone, host="another"))):
        runs.update(home, ID, name, lambda run, process=process: run.model_copy(update={"process": process}))
    assert [run.run_id for run in runs.end_killed(home)] == ["killed"]
    assert {run.run_id: run.status for run in runs.list_runs(home, ID)} == {
        "alive": "running",
        "killed": "failed",
        "elsewhere": "running",
    }
    assert runs.end_killed(home) == []


def test_what_was_fixed_before_the_first_step_cannot_be_changed(home):
    begin(home, "run-1")
    easier = LPIPS.model_copy(update={"acceptable": 0.44})
    for change in ({"stub": True}, {"profile": "real"}, {"seeds": (7,)}, {"plan_hash": "0"}):
        with pytest.raises(ValueError, match="fixed before its first step"):
            runs.update(home, ID, "run-1", lambda run, change=change: run.model_copy(update=change))
    with pytest.raises(ValueError, match="fixed before its first step"):
        runs.update(
            home,
            ID,
            "run-1",
            lambda run: run.model_copy(
                update={"experiment": run.experiment.model_copy(update={"criteria": (easier,)})}
            ),
        )
    assert runs.read_run(home, ID, "run-1").experiment.criteria[0] == LPIPS


def test_a_threshold_moved_in_the_file_makes_the_run_void(home):
    begin(home, "run-1")
    path = runs.folder(home, ID, "run-1") / "run.json"
    content = json.loads(path.read_text())
    content["experiment"]["criteria"][0]["acceptable"] = 0.44
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="not those that were fixed"):
        runs.list_runs(home, ID)


def test_the_criteria_hash_sees_every_field_and_no_order():
    base = runs.criteria_hash([LPIPS])
    changes = {"target": 0.1, "acceptable": 0.3, "failure": 0.5, "direction": "higher", "metric": "x", "arm": "x"}
    for field, value in changes.items():
        assert runs.criteria_hash([LPIPS.model_copy(update={field: value})]) != base
    other = LPIPS.model_copy(update={"name": "other"})
    assert runs.criteria_hash([LPIPS, other]) == runs.criteria_hash([other, LPIPS])


def test_runs_are_listed_oldest_first_and_what_is_missing_is_said(home):
    assert runs.list_runs(home, ID) == []
    assert runs.list_experiments(home) == []
    for name in ("b", "a", "c"):
        begin(home, name)
    assert [run.run_id for run in runs.list_runs(home, ID)] == ["b", "a", "c"]
    assert runs.list_experiments(home) == [ID]
    with pytest.raises(UserError, match="no run nope"):
        runs.finish(home, ID, "nope", "completed")
    with pytest.raises(UserError, match="no sub-experiment 'e9'"):
        runs.update_sub_experiment(home, ID, "a", "e9", status="running")


def test_many_writers_lose_no_update(home):
    begin(home, "run-1")

    def attempt(_: int) -> None:
        def change(run: runs.Run) -> runs.Run:
            sub = run.sub_experiments["e1_5"]
            more = sub.model_copy(update={"attempts": sub.attempts + 1})
            return run.model_copy(update={"sub_experiments": {**run.sub_experiments, "e1_5": more}})

        runs.update(home, ID, "run-1", change)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(attempt, range(40)))
    assert runs.read_run(home, ID, "run-1").sub_experiments["e1_5"].attempts == 40


def _die_while_running(home) -> None:
    import os
    import signal

    begin(home, "killed", seeds=(0, 1, 2))
    runs.update_sub_experiment(home, ID, "killed", "e1_5", status="running", steps={0: "a" * 64})
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_run_leaves_a_readable_file_that_says_what_was_under_way(home):
    process = multiprocessing.get_context("fork").Process(target=_die_while_running, args=(home,))
    process.start()
    process.join(30)
    assert process.exitcode == -9
    run = runs.read_run(home, ID, "killed")
    assert (run.status, run.finished_at) == ("running", None)
    assert run.sub_experiments["e1_5"].status == "running"
    assert runs.finish(home, ID, "killed", "cancelled").status == "cancelled"
