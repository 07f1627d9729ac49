"""Calls: spawned, waited for, cancelled; and what becomes of one when its container answers or dies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from .rpc import Caller, not_found
from .store import Call, Execution, Function

if TYPE_CHECKING:
    from .containers import Running
    from .plane import Plane

Result = api_pb2.GenericResult
CANCELLED = "Function call was cancelled by the user."


class Calls:
    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.store = plane.store
        self.news: dict[str, asyncio.Event] = {}
        self.answered: dict[str, api_pb2.FunctionMapResponse] = {}

    def get(self, call_id: str) -> Call:
        call = self.store.find(Call, call_id)
        if call is None:
            raise not_found(f"Function call {call_id} not found.")
        return call

    def _changed(self, call: Call) -> None:
        self.store.save(call)
        if call.id in self.news:
            self.news.pop(call.id).set()

    async def _wait(self, call: Call, timeout_s: float) -> None:
        event = self.news.setdefault(call.id, asyncio.Event())
        try:
            await asyncio.wait_for(event.wait(), timeout_s)
        except TimeoutError:
            return

    # What the scheduler and the containers tell

    def started(self, call: Call, task_id: str) -> None:
        call.state = "running"
        call.executions.append(Execution(task_id, time.time()))
        self._changed(call)

    def stopped(self, call: Call, task_id: str, ended_by: str) -> None:
        """The container works on it no more; once for each execution."""
        for execution in call.executions:
            if execution.task_id == task_id and execution.stopped_at is None:
                execution.stopped_at, execution.ended_by = time.time(), ended_by
                self._changed(call)

    def requeue(self, call: Call, delay_s: float = 0.0) -> None:
        if call.state != "done":
            call.state, call.not_before = "pending", time.time() + delay_s
            self._changed(call)
            self.plane.scheduler.wake(delay_s)

    def finish(self, call: Call, result: Result, data_format: int = 0, task_id: str = "") -> None:
        if call.state == "done":
            return
        call.state, call.finished_at = "done", time.time()
        call.output = api_pb2.FunctionGetOutputsItem(
            result=result, idx=0, input_id=call.input_id, data_format=data_format, task_id=task_id,
            input_started_at=call.executions[-1].started_at if call.executions else 0.0,
            output_created_at=call.finished_at, retry_count=call.retry_count,
        ).SerializeToString()  # fmt: skip
        self._changed(call)
        self.plane.scheduler.wake()

    def fail_or_retry(self, call: Call, result: Result, data_format: int = 0, task_id: str = "") -> None:
        """As the function's own retry policy says, for exceptions and timeouts alike."""
        function = self.store.find(Function, call.function_id)
        assert function is not None
        policy = function.definition.retry_policy
        if call.state == "done":
            return
        if call.retry_count >= policy.retries:
            self.finish(call, result, data_format, task_id)
            return
        delay_ms = policy.initial_delay_ms * max(policy.backoff_coefficient, 1.0) ** call.retry_count
        call.retry_count += 1
        self.requeue(call, min(delay_ms, policy.max_delay_ms or delay_ms) / 1000)

    def cancel(self, call: Call, why: str = CANCELLED, terminate: bool = False) -> None:
        if call.state == "done":
            return
        running = self.plane.scheduler.working_on(call.id)
        call.cancelled_at = time.time()
        self.finish(call, Result(status=Result.GENERIC_STATUS_TERMINATED, exception=why))
        if running:
            running.interrupt_input("cancelled", terminate)

    def output(self, task: Running, item: api_pb2.FunctionPutOutputsItem) -> None:
        """A container's answer; one for an attempt that is over (timed out, cancelled, preempted) changes nothing."""
        call = next((c for c in self.store.all(Call) if c.input_id == item.input_id), None)
        if call is None:
            return
        current = call.state == "running" and call.retry_count == item.retry_count
        if item.result.status == Result.GENERIC_STATUS_SUCCESS and current:
            self.finish(call, item.result, item.data_format, task.id)
        elif current and item.result.status != Result.GENERIC_STATUS_TERMINATED:
            self.fail_or_retry(call, item.result, item.data_format, task.id)

    # What clients ask

    async def function_map(self, request: api_pb2.FunctionMapRequest, caller: Caller) -> api_pb2.FunctionMapResponse:
        """A request that the client sends again (same idempotency key) is the same call, unless a test says no."""
        if len(request.pipelined_inputs) != 1:
            raise GRPCError(Status.UNIMPLEMENTED, "FunctionMap: only calls of one input are modelled (no .map)")
        if self.plane.settings.deduplicates and caller.idempotency_key in self.answered:
            return self.answered[caller.idempotency_key]
        function = self.plane.functions._get(request.function_id)
        item = request.pipelined_inputs[0]
        call = Call(
            self.store.new_id("fc"), self.store.new_id("in"), function.id, function.app_id, time.time(),
            item.input.SerializeToString(), request.function_call_invocation_type,
        )  # fmt: skip
        self.store.save(call)
        self.plane.scheduler.wake()
        response = api_pb2.FunctionMapResponse(
            function_call_id=call.id, retry_policy=function.definition.retry_policy, function_call_jwt=call.id,
            pipelined_inputs=[
                api_pb2.FunctionPutInputsResponseItem(idx=item.idx, input_id=call.input_id, input_jwt=call.input_id)
            ],
        )  # fmt: skip
        self.answered[caller.idempotency_key] = response
        return response

    async def function_get_outputs(
        self, request: api_pb2.FunctionGetOutputsRequest, caller: Caller
    ) -> api_pb2.FunctionGetOutputsResponse:
        call = self.get(request.function_call_id)
        until = time.monotonic() + request.timeout
        while call.state != "done" and time.monotonic() < until:
            await self._wait(call, until - time.monotonic())
            call = self.get(call.id)
        if call.state != "done":
            return api_pb2.FunctionGetOutputsResponse(num_unfinished_inputs=1, last_entry_id="0-0")
        if call.expired:
            return api_pb2.FunctionGetOutputsResponse(last_entry_id="0-0")
        if request.clear_on_success:
            call.expired = True
            self.store.save(call)
        output = api_pb2.FunctionGetOutputsItem.FromString(call.output)
        return api_pb2.FunctionGetOutputsResponse(idxs=[0], outputs=[output], last_entry_id="0-1")

    async def function_call_cancel(self, request: api_pb2.FunctionCallCancelRequest, caller: Caller) -> Empty:
        self.cancel(self.get(request.function_call_id), terminate=request.terminate_containers)
        return Empty()

    async def function_call_from_id(
        self, request: api_pb2.FunctionCallFromIdRequest, caller: Caller
    ) -> api_pb2.FunctionCallFromIdResponse:
        call = self.get(request.function_call_id)
        function = self.plane.functions._get(call.function_id)
        metadata = api_pb2.FunctionCallHandleMetadata(app_id=call.app_id, function_id=function.base_id or function.id)
        return api_pb2.FunctionCallFromIdResponse(function_call_id=call.id, num_inputs=1, metadata=metadata)

    async def function_call_get_info(
        self, request: api_pb2.FunctionCallGetInfoRequest, caller: Caller
    ) -> api_pb2.FunctionCallGetInfoResponse:
        call = self.get(request.function_call_id)
        info = api_pb2.FunctionCallInfo(function_call_id=call.id, created_at=call.created_at, total_inputs=1)
        if call.executions:
            info.scheduled_at = call.executions[0].started_at
        status = api_pb2.FunctionGetOutputsItem.FromString(call.output).result.status if call.output else 0
        category = {
            0: info.pending_inputs,
            Result.GENERIC_STATUS_SUCCESS: info.succeeded_inputs,
            Result.GENERIC_STATUS_TIMEOUT: info.timeout_inputs,
            Result.GENERIC_STATUS_TERMINATED: info.cancelled_inputs,
        }.get(status, info.failed_inputs)
        category.total = 1
        return api_pb2.FunctionCallGetInfoResponse(info=info)

    async def function_call_get_data_out(
        self, request: api_pb2.FunctionCallGetDataRequest, caller: Caller
    ) -> AsyncIterator[api_pb2.DataChunk]:
        call, last = self.get(request.function_call_id), request.last_index
        while True:
            for chunk in map(api_pb2.DataChunk.FromString, call.data_out[last:]):
                last = chunk.index
                yield chunk
            if call.state == "done":
                return
            await self._wait(call, 55.0)

    async def function_call_put_data_out(self, request: api_pb2.FunctionCallPutDataRequest, caller: Caller) -> Empty:
        call = self.get(request.function_call_id)
        call.data_out.extend(chunk.SerializeToString() for chunk in request.data_chunks)
        self._changed(call)
        return Empty()
