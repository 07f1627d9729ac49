"""How a step on Modal ended is what its record on the volume says, whatever the container could still say."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from foresight.compute import modal_settlement
from foresight.compute.causes import Trouble
from foresight.compute.ledger import CallEntry, StepEntry, now
from foresight.home import Home

RECORD = SimpleNamespace(run_id="run", attempt=2, usage=SimpleNamespace(seconds=7.0))


def settled(monkeypatch, home, *, record, refresh=None, **said):
    """The outcome of a call of one step of which the container said this."""
    monkeypatch.setattr(modal_settlement, "bring_attempts", lambda *_: None)
    monkeypatch.setattr(modal_settlement, "bring_home", lambda *_: None)
    monkeypatch.setattr(modal_settlement, "remote_record", lambda *_: None if record is None else (record, b""))
    entry = CallEntry(
        call_id="fc-1",
        run_id="run",
        backend="modal",
        steps=(StepEntry(label="probe", fingerprint="f" * 64, refresh=refresh),),
        submitted_at=now(),
    )
    result = {"outcomes": [{"fingerprint": "f" * 64, **said}]} if said else None
    (outcome,) = modal_settlement.settle(home, None, entry, result, None if said else Trouble("lost", "it vanished"))
    return outcome.status, outcome.cause


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def test_a_step_is_finished_though_its_container_failed_at_the_last_commit(monkeypatch, home):
    said = {"status": "failed", "cause": "exception", "error": "ConnectionError"}
    assert settled(monkeypatch, home, record=RECORD, **said) == ("completed", None)
    assert settled(monkeypatch, home, record=RECORD) == ("completed", None)


def test_without_a_record_it_is_what_the_container_said_and_never_finished(monkeypatch, home):
    said = {"status": "failed", "cause": "exception", "error": "ZeroDivisionError"}
    assert settled(monkeypatch, home, record=None, **said) == ("failed", "exception")
    assert settled(monkeypatch, home, record=None, status="completed") == ("failed", "lost")
    assert settled(monkeypatch, home, record=None) == ("failed", "lost")


def test_an_older_record_finishes_no_refresh(monkeypatch, home):
    said = {"status": "failed", "cause": "exception", "error": "ZeroDivisionError"}
    assert settled(monkeypatch, home, record=RECORD, refresh="later", **said) == ("failed", "exception")
