"""Which version of a library is installed, read once for as long as nothing is installed."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path


def installed(library: str) -> str | None:
    """None if it is not installed."""
    return _read(library, _folders())


def library_of(module: str) -> str | None:
    """The installed library that brings a top-level module; None if none does, as of a file of one's own."""
    if installed(module) is not None:
        return module
    return next(iter(_brought_by(_folders()).get(module, ())), None)


@cache
def _brought_by(_folders: tuple[int, ...]) -> Mapping[str, list[str]]:
    """Module -> libraries. It takes most of a second, which only who imports what is called otherwise pays for."""
    return importlib.metadata.packages_distributions()


@cache
def _read(library: str, _folders: tuple[int, ...]) -> str | None:
    """To read one parses the whole description of the library, and a step asks for twenty."""
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


def _folders() -> tuple[int, ...]:
    return tuple(_changed_at(folder) for folder in sys.path)


def _changed_at(folder: str) -> int:
    """What installs a library makes a folder for its metadata beside it."""
    try:
        return Path(folder or ".").stat().st_mtime_ns
    except OSError:
        return 0
