"""How the steps of a call ended whose worker is dead: by its journal, by the records, and else by what killed it.

The record decides: a worker that died between writing it and saying so has finished its step. A step that was never
begun did not fail for what killed its worker, and may be tried again.
"""

from __future__ import annotations

import time

from foresight.compute import ledger
from foresight.compute.attempt import OpenAttempt, close_failed, close_finished
from foresight.compute.backend import StepOutcome
from foresight.compute.causes import Trouble
from foresight.compute.journal import Journal, JournalWriter, read_journal
from foresight.compute.ledger import CallEntry
from foresight.home import Home
from foresight.results.record import read_record


def journal_of(home: Home, entry: CallEntry) -> Journal:
    return read_journal(ledger.call_file(home, entry.run_id, entry.call_id, ".journal.jsonl"))


def settle(home: Home, entry: CallEntry, trouble: Trouble) -> None:
    """Close what the dead worker left open, and the call. `trouble` is what it died of."""
    journal = journal_of(home, entry)
    if not journal.is_over:
        with JournalWriter(ledger.call_file(home, entry.run_id, entry.call_id, ".journal.jsonl")) as writer:
            for attempt in journal.unfinished():
                _close(home, attempt, journal, trouble)
            for outcome in outcomes(home, entry, trouble):
                if outcome.fingerprint not in journal.outcomes:
                    writer.end(outcome)
            writer.over()
    ledger.update_call(home, entry.run_id, entry.call_id, state="ended", ended_at=ledger.now())


def outcomes(home: Home, entry: CallEntry, trouble: Trouble) -> list[StepOutcome]:
    """How each step ended, in the order of the call; changes nothing."""
    journal = journal_of(home, entry)
    return [
        journal.outcomes.get(step.fingerprint) or _outcome(home, step.fingerprint, journal, trouble)
        for step in entry.steps
    ]


def overdue(journal: Journal) -> Trouble | None:
    """Whether the attempt under way has had more than its time."""
    unfinished = {attempt.fingerprint for attempt in journal.unfinished()}
    for began in journal.began:
        is_under_way = any(attempt.fingerprint in unfinished for attempt in began.attempts)
        if is_under_way and time.monotonic() - began.monotonic_s > began.timeout_s:
            what_to_do = "Raise timeout_s in the plan or the profile, or give it less to do"
            return Trouble("timeout", f"still running after its limit of {began.timeout_s:g} s. {what_to_do}")
    return None


def _outcome(home: Home, fingerprint: str, journal: Journal, trouble: Trouble) -> StepOutcome:
    attempt = next((each for each in journal.unfinished() if each.fingerprint == fingerprint), None)
    record = read_record(home, fingerprint)
    if record is not None and (attempt is None or record.attempt == attempt.number):
        return StepOutcome(fingerprint, "completed", attempt=record.attempt, seconds=record.usage.seconds)
    if attempt is not None:
        seconds = _seconds(attempt, journal)
        return StepOutcome(
            fingerprint, "failed", trouble.cause, trouble.error, trouble.retryable, attempt.number, seconds
        )
    if trouble.cause != "cancelled":
        trouble = Trouble("lost", f"never begun, since its call ended before: {trouble.error}", retryable=True)
    return StepOutcome(fingerprint, "failed", trouble.cause, trouble.error, trouble.retryable)


def _close(home: Home, attempt: OpenAttempt, journal: Journal, trouble: Trouble) -> None:
    record = read_record(home, attempt.fingerprint)
    if record is not None and record.attempt == attempt.number:
        close_finished(home, attempt)
    else:
        seconds = _seconds(attempt, journal)
        close_failed(home, attempt, cause=trouble.cause, error=trouble.error, seconds=seconds)


def _seconds(attempt: OpenAttempt, journal: Journal) -> float:
    """From its beginning to now."""
    began = next(began for began in journal.began if attempt in began.attempts)
    return max(0.0, time.monotonic() - began.monotonic_s)
