"""One torch thread, for as long as a block lasts.

Small tensors lose more to waiting at OpenMP barriers than a second core gives (a 64x64 product went from 21 us to over
230 us beside one busy core), and sums that are split over threads need not repeat to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def single_thread() -> Iterator[None]:
    """Use as a `with` block or as a decorator. The number of threads that was set before is set again after."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
