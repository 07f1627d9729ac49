"""Which version of a library is installed, read once for as long as nothing is installed."""

from __future__ import annotations

import importlib.metadata
import sys
from functools import cache
from pathlib import Path


def installed(library: str) -> str | None:
    """None if it is not installed."""
    return _read(library, tuple(_changed_at(folder) for folder in sys.path))


@cache
def _read(library: str, _folders: tuple[int, ...]) -> str | None:
    """To read one parses the whole description of the library, and a step asks for twenty."""
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


def _changed_at(folder: str) -> int:
    """What installs a library makes a folder for its metadata beside it."""
    try:
        return Path(folder or ".").stat().st_mtime_ns
    except OSError:
        return 0
