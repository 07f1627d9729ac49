"""Everything a call prints, in one file: Python's output and that of C libraries and of child processes alike.

File descriptors 1 and 2 are pointed at the log itself, with no pipe or thread between. So a line is in the file when
the call that wrote it returns, whatever kills the process next, and no output, however much, can block the work. Where
a platform collects stdout itself, a thread copies what the log gains to the original stdout.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

_OURS = logging.getLogger("foresight")
_ECHO_S = 0.1
_IOLBF = 1  # of stdio.h, in glibc and on macOS


class CapturedLog:
    """The log while it is being written."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    def offset(self) -> int:
        """Bytes so far, everything that was printed before this moment included."""
        flush_all()
        return os.fstat(self._descriptor).st_size


@contextmanager
def captured(path: Path, *, echo: bool = False) -> Iterator[CapturedLog]:
    """Append all output of this process to `path`; with `echo`, show it on the stdout that was there before, too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    flush_all()
    before = sys.stdout, sys.stderr, os.dup(1), os.dup(2)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout, sys.stderr = _text(1), _text(2)
    _line_buffer_c()
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.root.addHandler(handler)
    level = _OURS.level
    _OURS.setLevel(logging.INFO)
    over = threading.Event()
    follower = threading.Thread(target=_follow, args=(path, os.fstat(log).st_size, before[2], over), daemon=True)
    if echo:
        follower.start()
    try:
        yield CapturedLog(path, log)
    finally:
        logging.root.removeHandler(handler)
        _OURS.setLevel(level)
        flush_all()
        sys.stdout, sys.stderr = before[:2]
        os.dup2(before[2], 1)
        os.dup2(before[3], 2)
        over.set()
        if echo:
            follower.join()
        for descriptor in (log, *before[2:]):
            os.close(descriptor)


def flush_all() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    ctypes.CDLL(None).fflush(None)


def _text(descriptor: int) -> TextIO:
    return open(descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _line_buffer_c() -> None:
    """C's stdout buffers whole blocks when it is a file; make it as live as Python's."""
    libc = ctypes.CDLL(None)
    stdout = ctypes.c_void_p.in_dll(libc, "__stdoutp" if sys.platform == "darwin" else "stdout")
    libc.setvbuf(stdout, None, _IOLBF, 0)


def _follow(path: Path, offset: int, out: int, over: threading.Event) -> None:
    with path.open("rb") as log:
        log.seek(offset)
        while True:
            last_round = over.wait(_ECHO_S)
            while block := log.read(1 << 16):
                while block:
                    block = block[os.write(out, block) :]
            if last_round:
                return
