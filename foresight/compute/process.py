"""One process among all that ever ran: a pid alone may be somebody else by now, a pid with its start time may not.

Also how work is stopped: a whole group at once, then whatever left the group but still descends from it.
"""

from __future__ import annotations

import os
import signal
import socket
from dataclasses import dataclass

import psutil

from foresight.errors import StepFailed

_SAME_START_S = 2.0  # psutil derives it from the boot time, which moves with the clock; a pid is not reused that soon


@dataclass(frozen=True)
class Process:
    """Which process: comparable across processes of one machine, and never equal on another."""

    pid: int
    started: float  # seconds since the epoch
    host: str

    @classmethod
    def current(cls) -> Process:
        return cls.of(os.getpid())

    @classmethod
    def of(cls, pid: int) -> Process:
        """Raises `psutil.NoSuchProcess` if it is gone."""
        return cls(pid, psutil.Process(pid).create_time(), socket.gethostname())

    def is_alive(self) -> bool:
        """False for a zombie, and for a process of another machine: there only its claim can tell."""
        return self.host == socket.gethostname() and self._find() is not None

    def is_gone(self) -> bool:
        """Whether it was here and is not any more; of another machine nobody can tell."""
        return self.host == socket.gethostname() and not self.is_alive()

    def _find(self) -> psutil.Process | None:
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < _SAME_START_S
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None

    def kill_group(self, timeout_s: float = 10.0) -> None:
        """SIGKILL the process, which leads its group, the group and its descendants. Returns when they are dead.

        Raises `StepFailed` if one is not after `timeout_s` (a process stuck in the kernel).
        """
        if self.host != socket.gethostname():
            return
        process = self._find()
        if process is None:
            return
        descendants = _descendants(process)  # first: they are nobody's children once it is dead
        kill_group(self.pid)
        for descendant in descendants:
            _kill(descendant)
        _, alive = psutil.wait_procs([process, *descendants], timeout_s)
        alive = [left for left in alive if _find_status(left) not in (None, psutil.STATUS_ZOMBIE)]
        if alive:
            raise StepFailed(
                f"process {alive[0].pid} did not die within {timeout_s:.0f} s of SIGKILL: it is stuck in the kernel, "
                "often on a disk or a GPU. Look at it with `ps`; the machine may need a restart.",
                cause="lost",
                retryable=False,
            )


def kill_group(pgid: int) -> None:
    """SIGKILL every process of the group; fine if there is none."""
    try:
        os.killpg(pgid, signal.SIGKILL)
    except ProcessLookupError:
        return


def kill_descendants(wait_s: float = 0.0) -> None:
    """SIGKILL everything that the calling process started and that is still there; wait so long until it is not."""
    descendants = _descendants(psutil.Process())
    for descendant in descendants:
        _kill(descendant)
    psutil.wait_procs(descendants, wait_s)


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return


def _find_status(process: psutil.Process) -> str | None:
    try:
        return process.status()
    except psutil.NoSuchProcess:
        return None
