"""What goes wrong with a call on Modal, and what a user is told of it. Trouble of the way there is not the call's."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import replace

import modal
import pytest
from remote import HERE, Remote
from test_modal_calls import attempts

import tasks.calls
from foresight.compute import bill, purse
from foresight.compute.causes import Trouble
from foresight.compute.modal_preparation import require_ready
from foresight.compute.modal_trouble import TRANSPORT, trouble_of_call
from foresight.compute.modal_worker import MAX_CRASHES
from foresight.compute.rates import TABLE
from foresight.compute.step import Resources
from foresight.errors import UserError
from foresight.results.record import read_record


def test_a_handlers_exception(remote: Remote) -> None:
    step = remote.step("broken", "broken")
    run = remote.run(step)
    failure = run.failed()
    assert (failure.cause, failure.retryable) == ("exception", False)
    assert str(failure) == "RuntimeError: the last line of the handler"
    (attempt,) = attempts(run.home, step)
    assert "remote_handlers.py" in attempt["traceback"]
    assert any("the last line of the handler" in line for line in run.said)


def test_out_of_gpu_memory(remote: Remote) -> None:
    failure = remote.run(remote.step("greedy", "greedy")).failed()
    assert failure.cause == "out_of_memory"
    assert "batch_size" in str(failure)


def test_what_runs_out_of_gpu_memory_is_tried_on_the_next_class(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.calls, "gpus_in_flight", lambda *_: nullcontext())  # needs a server: tests/flows
    step = remote.step("greedy", "greedy", fits="A100-80GB", resources=Resources("A10", timeout_s=120.0))
    run = remote.run(step).whole()
    assert [call["gpu"] for call in remote.calls_of(step)] == ["A10", "A100-40GB", "A100-80GB"]
    why = ["out of memory on A10: A100-40GB", "out of memory on A100-40GB: A100-80GB"]
    assert [line for line in run.said if "trying again" in line] == [f"{each}; trying again" for each in why]
    record = read_record(run.home, step.fingerprint)
    assert record is not None
    assert (record.finding, record.usage.device, record.attempt) == ("on A100-80GB", "A100-80GB", 3)
    assert record.adjustments == why
    assert record.usage.cost_usd == pytest.approx(
        record.usage.seconds * TABLE.usd_per_second(replace(step.resources, device="A100-80GB"))
    )
    failed = attempts(run.home, step)
    assert [(each["device"], each["cause"]) for each in failed] == [
        ("A10", "out_of_memory"),
        ("A100-40GB", "out_of_memory"),
    ]
    assert [each["adjustments"] for each in failed] == [[], why[:1]]


def test_a_container_that_was_killed_for_its_memory_is_given_twice_as_much(remote: Remote) -> None:
    """Modal starts it again as it was; that is not waited for."""
    step = remote.step("held", held=True, resources=Resources(timeout_s=120.0, memory_gb=2.0))
    run = remote.run(step).start()
    remote.began("held")
    (call,) = remote.calls_of(step)
    remote.plane.now("out_of_memory", call["id"])
    remote.plane.until(lambda: len(remote.calls_of(step)) == 2, "another call")
    remote.let_go()
    run.wait()
    assert run.failure is None
    first, second = remote.calls_of(step)
    assert (first["status"], first["memory_mb"], second["memory_mb"]) == ("TERMINATED", 2048, 4096)
    assert "out of main memory with 2 GB: 4 GB; trying again" in run.said
    record = read_record(run.home, step.fingerprint)
    assert record is not None
    assert record.adjustments == ["out of main memory with 2 GB: 4 GB"]
    assert "out_of_memory" in [attempt["cause"] for attempt in attempts(run.home, step)]


def test_a_container_that_dies_every_time_is_not_started_for_ever(remote: Remote) -> None:
    """The kernel kills it for its memory; Modal starts it again, without end if it is let."""
    step = remote.step("killed", "killed")
    run = remote.run(step)
    failure = run.failed()
    assert failure.cause == "crash_loop"
    assert "memory_gb" in str(failure)
    assert remote.noted("began") == ["killed"] * MAX_CRASHES
    assert len(remote.calls_of(step)) == 1


def test_the_time_limit_of_a_call(remote: Remote) -> None:
    step = remote.step("held", held=True)
    run = remote.run(step).start()
    remote.began("held")
    remote.plane.now("timeout", remote.calls_of(step)[0]["id"])
    failure = run.failed()
    assert failure.cause == "timeout"
    assert "timeout_s" in str(failure)
    (attempt,) = attempts(run.home, step)
    assert attempt["cost_usd"] > 0


def test_a_deadline_is_kept_though_the_call_would_go_on(remote: Remote) -> None:
    step = remote.step("held", held=True, resources=Resources(timeout_s=3.0, deadline_s=3.0))
    run = remote.run(step)
    failure = run.failed()
    assert failure.cause == "timeout"
    assert "deadline_s" in str(failure)
    assert remote.calls_of(step)[0]["status"] == "TERMINATED"


def test_a_call_that_outgrows_its_budget_is_stopped_there(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bill, "START_S", 0.0)
    step = remote.step("held", held=True, resources=Resources(timeout_s=3.0))
    run = remote.run(step)
    purse.open_account(run.home, "run", 5.0 * TABLE.usd_per_second(step.resources))
    failure = run.failed()
    assert failure.cause == "budget"
    assert "stopped in the middle: the budget of" in str(failure)
    assert [call["status"] for call in remote.calls_of(step)] == ["TERMINATED"]
    assert purse.read(run.home).reserved == {}
    assert purse.spent_usd(run.home, "run") > 0
    remote.plane.until(lambda: all(c["stopped_at"] for c in remote.plane.containers()), "no container left")


def test_a_preempted_container_goes_on_as_the_same_call(remote: Remote) -> None:
    step = remote.step("held", held=True)
    run = remote.run(step).start()
    remote.began("held")
    (call,) = remote.calls_of(step)
    remote.plane.now("preempt", call["id"])
    remote.began("held", times=2)
    remote.let_go()
    run.wait()
    assert run.failure is None
    assert len(remote.calls_of(step)) == 1
    assert len(remote.plane.call(call["id"])["executions"]) == 2
    assert [attempt["cause"] for attempt in attempts(run.home, step)] == ["signal"]
    record = read_record(run.home, step.fingerprint)
    assert record is not None
    assert record.attempt == 2


def test_transport_errors_start_nothing(remote: Remote) -> None:
    """25 in a row, as the product sees them: the client tries each of them four times."""
    step = remote.step("held", held=True)
    run = remote.run(step)
    run.backend.poll_s = 0.05
    run.start()
    remote.began("held")
    asked = remote.plane.counters().get("FunctionGetOutputs", 0)
    remote.plane.unavailable("FunctionGetOutputs", times=100)
    remote.plane.until(lambda: remote.plane.counters()["FunctionGetOutputs"] >= asked + 100, "100 faults met")
    remote.let_go()
    run.wait()
    assert run.failure is None
    assert len(remote.calls_of(step)) == 1
    assert remote.noted("began") == ["held"]


def test_an_outage_while_a_call_runs(remote: Remote) -> None:
    step = remote.step("held", held=True)
    run = remote.run(step).start()
    remote.began("held")
    remote.plane.outage(4.0)
    remote.let_go()
    run.wait(120)
    assert run.failure is None
    assert len(remote.calls_of(step)) == 1


def test_an_outage_that_lasts_ends_the_run_and_not_the_call(remote: Remote) -> None:
    step = remote.step("held", held=True)
    run = remote.run(step, unreachable_s=1.0).start()
    remote.began("held")
    remote.plane.unavailable("FunctionGetOutputs", for_s=20.0)
    failure = run.failed()
    assert "could not be reached" in str(failure)
    assert not failure.retryable
    remote.plane.clear()
    remote.let_go()
    remote.run(step).whole()
    assert len(remote.calls_of(step)) == 1


def test_an_acknowledgement_that_is_lost(remote: Remote) -> None:
    """The call was made and its id never arrived, and the service takes the client's second try for a new call."""
    remote.plane.configure(deduplicates=False)
    try:
        remote.plane.lose_answer("FunctionMap")
        step = remote.step("held", held=True)
        run = remote.run(step).start()
        remote.began("held")
        remote.let_go()
        run.wait()
    finally:
        remote.plane.configure(deduplicates=True)
    assert run.failure is None
    assert remote.noted("began") == ["held"]


