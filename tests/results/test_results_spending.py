"""What work has cost: attempts that failed are in it, other runs' are not, shared features once a run."""

from __future__ import annotations

import json

import pytest

from foresight.cli.report import spent_so_far
from foresight.cli.shortcut import run_in_process
from foresight.compute.attempt import close_failed, open_attempt
from foresight.compute.request import RunRequest, resolve
from foresight.home import Home
from foresight.results import runs, spending
from foresight.results.spending import Spent


def _record(home: Home, fingerprint: str, run_id: str, seconds: float, usd: float, **features: str) -> None:
    home.step(fingerprint).mkdir(parents=True, exist_ok=True)
    content = {"run_id": run_id, "usage": {"seconds": seconds, "cost_usd": usd}, "identity": {"features": features}}
    home.record(fingerprint).write_text(json.dumps(content))


def _fail(home: Home, fingerprint: str, run_id: str, seconds: float, call_id: str = "c") -> None:
    attempt = open_attempt(
        home, fingerprint, call_id=call_id, run_id=run_id, usd_per_second=0.5, device="A10", log_path="no", log_offset=0
    )
    close_failed(home, attempt, cause="lost", error="gone", seconds=seconds)


@pytest.fixture
def home(tmp_path) -> Home:
    home = Home(tmp_path)
    _record(home, "extract", "one", 100, 3.0)
    _record(home, "seed0", "one", 10, 0.25, x="extract")
    _fail(home, "seed0", "one", 4)
    _record(home, "seed1", "two", 20, 0.5, x="extract")
    return home


def test_a_step_costs_what_failed_of_it_too(home: Home):
    assert spending.of_steps(home, ["seed0"]) == Spent(
        seconds=14, cost_usd=2.25, failed_attempts=1, failed_seconds=4, failed_cost_usd=2.0
    )


def test_features_that_two_seeds_read_are_paid_for_once(home: Home):
    assert spending.of_steps(home, ["seed0", "seed1"], with_needs=True).cost_usd == 3.0 + 0.25 + 2.0 + 0.5


def test_each_run_has_spent_what_it_computed_itself(home: Home):
    by_run = spending.by_run(home)
    assert by_run["one"].cost_usd == 5.25
    assert by_run["two"].cost_usd == 0.5
    assert spending.of_steps(home, ["extract", "seed1"], run_id="two").cost_usd == 0.5


def test_what_a_call_did_in_vain_is_told_from_what_others_did(home: Home):
    _fail(home, "seed1", "two", 6, call_id="mine")
    _fail(home, "seed1", "two", 8, call_id="other")
    assert spending.of_call(home, "seed1", "mine") == 3.0


def test_what_cannot_be_read_is_not_counted_and_stops_nothing(home: Home):
    home.record("seed1").write_text("{")
    assert spending.of_steps(home, ["seed1", "never-run"]) == spending.NOTHING


def test_a_run_notes_in_its_run_json_what_it_has_spent_and_what_is_recorded_costs_it_nothing(toy):
    toy.second_handler("broken")
    documents, failed = run_in_process(resolve(RunRequest(("t1",), plan=toy.plan)), toy.home)
    assert failed
    content = documents["t1-toy"]
    first = runs.read_run(toy.home, "t1-toy", content["run_id"])
    assert first.spent.failed_attempts == 2
    assert first.spent.seconds > first.spent.failed_seconds > 0
    assert first.spent.cost_usd == 0.0

    toy.second_handler("steady")
    again, _ = run_in_process(resolve(RunRequest(("t1",), ("t_a",), plan=toy.plan)), toy.home)
    second = runs.read_run(toy.home, "t1-toy", again["t1-toy"]["run_id"])
    assert second.spent == spending.NOTHING
    assert spent_so_far(toy.home, content).seconds == pytest.approx(first.spent.seconds)
