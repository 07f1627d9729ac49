"""The log of a call on Modal, as lines of the flow run's log.

Read by the client's own log API, a time range at a time. Ranges overlap by a few seconds, since lines of several
streams may arrive out of order, and what was shown is remembered; the cursor (microseconds since 1970) is what another
process goes on from. Entries are not lines: they are put together here.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import modal

from foresight.compute.backend import LogLine
from foresight.compute.log_lines import parse_line
from foresight.compute.modal_names import END_OF_LOG

EVERY_S = 2.0
LATE_EVERY_S = 0.25
OVERLAP = timedelta(seconds=5)
LATE_S = 3.0
"""How long the last lines of a call that said that it was over are waited for. Nothing else waits for them."""

_MEMORY = re.compile(r"out of memory|\boom\b", re.IGNORECASE)


class RemoteLog:
    """The lines of one call, each once."""

    def __init__(self, handle: modal.FunctionCall, submitted_at: datetime) -> None:
        self._handle = handle
        self._from = submitted_at - timedelta(minutes=1)  # clocks differ
        self._seen: dict[tuple[datetime, str, str], None] = {}
        self._begun: dict[str, str] = defaultdict(str)  # stream → a line that has no end yet
        self._next = 0.0
        self._end_seen = False
        self.memory_ran_out = ""
        """What Modal itself said, if it killed a container of this call for its memory. The call then starts again."""

    def read(self, cursor: int, *, ended: bool = False) -> tuple[Sequence[LogLine], int]:
        """The new lines after `cursor`, and the cursor after them. Asks every 2 s at most, until it has `ended`."""
        if not ended and time.monotonic() < self._next:
            return [], cursor
        lines, cursor = self._fetch(cursor)
        self._next = time.monotonic() + EVERY_S
        return lines, cursor

    def rest(self, cursor: int, *, complete: bool) -> Sequence[LogLine]:
        """What is still to come of a call that has ended, and has been read since.

        `complete`: the call said all that it had to say, so its last line is on its way if it is not there.
        """
        lines: list[LogLine] = []
        deadline = time.monotonic() + LATE_S
        while complete and not self._end_seen and time.monotonic() < deadline:
            time.sleep(LATE_EVERY_S)
            more, cursor = self._fetch(cursor)
            lines += more
        lines += [parse_line(rest.encode(), None) for rest in self._begun.values() if rest]
        self._begun.clear()
        return lines

    def _fetch(self, cursor: int) -> tuple[list[LogLine], int]:
        shown = datetime.fromtimestamp(cursor / 1e6, UTC)
        fresh = not self._seen
        lines: list[LogLine] = []
        newest = cursor
        since = max(self._from, shown - OVERLAP) if cursor else self._from
        for entry in self._handle.logs.fetch(since=since, until=datetime.now(UTC) + timedelta(minutes=1)):
            key = (entry.timestamp, entry.source, entry.message)
            if key in self._seen:
                continue
            self._seen[key] = None
            if entry.source == "system" and _MEMORY.search(entry.message):
                self.memory_ran_out = entry.message.strip()
            if fresh and cursor and entry.timestamp <= shown:  # another process showed it
                self._end_seen |= entry.message.startswith(END_OF_LOG)
                continue
            newest = max(newest, int(entry.timestamp.timestamp() * 1e6))
            lines += self._lines("/".join([entry.source, *entry.context_ids]), entry.message)
        old = datetime.fromtimestamp(newest / 1e6, UTC) - 2 * OVERLAP
        self._seen = {key: None for key in self._seen if key[0] >= old}
        return lines, newest

    def _lines(self, stream: str, text: str) -> list[LogLine]:
        *whole, self._begun[stream] = (self._begun[stream] + text).split("\n")
        self._end_seen |= any(line.startswith(END_OF_LOG) for line in whole)
        return [parse_line(line.encode(), None) for line in whole if not line.startswith(END_OF_LOG)]
