"""One thread a step: in a worker, and where steps run in the user's own process.

On small arrays threads wait for each other longer than they work: probes were ten times slower with two threads than
with one. Sums that are split over threads also differ in the last bits, and a step is to give the same numbers
wherever it runs. A worker's variables are set before anything is loaded; here libraries may be loaded already, and
those have to be told.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
    ),
    "1",
)


@contextmanager
def one_thread() -> Iterator[None]:
    """For libraries that are loaded, and in the environment for those that will be; both are as before again after."""
    from threadpoolctl import threadpool_limits  # comes with scikit-learn; a light command must not pay for it

    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        with threadpool_limits(1):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
