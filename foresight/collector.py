"""Python's garbage collector, kept from looking for garbage among what is made to stay.

Modules with their classes are most of the objects of a process that runs a flow: to go through them while they are
imported costs an eighth of the import, and to do it once more as the interpreter ends as much again.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """What is made inside is never looked at by the collector."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
