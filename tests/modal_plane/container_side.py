"""What a container asks of the plane: its inputs, whether to give one up, to take its answer."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from .rpc import Caller

if TYPE_CHECKING:
    from .plane import Plane

HEARTBEAT_S = 10.0  # less than the 15.1 s after which the client gives up


class ContainerSide:
    def __init__(self, plane: Plane) -> None:
        self.plane = plane

    async def container_hello(self, request: Empty, caller: Caller) -> Empty:
        return Empty()

    async def container_heartbeat(
        self, request: api_pb2.ContainerHeartbeatRequest, caller: Caller
    ) -> api_pb2.ContainerHeartbeatResponse:
        task = caller.task
        assert task
        try:
            await asyncio.wait_for(task.cancel_input.wait(), HEARTBEAT_S)
        except TimeoutError:
            return api_pb2.ContainerHeartbeatResponse()
        task.cancel_input.clear()
        event = api_pb2.CancelInputEvent(input_ids=[task.call.input_id] if task.call else [])
        return api_pb2.ContainerHeartbeatResponse(cancel_input_event=event)

    async def function_get_inputs(
        self, request: api_pb2.FunctionGetInputsRequest, caller: Caller
    ) -> api_pb2.FunctionGetInputsResponse:
        task = caller.task
        assert task
        definition = task.function.definition
        window = definition.autoscaler_settings.scaledown_window or definition.task_idle_timeout_secs or 60
        until = time.monotonic() + min(float(window), self.plane.settings.idle_s)
        while True:
            task.inputs_may_have_come.clear()
            call = self.plane.scheduler.take(task)
            if call is not None:
                break
            task.idle = True
            if task.retiring or time.monotonic() >= until:
                task.ending, task.retiring = task.ending or "retired", True
                return api_pb2.FunctionGetInputsResponse(inputs=[api_pb2.FunctionGetInputsItem(kill_switch=True)])
            try:
                await asyncio.wait_for(task.inputs_may_have_come.wait(), until - time.monotonic())
            except TimeoutError:
                continue
        task.idle, task.took_an_input, task.call, task.interrupted_by = False, True, call, ""
        self.plane.calls.started(call, task.id)
        if definition.timeout_secs:
            task._later(definition.timeout_secs, task.timed_out, call)
        self.plane.strikes.started(task)
        item = api_pb2.FunctionGetInputsItem(
            input_id=call.input_id, input=api_pb2.FunctionInput.FromString(call.input), function_call_id=call.id,
            function_call_invocation_type=call.invocation, retry_count=call.retry_count,
        )  # fmt: skip
        return api_pb2.FunctionGetInputsResponse(inputs=[item])

    async def function_put_outputs(self, request: api_pb2.FunctionPutOutputsRequest, caller: Caller) -> Empty:
        task = caller.task
        assert task
        for item in request.outputs:
            if task.call and task.call.input_id == item.input_id:
                for pipe in task.pipes:
                    pipe.flush()
                call, task.call = task.call, None
                self.plane.calls.stopped(call, task.id, task.interrupted_by or "output")
                self.plane.calls.output(task, item)
        return Empty()

    async def task_result(self, request: api_pb2.TaskResultRequest, caller: Caller) -> Empty:
        """The container could not even start: its code does not import, a dependency is not there."""
        assert caller.task
        caller.task.start_failure = request.result
        return Empty()

    async def container_stop(self, request: api_pb2.ContainerStopRequest, caller: Caller) -> Empty:
        task = self.plane.scheduler.running.get(request.task_id)
        if task and request.graceful:
            task.retire()
        elif task:
            task.preempt()
        return Empty()
