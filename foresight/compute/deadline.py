"""The deadline of a call: for all attempts of a run together, from when the first of them was submitted.

So a wait for a machine and every retry of the run's own count, and a wait for this home's own slots and limits does
not. A run that a person retries, after it ended or its process died, has another process, and its time begins anew: the
hours in between were nobody's. What was submitted before and still goes on keeps its own time (`modal_call`).
"""

from __future__ import annotations

from datetime import UTC, datetime

from foresight.compute import ledger
from foresight.compute.backend import Call
from foresight.compute.process import Process
from foresight.errors import StepFailed
from foresight.home import Home


class Deadline:
    """Of a call that has just been submitted, perhaps not for the first time."""

    def __init__(self, home: Home, run_id: str, call: Call) -> None:
        self._allowed_s = call.resources.deadline_s
        since = datetime.fromtimestamp(Process.current().started, UTC)
        self._began = ledger.first_submitted(home, run_id, {step.fingerprint for step in call.steps}, since)

    def passed(self) -> StepFailed | None:
        """What to tell, once it has passed."""
        if self._allowed_s is None or self._began is None:
            return None
        age_s = (datetime.now(UTC) - self._began).total_seconds()
        if age_s <= self._allowed_s:
            return None
        return StepFailed(
            f"not finished {age_s:.0f} s after it was first submitted, and all its attempts together have "
            f"{self._allowed_s:g} s; it was stopped. Raise deadline_s in the plan or the profile",
            cause="timeout",
            retryable=False,
        )
