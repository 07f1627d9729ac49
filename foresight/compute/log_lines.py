"""From the bytes of a call's log to lines that a person can read, each with the step that it belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from foresight.compute.backend import LogLine
from foresight.compute.journal import Began
from foresight.compute.masking import mask

MAX_LINE = 8192  # bytes of a line that are shown; the file keeps all of it
_BLOCK = 1 << 20

_PROGRESS = re.compile(r"::progress (\d(?:\.\d+)?(?:e-\d+)?)(?: (.*))?")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def read_lines(path: Path, cursor: int, end: int, began: Sequence[Began], *, ended: bool) -> tuple[list[LogLine], int]:
    """The whole lines between the bytes `cursor` and `end` of the log, and the cursor after them.

    While the call runs, at most 1 MiB at a time, and a line that has no end yet is left for later unless it is longer
    than is shown anyway. Once it has `ended`, all of the rest. Look at the log's size first and at the journal after
    it: the journal names an attempt before its first line is written.
    """
    lines: list[LogLine] = []
    if end <= cursor:
        return lines, cursor
    with path.open("rb") as log:
        log.seek(cursor)
        while block := log.read(min(_BLOCK, end - cursor)):
            cut = block.rfind(b"\n") + 1
            if cut == 0 and (len(block) == _BLOCK or ended):
                cut = len(block)
            lines += _lines(block[:cut], cursor, began)
            cursor += cut
            if not ended:
                break
            log.seek(cursor)
    return lines, cursor


def _lines(data: bytes, offset: int, began: Sequence[Began]) -> Iterator[LogLine]:
    for raw in data.removesuffix(b"\n").split(b"\n") if data else ():
        yield parse_line(raw, _label(offset, began))
        offset += len(raw) + 1


def parse_line(raw: bytes, step: str | None) -> LogLine:
    """One line of a log, without its end: what a person can read of it, or a progress report."""
    text = raw[:MAX_LINE].decode(errors="replace")
    if len(raw) > MAX_LINE:
        text += f" … ({len(raw)} bytes)"
    text = text.rstrip("\r").rpartition("\r")[2]  # a progress bar writes over itself: what stands at the end
    text = mask(_CONTROL.sub("\ufffd", _ESCAPES.sub("", text)))
    match = _PROGRESS.fullmatch(text)
    if match and float(match[1]) <= 1.0:
        return LogLine(match[2] or "", float(match[1]), step)
    return LogLine(text, None, step)


def _label(offset: int, began: Sequence[Began]) -> str | None:
    return next((each.label for each in reversed(began) if each.log_offset <= offset), None)
