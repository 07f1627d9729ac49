"""Named moments of a step's life at which a test kills the process, to show that the next run mends it."""

from __future__ import annotations


def reached(point: str) -> None:
    """Does nothing. Tests put in its place what kills the process at one `point`."""
