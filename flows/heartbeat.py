"""The heartbeats of a flow run from a shell, by whose end the server knows that it is gone (`flows.automations`).

Prefect's own sleep a second at a time and are waited for when the flow has ended, so that a run ends only when it is
whole seconds old. A deployed run has those all the same; for a run from a shell, whose end somebody waits for, they are
switched off and sent from here: as often as Prefect can be told to, since the server's patience is of its own settings
and not of this shell's. A server that the run has brought itself dies with it and needs none.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context

from prefect.events import emit_event
from prefect.runtime import flow_run
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

EVENT = "prefect.flow-run.heartbeat"
EVERY_S = 30.0

_are_ours: ContextVar[bool] = ContextVar("_are_ours", default=False)


@contextmanager
def of_our_own(*, wanted: bool) -> Iterator[None]:
    """Around a flow: Prefect's are off, and ours are sent by `sent` if they are `wanted`."""
    token = _are_ours.set(wanted)
    try:
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            yield
    finally:
        _are_ours.reset(token)


@contextmanager
def sent() -> Iterator[None]:
    """Around the work of a flow run. Nothing happens where they are Prefect's, or not wanted."""
    if not _are_ours.get():
        yield
        return
    resource = {"prefect.resource.id": f"prefect.flow-run.{flow_run.id}", "prefect.resource.name": flow_run.name or ""}
    over = threading.Event()

    def beat() -> None:
        emit_event(EVENT, resource=resource)
        while not over.wait(EVERY_S):
            emit_event(EVENT, resource=resource)

    thread = threading.Thread(target=copy_context().run, args=(beat,), name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
