"""A call on Modal from its spawn to its record at home: the real client and the real container entrypoint.

What is tested is what the user sees (results, log, dollars) and the plane's own count of what ran.
"""

from __future__ import annotations

import json
import threading

import pytest
from remote import Remote

from foresight.compute import crash_points, ledger, modal_log
from foresight.compute.rates import LOCAL, TABLE
from foresight.compute.step import Resources
from foresight.results.record import read_record


def attempts(home, step) -> list[dict]:
    """Those that did not finish, as they came home."""
    paths = sorted(home.step(step.fingerprint).glob("attempts/*/attempt.json"))
    return [json.loads(path.read_text()) for path in paths]


def test_results_come_home(remote: Remote) -> None:
    step = remote.step("one")
    run = remote.run(step).whole()
    record = read_record(run.home, step.fingerprint)
    assert record is not None
    assert record.finding == "accuracy 0.75"
    assert (run.home.root / record.artifacts[0].path).read_text() == "of one"
    assert record.usage.cost_usd == pytest.approx(record.usage.seconds * TABLE.usd_per_second(step.resources))
    assert "one is at work" in (run.home.step(step.fingerprint) / "attempts" / "1" / "log.txt").read_text()
    (entry,) = ledger.list_calls(run.home)
    assert (entry.state, entry.backend) == ("ended", "modal")
    assert run.said[0] == f"on Modal: {entry.link}"
    assert "one is at work" in run.said
    assert " 50%  half way" in run.said
    assert not any("::" in line for line in run.said)
    assert remote.noted("ended") == ["one"]


def test_a_gpu_and_its_limits_are_those_of_the_step(remote: Remote) -> None:
    step = remote.step("gpu", resources=Resources("A100-40GB", timeout_s=100.0, memory_gb=8.0, cores=2.0))
    remote.run(step, rates=LOCAL).whole()  # free, so that no slot of Prefect's is asked for
    (call,) = remote.calls_of(step)
    assert (call["function"], call["gpu"]) == ("run_on_gpu", "A100-40GB")
    assert 100 < call["timeout_s"] < 300
    variants = [f for f in remote.plane.functions() if f["gpu"] == "A100-40GB"]
    assert [(f["memory_mb"], f["cpu"]) for f in variants] == [(8192, 2.0)]
    assert all(f["single_use"] and f["retries"] == 0 for f in variants)


def test_the_log_is_live(remote: Remote) -> None:
    run = remote.run(remote.step("held", held=True)).start()
    remote.began("held")
    remote.plane.until(lambda: "held is at work" in run.said, "the line, while the call goes on")
    remote.let_go()
    run.wait()
    assert run.said.count("held is at work") == 1


def test_what_waits_for_a_call_does_not_wait_for_its_last_lines(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modal_log, "LATE_S", 60.0)
    remote.plane.configure(log_delay_s=3600.0)
    try:
        run = remote.run(remote.step("late")).start()
        assert run.returned.wait(60.0)
        assert run.failure is None
        assert "late is at work" not in run.said
    finally:
        remote.plane.configure(log_delay_s=0.0)
    run.wait()
    assert run.said.count("late is at work") == 1


def test_a_call_outlives_who_submitted_it(remote: Remote) -> None:
    """The run lets go, and the next one, of another name, attaches; so does a retry of the same."""
    step = remote.step("held", held=True)
    first = remote.run(step, run_id="first").start()
    remote.began("held")
    remote.plane.until(lambda: "held is at work" in first.said)
    first.backend.let_go("first")
    assert "goes on" in str(first.failed())
    again = remote.run(step, run_id="first").start()
    remote.plane.until(lambda: again.said)
    assert "held is at work" not in again.said  # it was shown before
    again.backend.let_go("first")
    again.failed()
    assert "attached" in again.said[0]
    other = remote.run(step, run_id="second").start()
    remote.plane.until(lambda: "held is at work" in other.said)
    remote.let_go()
    other.wait()
    assert other.failure is None
    assert len(remote.calls_of(step)) == 1
    assert remote.noted("began") == ["held"]
    assert [entry.state for entry in ledger.list_calls(other.home)] == ["ended", "ended"]


def test_a_result_that_nobody_waited_for_is_read(remote: Remote) -> None:
    step = remote.step("held", held=True)
    first = remote.run(step).start()
    remote.began("held")
    first.backend.let_go("run")
    first.failed()
    remote.let_go()
    remote.plane.until(lambda: remote.calls_of(step)[0]["state"] == "done")
    remote.run(step).whole()
    assert len(remote.calls_of(step)) == 1


def test_a_result_that_expired_is_read_from_the_volume(remote: Remote) -> None:
    step = remote.step("held", held=True)
    first = remote.run(step).start()
    remote.began("held")
    first.backend.let_go("run")
    first.failed()
    remote.let_go()
    (call,) = remote.calls_of(step)
    remote.plane.until(lambda: remote.plane.call(call["id"])["state"] == "done")
    remote.plane.expire(call["id"])
    run = remote.run(step).whole()
    assert read_record(run.home, step.fingerprint) is not None
    assert len(remote.calls_of(step)) == 1


@pytest.mark.parametrize("moment", ["looked for a live call", "spawned", "in the ledger", "results home"])
def test_death_at_every_named_moment(remote: Remote, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """Whatever the orchestrator was doing when it died, the step is executed once."""
    step = remote.step("held", held=moment != "results home")

    def reached(point: str) -> None:
        if point == moment:
            raise SystemExit(9)

    monkeypatch.setattr(crash_points, "reached", reached)
    remote.run(step).start().wait()
    monkeypatch.undo()
    if moment not in ("looked for a live call", "results home"):
        remote.began("held")
    again = remote.run(step).start()
    remote.began("held")
    remote.let_go()
    again.wait()
    assert not any("another home" in line for line in again.said)
    assert again.failure is None
    assert remote.noted("began") == ["held"]
    assert len(remote.calls_of(step)) == 1


def test_a_call_that_was_never_written_down_is_cancelled_as_ones_own(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reached(point: str) -> None:
        if point == "spawned":
            raise SystemExit(9)

    step = remote.step("held", held=True)
    monkeypatch.setattr(crash_points, "reached", reached)
    remote.run(step).start().wait()
    monkeypatch.undo()
    remote.began("held")
    again = remote.run(step).start()
    remote.plane.until(lambda: again.said)
    ledger.request_cancel(again.home, "run")
    assert again.failed().cause == "cancelled"
    assert remote.calls_of(step)[0]["status"] == "TERMINATED"


def test_two_homes_want_the_same_step(remote: Remote) -> None:
    step = remote.step("held", held=True)
    here = remote.run(step, run_id="here", home=remote.home("here")).start()
    remote.began("held")
    there = remote.run(step, run_id="there", home=remote.home("there")).start()
    remote.plane.until(lambda: "held is at work" in there.said, "the log, in the other home")
    assert "submitted from another home" in there.said[0]
    remote.let_go()
    here.wait()
    there.wait()
    assert (here.failure, there.failure) == (None, None)
    assert remote.noted("began") == ["held"]
    assert len(remote.calls_of(step)) == 1
    records = [run.home.record(step.fingerprint).read_bytes() for run in (here, there)]
    assert records[0] == records[1]


def test_two_homes_at_the_same_moment(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both looked before either had spawned: two calls, and the claim lets one of them work."""
    both = threading.Barrier(2)
    looked: set[int] = set()

    def reached(point: str) -> None:
        if point == "looked for a live call" and threading.get_ident() not in looked:
            looked.add(threading.get_ident())
            both.wait(30)

    monkeypatch.setattr(crash_points, "reached", reached)
    step = remote.step("held", held=True)
    runs = [remote.run(step, run_id=name, home=remote.home(name)).start() for name in ("here", "there")]
    remote.began("held")
    remote.plane.until(lambda: [c["state"] for c in remote.calls_of(step)].count("done") == 1, "one gave way")
    remote.let_go()
    for run in runs:
        run.wait()
        assert run.failure is None
    assert remote.noted("began") == ["held"]
    assert any("another run is working" in line for run in runs for line in run.said)


def test_a_cancel_stops_the_container(remote: Remote) -> None:
    step = remote.step("held", held=True)
    run = remote.run(step).start()
    remote.began("held")
    ledger.request_cancel(run.home, "run")
    failure = run.failed()
    assert failure.cause == "cancelled"
    (call,) = remote.calls_of(step)
    remote.plane.until(lambda: all(c["stopped_at"] for c in remote.plane.containers()), "no container left")
    assert call["status"] == "TERMINATED"
    (attempt,) = attempts(run.home, step)
    assert attempt["cause"] == "cancelled"
    assert attempt["cost_usd"] > 0


def test_who_only_waits_for_a_call_does_not_cancel_it(remote: Remote) -> None:
    step = remote.step("held", held=True)
    here = remote.run(step, run_id="here", home=remote.home("here")).start()
    remote.began("held")
    there = remote.run(step, run_id="there", home=remote.home("there")).start()
    remote.plane.until(lambda: there.said)
    ledger.request_cancel(there.home, "there")
    assert there.failed().cause == "cancelled"
    remote.let_go()
    here.wait()
    assert here.failure is None


def test_what_another_home_cancelled_is_started_anew(remote: Remote) -> None:
    step = remote.step("held", held=True)
    here = remote.run(step, run_id="here", home=remote.home("here")).start()
    remote.began("held")
    there = remote.run(step, run_id="there", home=remote.home("there")).start()
    remote.plane.until(lambda: there.said)
    ledger.request_cancel(here.home, "here")
    assert here.failed().cause == "cancelled"
    failure = there.failed()
    assert failure.retryable  # Prefect does so
    remote.let_go()
    remote.run(step, run_id="there", home=there.home).whole()
    assert len(remote.calls_of(step)) == 2


def test_a_cancelled_step_can_be_run_again(remote: Remote) -> None:
    step = remote.step("held", held=True)
    run = remote.run(step, run_id="first").start()
    remote.began("held")
    ledger.request_cancel(run.home, "first")
    run.failed()
    remote.let_go()
    again = remote.run(step, run_id="second").whole()
    record = read_record(again.home, step.fingerprint)
    assert record is not None
    assert record.attempt == 2
