"""What a container prints, line by line, read when it comes and, to the last byte, when its input is answered.

Without that last read a line printed just before an answer could be taken for one of no call, or of the next.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable


class Pipe:
    def __init__(self, take: Callable[[str], None]) -> None:
        self.take = take
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)
        self.rest = b""
        self.ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(self.reading, self.read)

    def started(self) -> None:
        """The process has its end; without ours, its end is the last."""
        os.close(self.writing)

    def read(self) -> None:
        while not self.ended.is_set():
            try:
                data = os.read(self.reading, 1 << 16)
            except BlockingIOError:
                return
            *lines, self.rest = (self.rest + data).split(b"\n")
            for line in lines:
                self.take(line.decode(errors="replace") + "\n")
            if not data:
                self._end()

    def flush(self) -> None:
        """All that was written so far, a line that is not finished included."""
        self.read()
        if self.rest:
            rest, self.rest = self.rest, b""
            self.take(rest.decode(errors="replace"))

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self.reading)
        os.close(self.reading)
        self.ended.set()
        self.flush()

    def close(self) -> None:
        if not self.ended.is_set():
            self.flush()
        if not self.ended.is_set():
            self._end()
