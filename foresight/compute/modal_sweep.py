"""Calls on Modal whose run is gone: found, told apart, and stopped where a person wanted that.

That an orchestrator died is no reason to stop its work: the next run attaches to it. So a sweep stops only what a
person cancelled and what is past its deadline; what has ended it brings home; of the rest it says that it goes on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from foresight.compute import ledger
from foresight.compute.ledger import CallEntry, StepEntry
from foresight.compute.modal_backend import ModalBackend
from foresight.compute.modal_claims import claimed_from, is_live
from foresight.home import Home

LOOK_S = 0.25
SETTLE_S = 20.0


@dataclass(frozen=True)
class Swept:
    entry: CallEntry
    what: Literal["ended; its results are home", "goes on", "stopped"]


def sweep(home: Home) -> list[Swept]:
    """Look at every call without a run, those too that died between their spawn and the ledger."""
    for call_id, (run_id, fingerprints) in claimed_from(home.id).items():
        if not list(home.ledger.glob(f"*/{call_id}.json")) and is_live(call_id):
            _enter(home, call_id, run_id, fingerprints)
    backend = ModalBackend(home)
    found = []
    for entry in ledger.unfollowed(home):
        backend.follow(entry)
        wanted = not ledger.cancel_requested(home, entry.run_id, entry.call_id)
        if wanted and backend.poll(entry.call_id, 0.0) == "running":
            found.append(Swept(entry, "goes on"))
        elif wanted:
            stopped = any(outcome.cause in ("timeout", "cancelled") for outcome in backend.outcome(entry.call_id))
            found.append(Swept(entry, "stopped" if stopped else "ended; its results are home"))
        else:
            stop_all(home, [entry])
            found.append(Swept(entry, "stopped"))
    return found


def stop_all(home: Home, entries: Sequence[CallEntry]) -> list[CallEntry]:
    """Cancel calls that nobody follows, all at once, and bring home what they left. Returns those that were stopped.

    Waits for Modal to say that they have ended, for 20 s at most.
    """
    backend = ModalBackend(home)
    for entry in entries:
        backend.follow(entry)
        backend.cancel(entry.call_id)
    deadline = time.monotonic() + SETTLE_S
    pending = list(entries)
    while pending and time.monotonic() < deadline:
        pending = [entry for entry in pending if backend.poll(entry.call_id, LOOK_S) == "running"]
    return [entry for entry in entries if entry not in pending]


def _enter(home: Home, call_id: str, run_id: str, fingerprints: Sequence[str]) -> None:
    """In the ledger, as its run would have done."""
    entry = CallEntry(
        call_id=call_id,
        run_id=run_id,
        backend="modal",
        steps=tuple(StepEntry(label=f"step {fp[:12]}…", fingerprint=fp) for fp in fingerprints),
        state="running",
        submitted_at=ledger.now(),
        link=f"https://modal.com/id/{call_id}",
    )
    ledger.write_call(home, entry)
