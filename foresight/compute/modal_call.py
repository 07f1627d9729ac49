"""One call on Modal, as whoever follows it knows it: whether it has ended, how, and whether it was told to stop."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import modal

from foresight.compute import crash_points, ledger
from foresight.compute.backend import StepOutcome
from foresight.compute.causes import Trouble
from foresight.compute.ledger import CallEntry
from foresight.compute.modal_log import RemoteLog
from foresight.compute.modal_names import APP, ON_CPU, ON_GPU
from foresight.compute.modal_settlement import settle
from foresight.compute.modal_trouble import TRANSPORT, killed_for_memory, trouble_of_call
from foresight.compute.step import Resources
from foresight.home import Home

GRACE_S = 120
"""Added to the time limits of a call's attempts: for starting Python and for writing down how it ended."""

LONGEST_S = 24 * 3600  # that a call may have on Modal


@dataclass
class FollowedCall:
    """What its methods ask of Modal raises what the client raises where that cannot be reached."""

    home: Home
    entry: CallEntry
    handle: modal.FunctionCall
    result: dict[str, Any] | None = None  # what the container returned
    trouble: Trouble | None = None  # why it ended otherwise
    outcomes: list[StepOutcome] | None = None  # once it has ended and its results are home
    attached: bool = False  # somebody else had started it
    cancel_wanted: bool = False
    cancel_sent: bool = False
    unreachable_since: float | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.log = RemoteLog(self.handle, datetime.fromisoformat(self.entry.submitted_at))

    @property
    def id(self) -> str:
        return self.entry.call_id

    def has_ended(self, timeout_s: float) -> bool:
        """Also ends one that waits or runs in vain: for a machine past its deadline, or without the memory it needs."""
        if self.result is not None or self.trouble is not None:
            return True
        try:
            self.result = self.handle.get(timeout=timeout_s)
        except TimeoutError:  # the builtin one: not yet
            in_vain = self._overdue() or self._too_small()
            if in_vain is not None:
                self.send_cancel()
                self.trouble = in_vain
        except TRANSPORT:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a call can end with
            self.trouble = trouble_of_call(error, asked_to_cancel=self._cancel_asked())
            if self.entry.foreign and self.trouble.cause == "cancelled" and not self._cancel_asked():
                why = "the home that had submitted it cancelled it, and nobody here did"
                self.trouble = Trouble("lost", why, retryable=True)
        return self.result is not None or self.trouble is not None

    def settle(self, results: modal.Volume) -> None:
        """Bring home what it has recorded on the volume, and close its entry in the ledger."""
        outcomes = settle(self.home, results, self.entry, self.result, self.trouble)
        crash_points.reached("results home")
        ledger.update_call(self.home, self.entry.run_id, self.id, state="ended", ended_at=ledger.now())
        self.outcomes = outcomes

    def send_cancel(self) -> None:
        stop(self.entry)
        self.cancel_sent = True

    def _cancel_asked(self) -> bool:
        return self.cancel_sent or ledger.cancel_requested(self.home, self.entry.run_id, self.id)

    def _overdue(self) -> Trouble | None:
        entry = self.entry
        age_s = (datetime.now(UTC) - datetime.fromisoformat(entry.submitted_at)).total_seconds()
        if entry.foreign or entry.deadline_s is None or age_s <= entry.deadline_s:
            return None
        return Trouble(
            "timeout",
            f"not finished {age_s:.0f} s after it was submitted, and its deadline is {entry.deadline_s:g} s, waiting "
            f"for a machine and restarts included; it was cancelled. {entry.link} tells which of them it was. "
            "Raise deadline_s in the plan or the profile, or choose a GPU class that is easier to get",
        )

    def _too_small(self) -> Trouble | None:
        """Modal starts the same container again, with the same memory and without end: it is not left to."""
        said = self.log.memory_ran_out
        return killed_for_memory(said) if said and not self.entry.foreign else None


def function_for(resources: Resources) -> modal.Function:
    """Bound to what a call needs. Asked for call by call, since a deployment in the middle of a run changes it."""
    bound = modal.Function.from_name(APP, ON_CPU if resources.device == "cpu" else ON_GPU).with_options(
        gpu=None if resources.device == "cpu" else resources.device,
        cpu=resources.cores,
        memory=math.ceil(resources.memory_gb * 1024),
        timeout=min(math.ceil(resources.timeout_s) + GRACE_S, LONGEST_S),
    )
    return bound.hydrate()


def stop(entry: CallEntry) -> None:
    """Cancel a call on Modal, its container and all. Fine if it has ended. Raises what the client raises otherwise."""
    try:
        modal.FunctionCall.from_id(entry.call_id).cancel(terminate_containers=True)
    except modal.exception.NotFoundError:
        return
