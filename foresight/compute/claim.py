"""The claim: at most one live call works on a fingerprint.

It is an flock on `steps/<fingerprint>/claim.lock`, held by the process that does the work. The kernel frees it when
that process ends, however it ends, so there is no stale claim to break and no timeout to choose. The file stays and is
never replaced: a lock on a file that another process has renamed away would exclude nobody. What is written in it says
who holds it, for people and for messages; the lock alone decides.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from foresight.compute.process import Process
from foresight.home import Home

_LOOKS = 50
_LOOK_S = 0.002


@dataclass(frozen=True)
class Holder:
    """Who works on it. `process` is None only in the moment between taking a claim and writing it down."""

    call_id: str
    run_id: str
    process: Process | None

    @classmethod
    def here(cls, call_id: str, run_id: str) -> Holder:
        return cls(call_id, run_id, Process.current())

    def __str__(self) -> str:
        where = f" (pid {self.process.pid} on {self.process.host})" if self.process else ""
        return f"call {self.call_id or '?'} of run {self.run_id or '?'}{where}"


class Claim(Protocol):
    """A claim that is held."""

    def release(self) -> None:
        """Let others have it. Idempotent."""


TryClaim = Callable[[str, Holder], Claim | Holder]
"""(fingerprint, who asks) -> the claim, or who holds it. Where work runs elsewhere, claims lie elsewhere."""


class FileClaim:
    """An flock that is held as long as this object is not released and the process lives."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        os.ftruncate(descriptor, 0)
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing is not enough while a forked child has the descriptor too
        os.close(descriptor)

    def __enter__(self) -> FileClaim:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def try_claim(home: Home, fingerprint: str, holder: Holder) -> FileClaim | Holder:
    """The claim, or at once who has it. Excludes other processes and other callers in this process alike."""
    path = _path(home, fingerprint)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        for _ in range(_LOOKS):
            if _lock(descriptor, fcntl.LOCK_EX):
                content = json.dumps(asdict(holder)).encode()
                os.pwrite(descriptor, content, 0)  # in place: see the module
                os.ftruncate(descriptor, len(content))
                return FileClaim(os.dup(descriptor))
            holds = _read(path)
            if holds.process is not None and holds.process.is_alive():
                return holds
            time.sleep(
                _LOOK_S
            )  # being written down, or only being looked at by `is_claimed`: either is over in a moment
        return holds
    finally:
        os.close(descriptor)


def is_claimed(home: Home, fingerprint: str) -> bool:
    """Whether some live process works on it now."""
    try:
        descriptor = os.open(_path(home, fingerprint), os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not _lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)  # frees it again


def _path(home: Home, fingerprint: str) -> Path:
    return home.step(fingerprint) / "claim.lock"


def _lock(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(path: Path) -> Holder:
    """What the file says, which is nothing yet if it was claimed a moment ago."""
    try:
        content = json.loads(path.read_text())
    except json.JSONDecodeError:
        return Holder("", "", None)
    process = content["process"]
    return Holder(content["call_id"], content["run_id"], Process(**process) if process else None)
