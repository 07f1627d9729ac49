"""Calls that cost money: what is tried after memory ran out, and what a budget and a deadline stop."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from paid_backend import PaidBackend, step

from foresight.compute import bill, purse
from foresight.compute.backend import Call
from foresight.compute.rates import LOCAL
from foresight.errors import StepFailed
from foresight.home import Home
from foresight.results.record import read_record
from tasks import calls


@pytest.fixture
def home(tmp_path, monkeypatch) -> Home:
    monkeypatch.setattr(calls, "gpus_in_flight", lambda *_: nullcontext())  # needs a server: tests/flows
    return Home(tmp_path)


def _follow(call: Call, backend: PaidBackend, home: Home, run_id: str = "run") -> list[str]:
    said: list[str] = []
    calls.follow(call, backend, run_id, home, said.append)
    return said


def test_a_step_that_runs_out_of_memory_is_tried_on_the_next_class_and_its_record_says_why(home: Home):
    one = step("probe", fits="A100-80GB")
    backend = PaidBackend(home)
    said = _follow(Call((one,)), backend, home)
    assert [call.resources.device for call in backend.submitted] == ["A10", "A100-40GB", "A100-80GB"]
    record = read_record(home, one.fingerprint)
    assert record.usage.device == "A100-80GB"
    assert record.adjustments == ["out of memory on A10: A100-40GB", "out of memory on A100-40GB: A100-80GB"]
    assert "out of memory on A10: A100-40GB; trying again" in said


def test_a_step_with_a_batch_is_given_a_smaller_one_first(home: Home):
    one, backend = step("vlm X3", fits=4, kind="extract"), PaidBackend(home)
    _follow(Call((one,)), backend, home)
    assert [call.steps[0].work["batch_size"] for call in backend.submitted] == [16, 8, 4]
    assert {call.resources.device for call in backend.submitted} == {"A10"}


def test_what_fits_nowhere_fails_in_the_end_and_is_not_retried(home: Home):
    backend = PaidBackend(home)
    with pytest.raises(StepFailed, match="CUDA out of memory") as failed:
        _follow(Call((step("probe", fits="none"),)), backend, home)
    assert len(backend.submitted) == 4
    assert not failed.value.retryable


def test_a_retry_goes_on_from_where_the_run_had_come_and_another_run_from_the_beginning(home: Home):
    one = step("probe", fits="none")
    for run_id, first in [("run", "A10"), ("run", "H100"), ("other", "A10")]:
        backend = PaidBackend(home)
        with pytest.raises(StepFailed):
            _follow(Call((one,)), backend, home, run_id)
        assert backend.submitted[0].resources.device == first


def test_only_what_did_not_finish_is_tried_again(home: Home):
    small, large = step("vlm X2", kind="extract"), step("vlm X3", fits=8, kind="extract")
    backend = PaidBackend(home)
    _follow(Call((small, large)), backend, home)
    assert [[each.label for each in call.steps] for call in backend.submitted] == [["vlm X2", "vlm X3"], ["vlm X3"]]


def test_a_budget_lets_through_what_it_can_pay_for_and_nothing_after_it(home: Home):
    purse.open_account(home, "run", 130.0)  # a step without a record: 60 s of timeout and 60 s of start
    backend = PaidBackend(home)
    _follow(Call((step("first"),)), backend, home)
    with pytest.raises(purse.OverBudget, match=r"the budget of \$130.00 does not allow \$180.00 for it"):
        _follow(Call((step("large", timeout_s=120.0),)), backend, home)
    with pytest.raises(purse.OverBudget, match="not started"):
        _follow(Call((step("small", timeout_s=1.0),)), backend, home)
    assert [call.label for call in backend.submitted] == ["first"]
    books = purse.read(home)
    assert books.reserved == {}
    assert 0 < books.settled_usd < 60


def test_what_was_measured_before_is_what_is_set_aside(home: Home):
    _follow(Call((step("work"),)), PaidBackend(home, LOCAL), home)
    purse.open_account(home, "run", 70.0)  # too little for the timeout, enough for what it took and a minute
    again = step("work", fits="A10")
    _follow(Call((again,)), PaidBackend(home), home)
    assert read_record(home, again.fingerprint) is not None


def test_a_call_that_outgrows_what_was_set_aside_is_stopped_at_the_budget(home: Home, monkeypatch):
    monkeypatch.setattr(bill, "START_S", 0.0)
    purse.open_account(home, "run", 1.0)
    backend = PaidBackend(home, hangs=["endless"])
    with pytest.raises(purse.OverBudget, match=r"stopped in the middle: .* \(it runs longer than was set aside"):
        _follow(Call((step("endless", timeout_s=0.2),)), backend, home)
    assert backend.cancelled == ["paid-run-0"]


def test_a_call_is_stopped_at_its_deadline_here_too(home: Home):
    backend = PaidBackend(home, LOCAL, hangs=["slow"])
    with pytest.raises(StepFailed, match=r"all its attempts together have 0\.2 s") as failed:
        _follow(Call((step("slow", deadline_s=0.2),)), backend, home)
    assert failed.value.cause == "timeout"
    assert not failed.value.retryable
    assert backend.cancelled == ["paid-run-0"]


def test_where_work_is_free_no_books_are_kept(home: Home):
    _follow(Call((step("work"),)), PaidBackend(home, LOCAL), home)
    assert not (home.ledger / "purse.json").exists()
