"""The journal of a call: what its worker began and how each step ended, line by line, as it happens.

`ledger/<run-id>/<call-id>.journal.jsonl` is how a worker's knowledge outlives it. The worker appends a line when it
begins an attempt and one when a step ends; if it dies, whoever tidies up after it appends how the rest ended, and last
that the call is over. So at most one process writes at a time, and a line that a crash cut short is the last one. The
offset in the log at which each attempt began tells whose line is whose, with no marker in the log itself.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foresight.compute.attempt import OpenAttempt
from foresight.compute.backend import StepOutcome
from foresight.files import canonical_json


@dataclass(frozen=True)
class Began:
    """One attempt, or several that one executor works on together."""

    attempts: tuple[OpenAttempt, ...]
    label: str
    timeout_s: float
    monotonic_s: float  # the machine's monotonic clock: comparable across its processes, and asleep when it is

    @property
    def log_offset(self) -> int:
        return self.attempts[0].log_offset


@dataclass(frozen=True)
class Journal:
    """What a call's journal says so far."""

    began: list[Began] = field(default_factory=list)
    outcomes: dict[str, StepOutcome] = field(default_factory=dict)  # by fingerprint
    is_over: bool = False

    def unfinished(self) -> list[OpenAttempt]:
        """What was begun and has not ended."""
        return [
            attempt for began in self.began for attempt in began.attempts if attempt.fingerprint not in self.outcomes
        ]


class JournalWriter:
    """Appends whole lines, behind the last one that is whole."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.ftruncate(self._descriptor, path.read_bytes().rfind(b"\n") + 1)

    def begin(self, attempts: Sequence[OpenAttempt], label: str, timeout_s: float) -> None:
        self._append(
            {
                "began": [attempt.model_dump(mode="json") for attempt in attempts],
                "label": label,
                "timeout_s": timeout_s,
                "monotonic_s": time.monotonic(),
            }
        )

    def end(self, outcome: StepOutcome) -> None:
        self._append({"ended": outcome.to_json()})

    def over(self) -> None:
        self._append({"over": True})

    def __enter__(self) -> JournalWriter:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def _append(self, event: Mapping[str, Any]) -> None:
        line = f"{canonical_json(event)}\n".encode()
        if os.write(self._descriptor, line) < len(line):  # what is left of a disk takes a part
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read_journal(path: Path) -> Journal:
    """The journal so far; empty if the worker has not begun."""
    try:
        lines = path.read_bytes().split(b"\n")[:-1]  # what follows the last line's end was cut short
    except FileNotFoundError:
        return Journal()
    began: list[Began] = []
    outcomes: dict[str, StepOutcome] = {}
    is_over = False
    for line in lines:
        event = json.loads(line)
        if "began" in event:
            attempts = tuple(OpenAttempt.model_validate(attempt) for attempt in event["began"])
            began.append(Began(attempts, event["label"], event["timeout_s"], event["monotonic_s"]))
        elif "ended" in event:
            outcome = StepOutcome(**event["ended"])
            outcomes.setdefault(outcome.fingerprint, outcome)
        else:
            is_over = True
    return Journal(began, outcomes, is_over)
