"""Why a step failed, in one word that a program can act on and one line that a person can.

A retry is worth its price only where the same work may well succeed the next time: its process was killed from
outside, its machine vanished, memory or disk was short because of what else was running. What an exception, a wrong
output, a false identity or a timeout did once it does again.
"""

from __future__ import annotations

import errno
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from foresight.compute.masking import mask
from foresight.errors import StepFailed, UserError
from foresight.results.record import Cause

EXIT_DISK_FULL = 74  # EX_IOERR: how a worker ends that cannot even write its journal

_ERROR_LENGTH = 500
_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}
_PLATFORM_STOPS = {"InputCancellation"}  # modal's, raised in a container whose call was cancelled or timed out


@dataclass(frozen=True)
class Trouble:
    cause: Cause
    error: str
    retryable: bool = False


def trouble_of(error: BaseException, root: Path) -> Trouble:
    """What an exception means. `root` is FORESIGHT_HOME, whose disk may be full."""
    names = {base.__name__ for base in type(error).__mro__}
    text = str(error)
    if isinstance(error, StepFailed):
        return Trouble(error.cause, _line(text), error.retryable)  # type: ignore[arg-type]
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        return Trouble("invalid_output", _line(f"{error.title} {place}: {first['msg']}"))
    if isinstance(error, MemoryError) or "OutOfMemoryError" in names or "DefaultCPUAllocator" in text:
        what_to_do = "Make batch_size or the resolution smaller in the profile, or ask for more memory"
        return Trouble("out_of_memory", _line(f"{type(error).__name__}: {text}. {what_to_do}"))
    if _is_disk_full(error):
        return disk_full(root, retryable=True)
    if isinstance(error, KeyboardInterrupt):
        return Trouble("signal", "interrupted (Ctrl-C, or the platform took the machine back)", retryable=True)
    if names & _PLATFORM_STOPS:
        return Trouble("cancelled", "the platform ended the call: it was cancelled, or reached its time limit there")
    if isinstance(error, UserError):
        return Trouble("exception", _line(text))
    return Trouble("exception", _line(f"{type(error).__name__}: {text}" if text else type(error).__name__))


def trouble_of_exit(status: int, *, oom_killed: bool, root: Path) -> Trouble:
    """What it means that a worker ended in the middle. `status` is its exit code, or minus the signal's number."""
    if status == EXIT_DISK_FULL:
        return disk_full(root, retryable=True)
    if status >= 0:
        return Trouble("exception", f"the process ended with exit code {status} in the middle of the step (os._exit?)")
    name = _signal_name(-status)
    if -status == signal.SIGKILL and oom_killed:
        return Trouble(
            "out_of_memory",
            "killed by the kernel because the machine ran out of memory. "
            "Lower batch_size, or run fewer steps at once (fewer slots)",
            retryable=True,
        )
    if -status in _FROM_OUTSIDE:
        return Trouble("signal", f"killed by {name} from outside", retryable=True)
    return Trouble("signal", f"crashed with {name} in native code; the log has the stack")


def disk_full(root: Path, *, retryable: bool) -> Trouble:
    free = shutil.disk_usage(root).free if root.exists() else 0
    error = (
        f"no space left on the disk of {root} ({free / 1e6:.0f} MB free). "
        "`foresight results prune` removes attempts and features that nothing needs; "
        "or set FORESIGHT_HOME to another disk"
    )
    return Trouble("disk", error, retryable)


def oom_kills() -> int:
    """How often the kernel has killed for memory since boot, on this machine. 0 where it does not say."""
    path = Path("/proc/vmstat")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _is_disk_full(error: BaseException) -> bool:
    """Libraries wrap the error of the system: safetensors only leaves its text."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        if isinstance(link, OSError) and link.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left on device" in str(link):
            return True
        seen.add(id(link))
        link = link.__cause__ or link.__context__
    return False


def _signal_name(number: int) -> str:
    try:
        return f"{signal.Signals(number).name} (signal {number})"
    except ValueError:
        return f"signal {number}"


def _line(text: str) -> str:
    line = mask(" ".join(text.split()))
    return line if len(line) <= _ERROR_LENGTH else line[: _ERROR_LENGTH - 1] + "…"
