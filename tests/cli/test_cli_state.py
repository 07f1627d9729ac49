"""`foresight status`: what a call that runs has cost so far, and its run with it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from foresight.cli import app
from foresight.compute import ledger
from foresight.compute.ledger import CallEntry, StepEntry
from foresight.home import Home


@pytest.fixture
def home(tmp_path, monkeypatch) -> Home:
    monkeypatch.setenv("FORESIGHT_HOME", str(tmp_path))
    home = Home(tmp_path)
    entry = CallEntry(
        call_id="fc-1",
        run_id="run-1",
        backend="modal",
        steps=(StepEntry(label="vlm X3 photographs", fingerprint="f"),),
        state="running",
        submitted_at=(datetime.now(UTC) - timedelta(hours=1)).isoformat(),
        device="A100-40GB",
        usd_per_second=2.10 / 3600,
    )
    ledger.write_call(home, entry)
    home.step("done").mkdir(parents=True)
    record = {"run_id": "run-1", "usage": {"seconds": 60.0, "cost_usd": 0.5}, "identity": {}}
    home.record("done").write_text(json.dumps(record))
    return home


def test_what_runs_says_where_and_what_it_has_cost(home: Home, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    said = CliRunner().invoke(app, ["status"]).stdout
    assert "modal A100-40GB" in said
    assert "$2.10" in said
    assert "run-1: $2.60 so far, $0.50 of it for what has ended (1 min 00 s of computing, 0 failed attempts)" in said


def test_the_same_for_a_program(home: Home):
    (row,) = json.loads(CliRunner().invoke(app, ["status", "--json"]).stdout)
    assert row["cost_usd"] == pytest.approx(2.10, abs=0.02)
    assert row["run_spent"]["cost_usd"] == 0.5
