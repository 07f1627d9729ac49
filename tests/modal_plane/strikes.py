"""What befalls containers at a moment that a test names: preempted, out of memory, crashed, timed out, cancelled.

A strike waits for its moment: when an input starts (`on="start"`), when the container prints a line that matches
(`on="log"`, `pattern`), or when it commits a volume (`on="commit"`); at the `nth` such moment, after `after_s` more
seconds.
"""

from __future__ import annotations

import asyncio
import fnmatch
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from .containers import Running
    from .plane import Plane

ACTIONS = ("preempt", "out_of_memory", "crash", "timeout", "cancel")


@dataclass
class Strike:
    action: str
    on: Literal["start", "log", "commit"] = "start"
    pattern: str = ""
    function: str = "*"
    contains: str = ""  # in the input's arguments, as bytes
    nth: int = 1
    every: bool = False  # at each nth moment, not only at the first
    after_s: float = 0.0
    times: int = 1
    seen: int = 0
    struck: int = 0
    calls: list[str] = field(default_factory=list)


class Strikes:
    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.waiting: list[Strike] = []

    def add(self, **spec: Any) -> None:
        strike = Strike(**spec)
        if strike.action not in ACTIONS:
            raise ValueError(f"{strike.action}: no such strike; there are {', '.join(ACTIONS)}")
        self.waiting.append(strike)

    def started(self, task: Running) -> None:
        self._moment(task, "start", "")

    def printed(self, task: Running, line: str) -> None:
        self._moment(task, "log", line)

    def committed(self, task: Running) -> None:
        self._moment(task, "commit", "")

    def _moment(self, task: Running, on: str, line: str) -> None:
        call = task.call
        if call is None:
            return
        for strike in self.waiting:
            if (
                strike.on != on
                or strike.struck >= strike.times
                or not fnmatch.fnmatch(task.function.name, strike.function)
            ):
                continue
            if strike.contains.encode() not in call.input or (on == "log" and not re.search(strike.pattern, line)):
                continue
            strike.seen += 1
            if strike.seen == strike.nth or (strike.every and strike.seen % strike.nth == 0):
                strike.struck += 1
                strike.calls.append(call.id)
                asyncio.get_running_loop().call_later(strike.after_s, self.strike, task, strike.action, call.id)

    def strike(self, task: Running, action: str, call_id: str = "", grace_s: float | None = None) -> None:
        """Now, if the container still works on that call."""
        if call_id and (task.call is None or task.call.id != call_id):
            return
        if action == "preempt":
            task.preempt(grace_s)
        elif action == "out_of_memory":
            task.out_of_memory()
        elif action == "crash":
            task.kill("crashed")
        elif action == "timeout" and task.call:
            task.timed_out(task.call)
        elif action == "cancel" and task.call:
            self.plane.calls.cancel(task.call)
