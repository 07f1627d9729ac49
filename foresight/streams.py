"""Standard streams that can be written to, whatever the shell has made of them."""

from __future__ import annotations

import codecs
import io
import os
import sys

_NAMES = ("stdin", "stdout", "stderr")
_PLAIN = {"≤": "<=", "≥": ">=", "–": "-", "−": "-", "…": "...", "·": "-", "│": "|", "×": "x", "±": "+-", "→": "->"}


def mend() -> None:
    """One that the shell has closed swallows what is written, and no file that is opened later gets its number. One
    whose encoding lacks a character shows a plain one in its place."""
    codecs.register_error("plain", _plainly)
    for number, name in enumerate(_NAMES):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - stays open
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and name != "stdin":
            stream.reconfigure(errors="plain")


def _plainly(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(_PLAIN.get(character, "?") for character in error.object[error.start : error.end]), error.end
