"""How the steps of a call on Modal ended: by what the container said, by the records on the volume, and else by what
ended the call.

The record decides: a container that died between writing it and saying so has finished its step, and so has one whose
last commit failed, which the volume makes all the same when a container ends. Everything that a call
left comes home first; what it began and did not end is closed at home, with the cause that only the orchestrator knows.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import modal

from foresight.compute.attempt import OpenAttempt, close_failed, close_finished
from foresight.compute.backend import StepOutcome
from foresight.compute.causes import Trouble
from foresight.compute.ledger import CallEntry, StepEntry
from foresight.compute.modal_volume import bring_attempts, bring_home, open_attempts, remote_record
from foresight.files import read_json
from foresight.home import Home
from foresight.results.record import Record

LAST_COMMIT_S = 5.0
"""A call that ran out of time has ended before its container has: so long is waited for the attempt that it commits."""


def settle(
    home: Home,
    volume: modal.Volume,
    entry: CallEntry,
    result: Mapping[str, Any] | None,
    trouble: Trouble | None,
) -> list[StepOutcome]:
    """How each step ended, in the order of the call. `result` is what the container returned, if it did; `volume` is
    that of the results.

    May be called again after it was cut short. Raises what the client raises where Modal cannot be reached.
    """
    said = {each["fingerprint"]: StepOutcome(**each) for each in (result or {}).get("outcomes", [])}
    trouble = trouble or Trouble("lost", "its container did not say how it ended", retryable=True)
    return [_settle(home, volume, entry, step, said.get(step.fingerprint), trouble) for step in entry.steps]


def _settle(
    home: Home, volume: modal.Volume, entry: CallEntry, step: StepEntry, said: StepOutcome | None, trouble: Trouble
) -> StepOutcome:
    bring_attempts(home, volume, step.fingerprint)
    until = time.monotonic() + (LAST_COMMIT_S if said is None and trouble.cause == "timeout" else 0.0)
    while time.monotonic() < until and not _came_home(home, entry, step):
        time.sleep(0.2)
        bring_attempts(home, volume, step.fingerprint)
    found = remote_record(volume, step.fingerprint)
    if found is not None:
        bring_home(home, volume, *found)
    record = found[0] if found is not None and step.refresh in (None, found[0].run_id) else None
    _close(home, entry, step, record, trouble)
    if record is not None:
        if said is not None and said.status == "completed":
            return said
        return StepOutcome(step.fingerprint, "completed", attempt=record.attempt, seconds=record.usage.seconds)
    if said is not None and said.status != "completed":
        return said
    if said is not None:
        trouble = Trouble("lost", "its container finished it, and the volume has no record of it", retryable=True)
    return StepOutcome(step.fingerprint, "failed", trouble.cause, trouble.error, trouble.retryable)


def _came_home(home: Home, entry: CallEntry, step: StepEntry) -> bool:
    files = home.step(step.fingerprint).glob("attempts/*/*.json")
    told = (read_json(path) for path in files if path.name in ("started.json", "attempt.json"))
    return any(each["call_id"] == entry.call_id for each in told)


def _close(home: Home, entry: CallEntry, step: StepEntry, record: Record | None, trouble: Trouble) -> None:
    """The attempts of this call that the container began and could not close."""
    for content in open_attempts(home, step.fingerprint, entry.call_id):
        attempt = OpenAttempt.model_validate(content)
        if record is not None and record.attempt == attempt.number:
            close_finished(home, attempt)
        else:
            seconds = (datetime.now(UTC) - datetime.fromisoformat(attempt.started_at)).total_seconds()
            close_failed(home, attempt, cause=trouble.cause, error=trouble.error, seconds=max(0.0, seconds))
