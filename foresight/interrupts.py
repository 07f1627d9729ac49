"""Ctrl-C, SIGTERM and a terminal that was closed end a command alike: work stops in order, one line says so, and the
exit status is 128 and the signal's number.

What was told to ignore a signal (`nohup`, `&` in a script) goes on ignoring it. Once a command is ending, only another
Ctrl-C is heard: it ends it at once. Nothing survives that either, since all that was started watches for our end.
"""

from __future__ import annotations

import os
import signal
import stat
from typing import NoReturn

WORDS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "the end of its terminal"}


class Interrupted(KeyboardInterrupt):
    """Raised in the main thread when one of them comes."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = signal.Signals(number)

    @property
    def by(self) -> str:
        return WORDS[self.number]

    @property
    def exit_status(self) -> int:
        return 128 + self.number


_heard: Interrupted | None = None


def behind(error: BaseException) -> Interrupted | None:
    """What stopped the command, if something did. What was raised in the middle of a library may come out of it as an
    error of another kind (pydantic does so), and what fails after a signal fails for that."""
    if isinstance(error, Interrupted):
        return error
    if _heard is None and isinstance(error, KeyboardInterrupt):
        return Interrupted(signal.SIGINT)
    return _heard


def check() -> None:
    """Raise again what a library has swallowed."""
    if _heard is not None:
        raise _heard


def listen(*always: int) -> None:
    """From now on. `always`: also where whoever started us has it ignored."""
    for number in WORDS:
        if number in always or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(number: int, _: object) -> NoReturn:
    global _heard
    for other in (signal.SIGTERM, signal.SIGHUP):  # a terminal that closes sends the latter twice
        signal.signal(other, signal.SIG_IGN)
    signal.signal(signal.SIGINT, lambda *_: os._exit(128 + signal.SIGINT))
    if number == signal.SIGHUP:
        _leave_terminal()
    _heard = Interrupted(number)
    raise _heard


def _leave_terminal() -> None:
    """Nothing can be written to it any more; what is a file stays."""
    for descriptor in (0, 1, 2):
        if stat.S_ISCHR(os.fstat(descriptor).st_mode):  # once it is gone, `isatty` says that it is none
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
