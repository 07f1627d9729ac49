"""Calls through the real client: spawned, attached to from another process, cancelled, timed out, logged."""

from __future__ import annotations

import subprocess
import sys
import traceback
from datetime import UTC, datetime, timedelta

import modal
import pytest

from modal_plane.conftest import shell
from modal_plane.control import PlaneControl


def function(name: str) -> modal.Function:
    return modal.Function.from_name("toy", name)


def test_a_spawned_call_is_read_from_another_process(toy: PlaneControl) -> None:
    call = function("step").spawn({"a": [1, 2]})
    script = f"import modal; print(modal.FunctionCall.from_id({call.object_id!r}).get()['value'])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "{'a': [1, 2]}"
    assert call.get()["image"] == "set by the image"
    counted = toy.call(call.object_id)
    assert (counted["args"], counted["gpu"], counted["status"]) == ([{"a": [1, 2]}], "A10", "SUCCESS")
    assert len(counted["executions"]) == 1


def test_an_exception_comes_home_with_the_remote_traceback(toy: PlaneControl) -> None:
    with pytest.raises(ValueError, match="the last line of the handler") as caught:
        function("broken").remote()
    assert "toyapp.py" in "".join(traceback.format_tb(caught.value.__traceback__))


def test_a_timeout_is_an_attempt_and_the_code_is_told(toy: PlaneControl) -> None:
    call = function("endless").spawn()
    with pytest.raises(modal.exception.FunctionTimeoutError, match="timeout of 1s"):
        call.get(timeout=60)
    toy.until(lambda: all(e["stopped_at"] for e in toy.call(call.object_id)["executions"]))
    assert [e["ended_by"] for e in toy.call(call.object_id)["executions"]] == ["timeout", "timeout"]
    lines = [entry.message for entry in call.logs.fetch()]
    assert lines.count("an attempt\n") == 2
    assert lines.count("stopped by InputCancellation\n") == 2


def test_a_cancel_is_told_to_the_code_that_runs(toy: PlaneControl) -> None:
    toy.configure(grace_s=60)  # so nothing but the code's own end stops the container in time
    call = function("step").spawn(1, sleep_s=60)
    # A container that has taken its input but does not work on it yet does not hear a cancel.
    toy.until(lambda: "working on 1\n" in [entry.message for entry in call.logs.fetch()])
    with pytest.raises(TimeoutError):
        call.get(timeout=0)
    modal.FunctionCall.from_id(call.object_id).cancel()
    with pytest.raises(modal.exception.RemoteError, match="cancelled"):
        call.get(timeout=60)
    execution = toy.until(lambda: (e := toy.call(call.object_id)["executions"][0])["stopped_at"] and e)
    assert execution["ended_by"] == "cancelled"


def test_a_container_that_does_not_hear_a_cancel_is_killed(toy: PlaneControl) -> None:
    toy.configure(grace_s=0.1)
    call = function("deaf").spawn()
    toy.until(lambda: "deaf\n" in [entry.message for entry in call.logs.fetch()])
    call.cancel()
    execution = toy.until(lambda: (e := toy.call(call.object_id)["executions"][0])["stopped_at"] and e)
    assert execution["ended_by"] == "cancelled"
    killed = next(c for c in toy.containers() if c["id"] == execution["task_id"])
    assert killed["exit_code"] == -9


def test_a_call_that_waits_is_cancelled_without_having_run(toy: PlaneControl) -> None:
    toy.configure(max_containers=0)
    call = function("step").spawn(1)
    call.cancel()
    with pytest.raises(modal.exception.RemoteError):
        call.get(timeout=60)
    assert toy.call(call.object_id)["executions"] == []


