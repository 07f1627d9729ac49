"""`foresight plan cost`: numbers that say what they rest on, without an account and without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from foresight.units import duration, size, usd


def _plan_cost(home: Path, *arguments: str) -> str:
    environment = {**os.environ, "FORESIGHT_HOME": str(home), "MODAL_CONFIG_PATH": "/nonexistent", "COLUMNS": "100"}
    code = "import sys\nfrom foresight.cli import app\ntry: app()\nfinally: assert 'torch' not in sys.modules"
    return subprocess.run(
        [sys.executable, "-c", code, "plan", "cost", *arguments],
        env={name: value for name, value in environment.items() if not name.startswith("MODAL_TOKEN")},
        text=True,
        capture_output=True,
        check=True,
    ).stdout


def test_an_estimate_without_records_or_models_is_a_bound_and_never_a_number_from_nowhere(tmp_path: Path):
    said = _plan_cost(tmp_path, "c1", "--profile", "repro")
    assert "≤ $1.55" in said
    assert "Unknown for 42 steps without an earlier record: at most $61.70" in said
    assert "Prices: table of 2026-09-29 (no live rates: Token missing)" in said


def test_json_has_every_step_and_the_source_of_the_prices(tmp_path: Path):
    found = json.loads(_plan_cost(tmp_path, "c1", "--json"))
    assert found["prepared"] is False
    assert found["prices"].startswith("table of 2026-09-29")
    assert len(found["steps"]) == 36
    assert found["steps"][0] == {
        "label": "smoke test",
        "device": "cpu",
        "recorded": False,
        "seconds": None,
        "seconds_rest_on": None,
        "bytes": None,
        "bytes_rest_on": None,
        "usd": None,
        "at_most_usd": pytest.approx(600 * (1 * 0.0473 + 2 * 0.008) / 3600),
    }


def test_here_it_costs_nothing(tmp_path: Path):
    assert "$0.00 on this machine" in _plan_cost(tmp_path, "c1", "--compute", "local")


def test_numbers_are_written_as_people_read_them():
    assert [usd(value) for value in (None, 0, 0.001, 1.234, 1234.5)] == ["–", "$0.00", "<$0.01", "$1.23", "$1,234.50"]
    assert [duration(value) for value in (None, 3.21, 250, 7500)] == ["–", "3.2 s", "4 min 10 s", "2 h 05 min"]
    assert [size(value) for value in (None, 300, 1_200_000, 5.6e9)] == ["–", "0.3 kB", "1.2 MB", "5.6 GB"]
