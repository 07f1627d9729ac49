"""What containers printed, a row a line, stamped when the plane read it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from google.protobuf.timestamp_pb2 import Timestamp
from modal_proto import api_pb2

from .rpc import Caller
from .store import Call, Function

if TYPE_CHECKING:
    from .plane import Plane

FIELDS = "seq, function_id, call_id, input_id, task_id, at, descriptor, data"
FILTERS = ("function_id", "task_id", "input_id")


def seconds(stamp: Timestamp) -> float:
    return stamp.seconds + stamp.nanos / 1e9


def stamp_of(at: float) -> Timestamp:
    return Timestamp(seconds=int(at), nanos=int((at - int(at)) * 1e9))


class Logs:
    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.store = plane.store
        self.news: dict[str, asyncio.Event] = {}

    def add(self, app_id: str, function: Function, call: Call | None, task_id: str, descriptor: int, data: str) -> None:
        self.store.database.execute(
            "INSERT INTO logs (app_id, function_id, call_id, input_id, task_id, at, descriptor, data)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (app_id, function.base_id or function.id, call.id if call else "", call.input_id if call else "", task_id,
             time.time(), descriptor, data),
        )  # fmt: skip
        self.changed(app_id)

    def changed(self, app_id: str) -> None:
        if app_id in self.news:
            self.news.pop(app_id).set()

    async def wait(self, app_id: str, timeout_s: float) -> None:
        event = self.news.setdefault(app_id, asyncio.Event())
        try:
            await asyncio.wait_for(event.wait(), timeout_s)
        except TimeoutError:
            return

    def _where(self, request: Any) -> tuple[str, list[Any]]:
        values: list[Any]
        clauses = ["app_id = ?", "at <= ?"]
        values = [request.app_id, time.time() - self.plane.settings.log_delay_s]
        for field in FILTERS:
            if getattr(request, field, ""):
                clauses.append(f"{field} = ?")
                values.append(getattr(request, field))
        if request.function_call_id:
            clauses.append("call_id = ?")
            values.append(request.function_call_id)
        source = getattr(request, "source", 0) or getattr(request, "file_descriptor", 0)
        if source:
            clauses.append("descriptor = ?")
            values.append(source)
        if request.search_text:
            clauses.append("instr(data, ?) > 0")
            values.append(request.search_text)
        return " AND ".join(clauses), values

    def _rows(self, where: str, values: list[Any], order: str) -> list[tuple[Any, ...]]:
        return self.store.database.execute(f"SELECT {FIELDS} FROM logs WHERE {where} {order}", values).fetchall()

    def _batch(self, row: tuple[Any, ...]) -> api_pb2.TaskLogsBatch:
        seq, function_id, call_id, input_id, task_id, at, descriptor, data = row
        item = api_pb2.TaskLogs(
            data=data, timestamp=at, timestamp_ns=int(at * 1e9), file_descriptor=descriptor, function_call_id=call_id,
            input_id=input_id, container_id=task_id,
        )  # fmt: skip
        return api_pb2.TaskLogsBatch(
            task_id=task_id, items=[item], entry_id=f"{seq}-0", function_id=function_id, input_id=input_id
        )

    def after(self, seq: int, request: api_pb2.AppGetLogsRequest) -> Iterator[tuple[api_pb2.TaskLogsBatch, int]]:
        where, values = self._where(request)
        for row in self._rows(f"{where} AND seq > ?", [*values, seq], "ORDER BY seq"):
            yield self._batch(row), row[0]

    async def app_count_logs(
        self, request: api_pb2.AppCountLogsRequest, caller: Caller
    ) -> api_pb2.AppCountLogsResponse:
        where, values = self._where(request)
        window = [seconds(request.since), seconds(request.until)]
        width = request.bucket_secs or 60
        buckets: dict[int, api_pb2.AppCountLogsResponse.LogBucket] = {}
        for row in self._rows(f"{where} AND at >= ? AND at <= ?", [*values, *window], "ORDER BY at"):
            start = math.floor(row[5] / width) * width
            if start not in buckets:
                buckets[start] = api_pb2.AppCountLogsResponse.LogBucket(bucket_start_at=stamp_of(start))
            name = {1: "stdout_logs", 2: "stderr_logs"}.get(row[6], "system_logs")
            setattr(buckets[start], name, getattr(buckets[start], name) + 1)
        return api_pb2.AppCountLogsResponse(app_id=request.app_id, buckets=list(buckets.values()))

    async def app_fetch_logs(
        self, request: api_pb2.AppFetchLogsRequest, caller: Caller
    ) -> api_pb2.AppFetchLogsResponse:
        """The newest `limit` lines of the window, oldest first."""
        where, values = self._where(request)
        window = [seconds(request.since), seconds(request.until)]
        rows = self._rows(
            f"{where} AND at >= ? AND at <= ?", [*values, *window, request.limit or 20_000], "ORDER BY seq DESC LIMIT ?"
        )
        return api_pb2.AppFetchLogsResponse(batches=[self._batch(row) for row in reversed(rows)])
