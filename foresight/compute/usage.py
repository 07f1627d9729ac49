"""What a step takes: seconds, processor seconds, memory, dollars."""

from __future__ import annotations

import resource
import sys
import time

from foresight.results.record import Usage

_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


class Meter:
    """Runs from when it is made. `lap` gives what was used since the last lap, so that the laps of steps add up."""

    def __init__(self, device: str, usd_per_second: float) -> None:
        self._device = device
        self._usd_per_second = usd_per_second
        self._reset()

    def lap(self) -> Usage:
        seconds = self.seconds
        usage = Usage(
            device=self._device,
            seconds=seconds,
            cpu_seconds=_cpu_seconds() - self._cpu_seconds,
            peak_memory_bytes=_peak_gpu_bytes() or _peak_bytes(),
            cost_usd=seconds * self._usd_per_second,
        )
        self._reset()
        return usage

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def _reset(self) -> None:
        self._started = time.monotonic()
        self._cpu_seconds = _cpu_seconds()


def _cpu_seconds() -> float:
    """Of this process and of the children that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in used)


def _peak_bytes() -> int:
    """Peak resident memory of this process since it began, its largest child's if that is larger."""
    used = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return max(used) * _MAXRSS_UNIT


def _peak_gpu_bytes() -> int:
    """Peak allocated GPU memory, if the step loaded torch and used a GPU. Never loads torch itself."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0
    return int(torch.cuda.max_memory_allocated())