def test_logs_are_those_of_the_call_and_come_while_it_runs(toy: PlaneControl) -> None:
    first, second = function("step").spawn("first"), function("step").spawn("second", sleep_s=1.0)
    toy.until(lambda: "working on second\n" in [entry.message for entry in second.logs.fetch()])
    assert toy.call(second.object_id)["state"] == "running"
    streamed = [entry.message for entry in second.logs.stream(timeout=60)]
    assert streamed == ["working on second\n", "to standard error\n", "done"]
    assert first.get()["value"] == "first"
    entries = list(first.logs.fetch())
    assert [(e.source, e.message) for e in entries] == [
        ("stdout", "working on first\n"),
        ("stderr", "to standard error\n"),
        ("stdout", "done"),
    ]
    assert [e.message for e in first.logs.tail(1)] == ["done"]
    assert [e.message for e in first.logs.fetch(source="stderr")] == ["to standard error\n"]
    assert list(first.logs.fetch(since=datetime.now(UTC) + timedelta(seconds=1))) == []


def test_what_is_large_goes_by_the_blob_store(toy: PlaneControl) -> None:
    value = "x" * 3_000_000
    call = function("step").spawn(value)
    assert call.get()["value"] == value
    assert toy.counters()["BlobCreate"] > 0
    assert toy.call(call.object_id)["args"] == [value]


def test_options_of_one_call_are_those_it_ran_with(toy: PlaneControl) -> None:
    call = function("step").with_options(gpu="H100:2", timeout=7).spawn(1)
    assert call.get()["value"] == 1
    counted = toy.call(call.object_id)
    assert (counted["gpu"], counted["timeout_s"]) == ("H100:2", 7)
    assert [e.message for e in call.logs.tail(1)] == ["done"]


def test_a_generator_yields(toy: PlaneControl) -> None:
    assert list(function("count").remote_gen(3)) == [0, 1, 2]


def test_of_many_who_claim_one_key_one_is_first(toy: PlaneControl) -> None:
    calls = [function("claim").spawn("step-1", holder) for holder in range(4)]
    won = [call.get() for call in calls]
    assert sum(won) == 1
    claims = modal.Dict.from_name("toy-claims")
    assert claims["step-1"] == won.index(True)
    assert claims.put("step-1", "late", skip_if_exists=True) is False
    assert claims.pop("step-1") == won.index(True)
    assert ("step-1" in claims, claims.len()) == (False, 0)


def test_what_does_not_exist_is_said_as_the_service_says_it(toy: PlaneControl) -> None:
    for missing in (
        modal.Function.from_name("toy", "nothing"),
        modal.Function.from_name("nothing", "step"),
        modal.Secret.from_name("nothing"),
        modal.Volume.from_name("nothing"),
        modal.Dict.from_name("nothing"),
    ):
        with pytest.raises(modal.exception.NotFoundError, match="nothing"):
            missing.hydrate()
    with pytest.raises(modal.exception.NotFoundError):
        modal.FunctionCall.from_id("fc-0000000000000000000000").get(timeout=0)


def test_what_the_plane_does_not_model_is_refused_and_not_ignored(toy: PlaneControl) -> None:
    app = modal.App("unmodelled")
    app.function(serialized=True, schedule=modal.Period(hours=1), name="hourly")(lambda: None)
    with pytest.raises(Exception, match="asks for a schedule, which the control plane for tests does not model"):
        app.deploy()
    with pytest.raises(Exception, match="does not model this"):
        modal.Queue.from_name("q", create_if_missing=True).hydrate()


def test_a_local_entrypoint_prints_what_the_container_printed_and_ends(toy: PlaneControl) -> None:
    printed = shell("run", "-m", "toyapp::main", "--value", "5")
    assert "came home: 5" in printed
    assert "working on 5" in printed
    assert "Timed out" not in printed
    toy.until(lambda: all(container["stopped_at"] for container in toy.containers()))


def test_a_container_sees_what_was_shipped_and_not_this_checkout(toy: PlaneControl) -> None:
    wanted = ["import foresight", "import modal_plane", "exists toyapp.py", "exists conftest.py", "import numpy"]
    assert function("files").remote(wanted) == [False, False, True, False, True]


def test_billing_rates_are_what_the_test_says(toy: PlaneControl) -> None:
    with pytest.raises(modal.exception.Error, match="may not ask"):
        modal.Workspace.from_context().billing.rates()
    toy.rates({"gpu_a10": "0.000306"})
    assert float(modal.Workspace.from_context().billing.rates()["gpu_a10"]) == 0.000306
