"""Slots: at most so many local calls at once, over all runs that share a FORESIGHT_HOME.

A slot is an flock on `ledger/slots/<i>.lock`. Its descriptor is handed to the worker, so that the slot is taken exactly
as long as the worker lives, and a run that is killed leaves none behind.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable

from foresight.home import Home

_LOOK_S = 0.05


class Slots:
    """The slots of one home, as one process takes them."""

    def __init__(self, home: Home, count: int) -> None:
        self._folder = home.ledger / "slots"
        self._count = count
        self._turn = threading.Lock()  # one thread looks, the others queue: looking costs system calls
        self._nap = threading.Event()  # never set

    def take(self, check: Callable[[], None]) -> int:
        """Wait for a slot and return the descriptor that holds it; close it to give the slot back.

        `check` is called while waiting and raises to give up.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        check()
        while not self._turn.acquire(timeout=_LOOK_S):
            check()
        try:
            while True:
                for index in range(self._count):
                    descriptor = self._try(index)
                    if descriptor is not None:
                        return descriptor
                check()
                self._nap.wait(_LOOK_S)
        finally:
            self._turn.release()

    def _try(self, index: int) -> int | None:
        descriptor = os.open(self._folder / f"{index}.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor
