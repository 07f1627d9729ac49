"""ModalBackend: calls run in containers of the deployed app, and outlive whoever submitted them.

What is spawned is written in the ledger with Modal's id of it, and from then on any process of this home can follow
it: the next run, a retry, a cancel hook, the sweep. Between the spawn and that entry a crash loses the id, but not the
work: the container has claimed its steps (`modal_claims`), and who asks for them again finds the claim and attaches to
that call, also from another home.

Three kinds of trouble are kept apart. That Modal cannot be reached says nothing about a call: it is followed again as
soon as Modal answers, for as long as `UNREACHABLE_S`, and nothing is started meanwhile. That a container was taken away
is Modal's own business: the same call goes on in another. Only the end of a call is an outcome, and what it recorded
counts even then.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from pathlib import Path

import modal

from foresight.compute import crash_points, ledger
from foresight.compute.attempt import attempt_numbers
from foresight.compute.backend import Call, CallState, LogLine, StepOutcome
from foresight.compute.beside import beside
from foresight.compute.ledger import CallEntry, StepEntry
from foresight.compute.modal_call import FollowedCall, function_for, stop
from foresight.compute.modal_claims import claims_dict, live_holder
from foresight.compute.modal_log import LATE_S
from foresight.compute.modal_trouble import FATAL, TRANSPORT, refusal_of
from foresight.compute.modal_volume import results
from foresight.compute.process import Process
from foresight.compute.rates import TABLE, Rates
from foresight.compute.run_step import steps_to_json
from foresight.errors import StepFailed
from foresight.home import Home

UNREACHABLE_S = 3600.0
"""How long a call is followed while Modal does not answer. Then the run gives up on it; the call may go on there."""

logger = logging.getLogger(__name__)


class ModalBackend:
    """Implements `backend.Backend`. Safe from many threads."""

    name = "modal"
    poll_s = 1.0

    def __init__(
        self,
        home: Home,
        *,
        rates: Rates = TABLE,
        unreachable_s: float = UNREACHABLE_S,
    ) -> None:
        self._home = home.resolved()
        self.rates = rates
        self._unreachable_s = unreachable_s
        self._calls: dict[str, FollowedCall] = {}
        self._ended: set[Path] = set()  # entries of the ledger that need not be read again
        self._letting_go = threading.Event()
        self._claims, self._results = claims_dict(), results()  # no deployment changes them: one look-up each a run
        self._late: list[Future[None]] = []  # last lines that are still to be shown

    # ------------------------------------------------------------------ starting, or finding what was started

    def submit(self, call: Call, *, run_id: str) -> str:
        """Attach to a live call that works on one of these steps, or spawn one. Waits while Modal cannot be reached."""
        since: float | None = None
        function: Future[modal.Function] | None = None
        while True:
            self._require_wanted(run_id)
            if function is None or function.done():  # while it is looked whether it is needed; anew where it was not
                function = beside(function_for, call.resources)
            try:
                followed = self._of_this_home(call, run_id) or self._by_its_claim(call, run_id)
                crash_points.reached("looked for a live call")
                return (followed or self._spawn(call, function.result(), run_id)).id
            except FATAL as error:
                raise StepFailed(str(refusal_of(error)), cause="needs", retryable=False) from error
            except TRANSPORT as error:
                since = since or time.monotonic()
                self._require_patience(since, error)
                self._letting_go.wait(self.poll_s)

    def _of_this_home(self, call: Call, run_id: str) -> FollowedCall | None:
        wanted = {step.fingerprint for step in call.steps}
        for entry in ledger.open_calls(self._home, self._ended):
            if entry.backend != self.name or not wanted & {step.fingerprint for step in entry.steps}:
                continue
            if ledger.cancel_requested(self._home, entry.run_id, entry.call_id):
                stop(entry)
                ledger.update_call(self._home, entry.run_id, entry.call_id, state="ended", ended_at=ledger.now())
                continue
            return self._take_over(entry, run_id)
        return None

    def _by_its_claim(self, call: Call, run_id: str) -> FollowedCall | None:
        """A call of another home, or one of this home that was never written down."""
        for step in call.steps:
            holder = live_holder(self._claims, step.fingerprint)
            if holder is not None:
                call_id, home_id = holder
                handle = modal.FunctionCall.from_id(call_id)
                followed = self._enter(call, call_id, handle, run_id, foreign=home_id != self._home.id)
                followed.attached = True
                return followed
        return None

    def _spawn(self, call: Call, function: modal.Function, run_id: str) -> FollowedCall:
        fingerprints = [step.fingerprint for step in call.steps]
        payload = {
            "steps": steps_to_json(call),
            "run_id": run_id,
            "home_id": self._home.id,
            "threads": max(1, int(call.resources.cores)),
            "usd_per_second": self.rates.usd_per_second(call.resources),
            "attempts": {fp: max(attempt_numbers(self._home, fp), default=0) for fp in fingerprints},
        }
        handle = function.spawn(payload)
        crash_points.reached("spawned")
        followed = self._enter(call, handle.object_id, handle, run_id, foreign=False)
        crash_points.reached("in the ledger")
        return followed

    def _enter(
        self, call: Call, call_id: str, handle: modal.FunctionCall, run_id: str, *, foreign: bool
    ) -> FollowedCall:
        entry = CallEntry(
            call_id=call_id,
            run_id=run_id,
            backend=self.name,
            steps=tuple(
                StepEntry(label=step.label, fingerprint=step.fingerprint, refresh=step.work.get("refresh"))
                for step in call.steps
            ),
            state="running",
            owner=Process.current(),
            submitted_at=ledger.now(),
            device=call.resources.device,
            usd_per_second=0.0 if foreign else self.rates.usd_per_second(call.resources),
            link=handle.get_dashboard_url(),
            deadline_s=call.resources.deadline_s,
            foreign=foreign,
        )
        ledger.write_call(self._home, entry)
        return self.follow(entry, handle)

    def _take_over(self, entry: CallEntry, run_id: str) -> FollowedCall:
        """Follow a call of this home from here on, as part of `run_id`."""
        own = entry.model_copy(update={"run_id": run_id, "owner": Process.current()})
        if entry.run_id != run_id:
            own = own.model_copy(update={"log_cursor": 0})  # the new run's log shows all of it
        ledger.write_call(self._home, own)
        if entry.run_id != run_id and not (entry.owner and entry.owner.is_alive()):
            ledger.update_call(self._home, entry.run_id, entry.call_id, state="ended", ended_at=ledger.now())
        followed = self.follow(own)
        followed.attached = True
        return followed

    def follow(self, entry: CallEntry, handle: modal.FunctionCall | None = None) -> FollowedCall:
        """A call that the ledger knows, from here on."""
        handle = handle or modal.FunctionCall.from_id(entry.call_id)
        followed = FollowedCall(self._home, entry, handle)
        self._calls[entry.call_id] = followed
        return followed

    def _require_wanted(self, run_id: str) -> None:
        if ledger.cancel_requested(self._home, run_id):
            raise StepFailed("cancelled before it was started", cause="cancelled", retryable=False)
        if self._letting_go.is_set():
            raise StepFailed("not started: the run was interrupted", cause="cancelled", retryable=False)

    def _require_patience(self, since: float, error: Exception) -> None:
        waited = time.monotonic() - since
        if waited > self._unreachable_s:
            raise StepFailed(
                f"Modal could not be reached for {waited / 60:.0f} minutes ({type(error).__name__}: {error}). "
                "What runs there goes on; start the same run again to attach to it.",
                cause="lost",
                retryable=False,
            )

    # ------------------------------------------------------------------ following

    def attach(self, call_id: str) -> CallState:
        followed = self._followed(call_id)
        return "finished" if followed.outcomes is not None else self.poll(call_id, 0.0)

    def poll(self, call_id: str, timeout_s: float) -> CallState:
        """Raises `StepFailed` if Modal could not be reached for too long, or the run lets go of its calls."""
        followed = self._followed(call_id)
        began = time.monotonic()
        with followed.lock:
            if followed.outcomes is not None:
                return "finished"
            if self._letting_go.is_set():
                raise StepFailed("goes on on Modal: the run was interrupted", cause="lost", retryable=False)
            try:
                if followed.cancel_wanted and not followed.cancel_sent:
                    followed.send_cancel()
                if followed.has_ended(timeout_s):
                    followed.settle(self._results)
                followed.unreachable_since = None
            except TRANSPORT as error:
                followed.unreachable_since = followed.unreachable_since or began
                self._require_patience(followed.unreachable_since, error)
                self._letting_go.wait(max(0.0, timeout_s - (time.monotonic() - began)))
        return "running" if followed.outcomes is None else "finished"

    def outcome(self, call_id: str) -> Sequence[StepOutcome]:
        """Raises `ValueError` while the call runs."""
        outcomes = self._followed(call_id).outcomes
        if outcomes is None:
            raise ValueError(f"call {call_id} is still running")
        return outcomes

    def logs(self, call_id: str, cursor: int) -> tuple[Sequence[LogLine], int]:
        """The new lines. What was shown before `cursor`, by whatever process, is not shown again."""
        followed = self._followed(call_id)
        try:
            at = max(cursor, followed.entry.log_cursor)
            lines, shown = followed.log.read(at, ended=followed.outcomes is not None)
        except (*TRANSPORT, modal.exception.Error) as error:
            logger.debug("the log of %s cannot be read now: %s", call_id, error)
            return [], cursor
        if shown > followed.entry.log_cursor:
            entry = followed.entry
            followed.entry = ledger.update_call(self._home, entry.run_id, entry.call_id, log_cursor=shown)
        return lines, shown

    def late_logs(self, call_id: str, cursor: int, show: Callable[[Sequence[LogLine]], None]) -> None:
        followed = self._followed(call_id)

        def read() -> None:
            try:
                show(followed.log.rest(cursor, complete=followed.result is not None))
            except (*TRANSPORT, modal.exception.Error) as error:
                logger.debug("the last lines of %s cannot be read: %s", call_id, error)

        self._late.append(beside(read))

    # ------------------------------------------------------------------ stopping, or letting go

    def cancel(self, call_id: str) -> None:
        """Stop the call, unless somebody else wants it too: another home submitted it, or another run follows it."""
        followed = self._followed(call_id)
        ledger.request_cancel(self._home, followed.entry.run_id, call_id)
        if followed.entry.foreign or self._others_follow(followed.entry):
            cancelled = "no longer followed: another run wants it too, so the call itself goes on"
            followed.outcomes = [
                StepOutcome(step.fingerprint, "failed", "cancelled", cancelled) for step in followed.entry.steps
            ]
            ledger.update_call(self._home, followed.entry.run_id, call_id, state="ended", ended_at=ledger.now())
            return
        followed.cancel_wanted = True
        try:
            followed.send_cancel()
        except TRANSPORT as error:
            logger.warning("the cancel of %s has not reached Modal yet (%s); it is sent again", call_id, error)

    def introduce(self, call_id: str) -> str:
        followed = self._followed(call_id)
        whose = ", submitted from another home" if followed.entry.foreign else ""
        how = f", attached to the call that was started already{whose}" if followed.attached else ""
        return f"on Modal{how}: {followed.entry.link}"

    def let_go(self, run_id: str) -> None:
        """Stop following; what runs goes on, and the ledger knows it."""
        self._letting_go.set()
        for followed in list(self._calls.values()):
            if followed.outcomes is None:
                ledger.update_call(self._home, followed.entry.run_id, followed.id, owner=None)

    def wait_for_claims(self, fingerprints: Sequence[str], check: Callable[[], None]) -> None:
        """`submit` attaches to whoever has them."""
        check()

    def warm_up(self) -> None:
        """What every call will ask for, while models and data are prepared: a connection, and two look-ups."""
        beside(self._look_up)

    def _look_up(self) -> None:
        try:
            self._claims.hydrate()
            self._results.hydrate()
        except (*TRANSPORT, modal.exception.Error) as error:  # met again, and told, where it matters
            logger.debug("not looked up beforehand: %s", error)

    def close(self) -> None:
        """The last lines of the calls are shown when this returns. Nothing else of it lives in this process."""
        wait(self._late, timeout=2 * LATE_S)

    def _others_follow(self, entry: CallEntry) -> bool:
        return any(
            other.call_id == entry.call_id and other.run_id != entry.run_id
            and other.owner is not None and other.owner.is_alive()
            and not ledger.cancel_requested(self._home, other.run_id, other.call_id)
            for other in ledger.open_calls(self._home, self._ended)
        )  # fmt: skip

    def _followed(self, call_id: str) -> FollowedCall:
        found = self._calls.get(call_id)
        return found if found is not None else self.follow(ledger.find_call(self._home, call_id))