def test_an_older_record_is_no_result_of_a_refresh(remote: Remote) -> None:
    """The step was recorded before; the call that was to compute it again reached its time limit."""
    step = remote.step("held", held=True)
    first = remote.run(step, run_id="first").start()
    remote.began("held")
    remote.let_go()
    first.wait()
    assert first.failure is None
    (remote.folder / "go").unlink()
    forced = replace(step, work={"refresh": "second"})
    run = remote.run(forced, run_id="second").start()
    remote.began("held", times=2)
    remote.plane.now("timeout", remote.calls_of(step)[1]["id"])
    assert run.failed().cause == "timeout"
    assert len(remote.calls_of(step)) == 2


def test_a_lost_container(remote: Remote) -> None:
    step = remote.step("held", held=True)
    run = remote.run(step).start()
    remote.began("held")
    remote.plane.finish(remote.calls_of(step)[0]["id"], "INTERNAL_FAILURE", "the machine is gone")
    failure = run.failed()
    assert (failure.cause, failure.retryable) == ("lost", True)


def test_deployed_code_that_differs_is_refused(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler was edited here and not deployed."""
    edited = remote.folder / "edited"
    edited.mkdir()
    source = (HERE / "remote_handlers.py").read_text()
    (edited / "remote_handlers.py").write_text(source.replace("0.75", "0.85"))
    monkeypatch.syspath_prepend(str(edited))
    failure = remote.run(remote.step("one")).failed()
    assert failure.cause == "identity"
    assert "modal deploy -m foresight.compute.modal_app" in str(failure)
    assert remote.noted("began") == []


def test_a_damaged_artifact_on_the_volume_is_not_believed(remote: Remote) -> None:
    step = remote.step("held", held=True)
    run = remote.run(step).start()
    remote.began("held")
    run.backend.let_go("run")
    run.failed()
    remote.let_go()
    remote.plane.until(lambda: remote.calls_of(step)[0]["state"] == "done")
    with modal.Volume.from_name("foresight-results").batch_upload(force=True) as batch:
        other = remote.folder / "note.txt"
        other.write_text("of somebody")
        batch.put_file(other, f"/steps/{step.fingerprint}/artifacts/note.txt")
    failure = remote.run(step).failed()
    assert "damaged" in str(failure)
    assert read_record(run.home, step.fingerprint) is None


def test_no_token(monkeypatch: pytest.MonkeyPatch, remote: Remote) -> None:
    monkeypatch.delenv("MODAL_TOKEN_ID")
    monkeypatch.delenv("MODAL_TOKEN_SECRET")
    sys.modules["modal.client"]._Client._set_env_client(None)
    with pytest.raises(UserError, match="modal token new"):
        require_ready()


def test_nothing_there_to_reach(monkeypatch: pytest.MonkeyPatch, remote: Remote) -> None:
    monkeypatch.setenv("MODAL_SERVER_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("foresight.compute.modal_preparation.REACH_S", 1.0)
    sys.modules["modal.client"]._Client._set_env_client(None)
    with pytest.raises(UserError, match="cannot be reached"):
        require_ready()


def test_not_deployed(plane) -> None:
    with pytest.raises(UserError, match="modal deploy -m foresight"):
        require_ready()


def test_a_deployed_app_is_ready(remote: Remote) -> None:
    require_ready()


@pytest.mark.parametrize(
    ("error", "cause", "retryable"),
    [
        (modal.exception.FunctionTimeoutError("ran too long"), "timeout", False),
        (modal.exception.OutputExpiredError(), "lost", True),
        (modal.exception.RemoteError("Container ran out of memory"), "out_of_memory", False),
        (modal.exception.RemoteError("the call was terminated"), "cancelled", False),
        (modal.exception.InternalFailure("worker lost"), "lost", True),
        (ModuleNotFoundError("No module named 'team'"), "exception", False),
    ],
)
def test_ends_of_a_call_are_told_apart(error: Exception, cause: str, retryable: bool) -> None:
    trouble = trouble_of_call(error, asked_to_cancel=False)
    assert (trouble.cause, trouble.retryable) == (cause, retryable)
    assert not isinstance(error, TRANSPORT)
    assert trouble_of_call(error, asked_to_cancel=True) == Trouble("cancelled", "cancelled")
