"""Which container takes which input, and when a container more is started.

A function (a variant made by with_options counts as one of its own) has at most `max_containers`; the plane has at
most as many in all as a test allows. Inputs are taken in the order in which they were made. A container that has
answered waits for the next input of its function, for the function's scale-down window but no longer than a test
wants to wait.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from .containers import Running
from .store import Call, Function

if TYPE_CHECKING:
    from .plane import Plane

MAX_BACKOFF_S = 30.0
STARTS_BEFORE_ESCALATION = 2  # how often a container may fail to start before its function's inputs fail


class Scheduler:
    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.store = plane.store
        self.running: dict[str, Running] = {}
        self.failed_starts: dict[str, int] = {}
        self.not_before: dict[str, float] = {}
        self.news = asyncio.Event()
        self.closing = False

    def wake(self, delay_s: float = 0.0) -> None:
        if delay_s > 0:
            asyncio.get_running_loop().call_later(delay_s + 0.01, self.news.set)
        self.news.set()

    def of_app(self, app_id: str) -> list[Running]:
        return [task for task in self.running.values() if task.function.app_id == app_id]

    def working_on(self, call_id: str) -> Running | None:
        return next((task for task in self.running.values() if task.call and task.call.id == call_id), None)

    def pending(self, function_id: str) -> list[Call]:
        now = time.time()
        calls = [c for c in self.store.all(Call) if c.state == "pending" and c.function_id == function_id]
        return sorted((c for c in calls if c.not_before <= now), key=lambda call: call.created_at)

    def take(self, task: Running) -> Call | None:
        """The next input for a container that asks for one."""
        current = self.store.find(Function, task.function.id)
        if task.retiring or current is None or current.version != task.function.version:
            return None
        return next(iter(self.pending(task.function.id)), None)

    def shrink(self) -> None:
        """Idle containers beyond what there may be leave; busy ones finish their input first."""
        excess = sum(not task.retiring for task in self.running.values()) - self.plane.settings.max_containers
        for task in sorted(self.running.values(), key=lambda task: not task.idle):
            if excess > 0 and not task.retiring:
                task.retire()
                excess -= 1

    async def run(self) -> None:
        while not self.closing:
            self._place()
            await self.news.wait()
            self.news.clear()

    def _place(self) -> None:
        for task in list(self.running.values()):
            task.inputs_may_have_come.set()
        waiting = {c.function_id for c in self.store.all(Call) if c.state == "pending"}
        queue = [call for id in waiting for call in self.pending(id)]
        budget: dict[str, int] = {}
        for call in sorted(queue, key=lambda call: call.created_at):
            function = self.store.find(Function, call.function_id)
            assert function is not None
            own = [t for t in self.running.values() if t.function.id == function.id]
            fresh = [t for t in own if not t.retiring and t.function.version == function.version]
            if function.id not in budget:
                budget[function.id] = sum(1 for task in fresh if task.call is None and not task.is_used_up)
            if budget[function.id] > 0:
                budget[function.id] -= 1
                continue
            if function.max_containers and len(own) >= function.max_containers:
                continue
            if not self._has_gpu(function):
                continue
            if time.time() < self.not_before.get(function.id, 0.0):
                continue
            if len(self.running) >= self.plane.settings.max_containers:
                idle = [t for t in self.running.values() if t.idle and not t.retiring and t.function.id != function.id]
                if idle:
                    idle[0].retire()
                continue
            task = Running(self.plane, function)
            self.running[task.id] = task
            task.runs = asyncio.create_task(task.run())

    def _has_gpu(self, function: Function) -> bool:
        capacity = self.plane.settings.capacity.get(function.gpu)
        return capacity is None or sum(t.function.gpu == function.gpu for t in self.running.values()) < capacity

    def ended(self, task: Running, took_an_input: bool, failed: bool) -> None:
        self.running.pop(task.id, None)
        if took_an_input or not failed:
            self.failed_starts.pop(task.function.id, None)
        else:
            count = self.failed_starts[task.function.id] = self.failed_starts.get(task.function.id, 0) + 1
            if task.start_failure is not None and (task.escalates or count >= STARTS_BEFORE_ESCALATION):
                for call in self.pending(task.function.id):
                    self.plane.calls.finish(call, task.start_failure)
            delay_s = min(self.plane.settings.crash_backoff_s * 2 ** (count - 1), MAX_BACKOFF_S)
            self.not_before[task.function.id] = time.time() + delay_s
            self.wake(delay_s)
        self.plane.logs.changed(task.function.app_id)
        self.wake()

    async def close(self) -> None:
        self.closing = True
        self.wake()
        tasks = list(self.running.values())
        for task in tasks:
            task.kill("plane_lost")
        await asyncio.gather(*(task.runs for task in tasks if task.runs), return_exceptions=True)
