"""Faults: what a client outside meets, and what befalls a container, at the moment that the test names."""

from __future__ import annotations

import subprocess
import sys
import time

import modal
import pytest
from grpclib.exceptions import StreamTerminatedError

from modal_plane.control import PlaneControl


def function(name: str) -> modal.Function:
    return modal.Function.from_name("toy", name)


def ended_by(toy: PlaneControl, call: modal.FunctionCall) -> list[str]:
    toy.until(lambda: all(e["stopped_at"] for e in toy.call(call.object_id)["executions"]))
    return [execution["ended_by"] for execution in toy.call(call.object_id)["executions"]]


# What a client outside meets


@pytest.mark.slow
def test_twenty_five_errors_in_a_row_and_then_the_result(toy: PlaneControl) -> None:
    """The client tries each request four times, so the product sees 25 errors in 100 faults."""
    call = function("step").spawn(1)
    before = toy.counters().get("FunctionGetOutputs", 0)
    toy.unavailable("FunctionGetOutputs", times=100)
    script = f"""
import modal
call, errors = modal.FunctionCall.from_id({call.object_id!r}), 0
while True:
    try:
        print(call.get(timeout=0)["value"], errors)
        break
    except modal.exception.ServiceError:
        errors += 1
    except TimeoutError:
        pass
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["1", "25"], done.stderr
    assert toy.counters()["FunctionGetOutputs"] - before >= 101
    assert toy.executions("step") == len(toy.calls("step"))


def test_unavailable_for_a_while(toy: PlaneControl) -> None:
    toy.unavailable("FunctionGet", for_s=0.3)
    began = time.monotonic()
    function("step").hydrate()
    assert time.monotonic() - began > 0.25


def test_slow_is_slow_and_right(toy: PlaneControl) -> None:
    toy.fault("FunctionGet", delay_s=0.4)
    began = time.monotonic()
    function("step").hydrate()
    assert time.monotonic() - began > 0.4


def test_only_the_request_that_is_named_meets_the_fault(toy: PlaneControl) -> None:
    toy.fault("FunctionGet", status="NOT_FOUND", message="Function 'broken' not found", contains='"broken"')
    function("step").hydrate()
    with pytest.raises(modal.exception.NotFoundError, match="'broken' not found"):
        function("broken").hydrate()
    function("broken").hydrate()


def test_a_connection_that_is_cut_before_is_tried_again(toy: PlaneControl) -> None:
    before = len(toy.calls())
    toy.fault("FunctionMap", cut="before")
    assert function("step").remote(1)["value"] == 1
    assert len(toy.calls()) - before == 1


def test_an_answer_that_is_lost_leaves_a_call_that_nobody_knows(toy: PlaneControl) -> None:
    before = len(toy.calls())
    toy.lose_answer("FunctionMap", times=4)
    with pytest.raises(StreamTerminatedError):  # grpclib's own: the client does not make it one of modal's
        function("step").spawn("orphan")
    (orphan,) = toy.calls()[before:]
    assert orphan["args"] == ["orphan"]
    toy.until(lambda: toy.call(orphan["id"])["status"] == "SUCCESS")


def test_a_service_that_forgets_what_it_was_told_runs_it_twice(toy: PlaneControl) -> None:
    before = len(toy.calls())
    toy.configure(deduplicates=False)
    toy.lose_answer("FunctionMap", times=1)
    assert function("step").remote("twice")["value"] == "twice"
    assert len(toy.calls()) - before == 2


def test_an_outage_is_waited_out_and_the_container_notices_nothing(toy: PlaneControl) -> None:
    call = function("step").spawn(1, sleep_s=1.5)
    toy.running(call.object_id)
    toy.outage(1.0)
    errors = 0
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            assert call.get(timeout=0.1)["value"] == 1
            break
        except modal.exception.ConnectionError:
            errors += 1
        except TimeoutError:
            continue
    assert errors >= 1
    assert ended_by(toy, call) == ["output"]


# What befalls a container


def test_a_preempted_call_starts_again_on_its_input(toy: PlaneControl) -> None:
    call = function("step").spawn("again", sleep_s=1.0)
    toy.until(lambda: [e.message for e in call.logs.fetch()].count("working on again\n") == 1)
    assert toy.now("preempt", call.object_id)
    assert call.get(timeout=60)["value"] == "again"
    assert ended_by(toy, call) == ["preempted", "output"]
    assert toy.call(call.object_id)["retries"] == 0


@pytest.mark.slow
def test_a_preemption_at_every_shard_repeats_none_that_was_committed(toy: PlaneControl) -> None:
    toy.configure(grace_s=0.2)
    toy.strike("preempt", on="log", pattern=r"shard \d", times=3, every=True)
    call = function("shards").spawn(4, pause_s=0.5)
    assert call.get(timeout=60) == [3]
    assert ended_by(toy, call) == ["preempted", "preempted", "preempted", "output"]
    printed = [e.message for e in call.logs.fetch() if e.message.startswith("shard")]
    assert printed == ["shard 0\n", "shard 1\n", "shard 2\n", "shard 3\n"]


def test_out_of_memory_starts_again_with_a_pause_and_says_so(toy: PlaneControl) -> None:
    toy.strike("out_of_memory", on="log", pattern="working on heavy", times=2, every=True)
    call = function("step").spawn("heavy", sleep_s=0.3)
    assert call.get(timeout=60)["value"] == "heavy"
    assert ended_by(toy, call) == ["out_of_memory", "out_of_memory", "output"]
    assert [e.message for e in call.logs.fetch(source="system")].count(
        "Container ran out of memory and was killed."
    ) == 2


def test_a_crash_that_repeats_never_ends_by_itself(toy: PlaneControl) -> None:
    toy.strike("crash", on="start", after_s=0.05, times=1000, every=True)
    call = function("step").spawn("crashes", sleep_s=0.5)
    toy.until(lambda: len(toy.call(call.object_id)["executions"]) >= 3)
    with pytest.raises(TimeoutError):
        call.get(timeout=0)
    call.cancel()
    assert set(ended_by(toy, call)) <= {"crashed", "cancelled"}


def test_timeout_cancel_and_lost_results_on_demand(toy: PlaneControl) -> None:
    call = function("step").spawn(1, sleep_s=30)
    toy.running(call.object_id)
    toy.now("timeout", call.object_id)
    with pytest.raises(modal.exception.FunctionTimeoutError):
        call.get(timeout=60)
    call = function("step").spawn(1, sleep_s=30)
    toy.running(call.object_id)
    toy.cancel(call.object_id)
    with pytest.raises(modal.exception.RemoteError):
        call.get(timeout=60)
    call = function("step").spawn(1)
    call.get()
    toy.expire(call.object_id)
    with pytest.raises(modal.exception.OutputExpiredError):
        call.get(timeout=0)
    call = function("step").spawn(1, sleep_s=30)
    toy.finish(call.object_id, "INTERNAL_FAILURE", "worker lost")
    with pytest.raises(modal.exception.InternalFailure, match="worker lost"):
        call.get(timeout=60)


def test_a_container_that_cannot_reach_the_service_meets_it_too(toy: PlaneControl) -> None:
    toy.fault("DictUpdate", status="UNAVAILABLE", times=None, of="container")
    with pytest.raises(modal.exception.ServiceError):
        function("claim").remote("unreachable", 1)
    toy.clear()
    assert function("claim").remote("unreachable", 1) is True


def test_lines_that_come_late_are_of_the_time_they_were_printed(toy: PlaneControl) -> None:
    toy.configure(log_delay_s=1.0)
    call = function("step").spawn(1)
    call.get()
    assert list(call.logs.fetch()) == []
    entries = toy.until(lambda: list(call.logs.fetch()))
    assert entries[0].timestamp.timestamp() < toy.call(call.object_id)["finished_at"]
    toy.configure(log_delay_s=0.0)


def test_what_no_fault_can_be_is_refused(toy: PlaneControl) -> None:
    with pytest.raises(ValueError, match="no gRPC status"):
        toy.fault("FunctionGet", status="BROKEN")
    with pytest.raises(ValueError, match="no such strike"):
        toy.strike("explode")
