"""A deadline is for what a run does by itself; a person's retry the next morning has a time of its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from compute_executors import call, step

from foresight.compute import ledger
from foresight.compute.deadline import Deadline
from foresight.compute.ledger import CallEntry, StepEntry
from foresight.home import Home


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def with_deadline(seconds):
    one = step("work")
    return replace(one, resources=replace(one.resources, deadline_s=seconds))


def submitted(home, one, call_id, at=None):
    entry = CallEntry(
        call_id=call_id,
        run_id="run",
        backend="local",
        steps=(StepEntry(label=one.label, fingerprint=one.fingerprint),),
        submitted_at=at or ledger.now(),
        state="ended",
    )
    ledger.write_call(home, entry)


def test_all_attempts_of_a_run_count_from_the_first(home):
    slow = with_deadline(0.0)
    submitted(home, slow, "first")
    failed = Deadline(home, "run", call(slow)).passed()
    assert failed is not None
    assert (failed.cause, failed.retryable) == ("timeout", False)


def test_a_run_that_is_retried_the_next_morning_has_its_time_again(home):
    slow = with_deadline(600.0)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    submitted(home, slow, "first", yesterday.isoformat())
    submitted(home, slow, "again")
    assert Deadline(home, "run", call(slow)).passed() is None
