"""How many GPUs are in flight at once, over all runs of a Prefect server: a global limit that its UI shows and changes.

A task holds a slot of `foresight-gpus` while its remote GPU call runs. The first that needs it creates the limit, of
`FORESIGHT_GPUS` slots; one that is there is never changed. A run that is killed gives its slots back when their lease
ends, after five minutes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from foresight.compute.backend import Backend, Call
from foresight.compute.gpus import is_gpu
from foresight.errors import UserError

LIMIT = "foresight-gpus"
VARIABLE = "FORESIGHT_GPUS"
DEFAULT = 10
_LOOK_S = 5.0


@contextmanager
def gpus_in_flight(
    call: Call, backend: Backend, check: Callable[[], None], say: Callable[[str], None]
) -> Iterator[None]:
    """Hold a slot, if the call takes a GPU that is paid for. `check` is called while waiting and raises to give up."""
    if not is_gpu(call.resources.device) or backend.rates.are_free:
        yield
        return
    _make_limit()
    with ExitStack() as held:
        waiting = False
        while True:
            try:
                # A lease that cannot be renewed says nothing of the call: it is not to be given up for that.
                held.enter_context(
                    concurrency(LIMIT, timeout_seconds=_LOOK_S, strict=True, raise_on_lease_renewal_failure=False)
                )
                break
            except TimeoutError:
                if not waiting:
                    say(f"waits: all slots of the concurrency limit {LIMIT} are taken")
                waiting = True
                check()
        yield


def _make_limit() -> None:
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(LIMIT)
        except ObjectNotFound:
            try:
                client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=LIMIT, limit=_slots()))
            except ObjectAlreadyExists:
                return  # another task was faster


def _slots() -> int:
    text = os.environ.get(VARIABLE, str(DEFAULT))
    if not text.isdigit() or int(text) == 0:
        raise UserError(f"{VARIABLE} must be a whole number from 1, not {text!r}.")
    return int(text)
