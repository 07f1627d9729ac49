"""A budget holds over every call of every run of a home, at once, after a crash and in the middle of a call."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foresight.compute import ledger, purse
from foresight.compute.ledger import CallEntry, StepEntry
from foresight.compute.process import Process
from foresight.errors import UserError
from foresight.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "null", '{"accounts": 1}'])
def test_a_damaged_purse_is_named_and_pays_for_nothing(home, content):
    home.ledger.mkdir(parents=True)
    (home.ledger / "purse.json").write_text(content)
    with pytest.raises(UserError, match=r"purse\.json is damaged"):
        purse.open_account(home, "run", 10.0)


def _reserve(home: Home, run_id: str, key: str, usd: float) -> bool:
    try:
        purse.reserve(home, run_id, key, usd, because="a test")
    except purse.OverBudget:
        return False
    return True


def test_what_is_set_aside_and_what_was_spent_both_count(home: Home):
    purse.open_account(home, "run", 10.0)
    assert _reserve(home, "run", "a", 6.0)
    assert _reserve(home, "run", "b", 4.0)
    purse.settle(home, "run", "a", "call-a", 1.0)
    assert _reserve(home, "run", "c", 5.0)
    assert not _reserve(home, "run", "d", 0.01)
    assert purse.refusal(home, "run") == (
        "the budget of $10.00 does not allow $0.01 for it (a test): $1.00 spent, $9.00 set aside for what runs"
    )


def test_once_refused_a_run_starts_nothing_more_however_small(home: Home):
    purse.open_account(home, "run", 10.0)
    assert not _reserve(home, "run", "big", 11.0)
    assert not _reserve(home, "run", "small", 0.01)


def test_another_run_beside_it_spends_from_the_same_money_and_one_before_it_does_not(home: Home):
    purse.open_account(home, "before", None)
    purse.settle(home, "before", "x", "call-x", 100.0)
    purse.open_account(home, "one", 10.0)
    purse.open_account(home, "two", 10.0)
    assert _reserve(home, "one", "a", 8.0)
    assert not _reserve(home, "two", "a", 8.0)
    purse.settle(home, "before", "y", "call-y", 5.0)
    assert not _reserve(home, "one", "b", 0.0)  # 8 set aside and 5 spent beside it


def test_a_retry_of_the_same_run_has_what_was_left_and_a_new_run_has_its_own(home: Home):
    purse.open_account(home, "run", 10.0)
    assert _reserve(home, "run", "a", 7.0)
    purse.settle(home, "run", "a", "call-a", 7.0)
    purse.open_account(home, "run", 10.0)  # the flow died and is retried
    assert not _reserve(home, "run", "b", 4.0)
    purse.close_account(home, "run")
    purse.open_account(home, "again", 10.0)
    assert _reserve(home, "again", "b", 4.0)


def test_a_call_is_counted_once_whoever_follows_it_to_its_end(home: Home):
    purse.open_account(home, "run", 10.0)
    for run_id in ("run", "other"):
        purse.settle(home, run_id, "a", "call-a", 3.0)
    assert purse.read(home).settled_usd == 3.0


def test_what_a_dead_run_had_set_aside_is_given_back_unless_its_call_lives(home: Home):
    gone = replace(Process.current(), started=0.0)
    for run_id in ("dead", "detached"):
        purse.open_account(home, run_id, None)
        assert _reserve(home, run_id, "a", 6.0)
        with purse._books(home) as books:
            books.accounts[run_id].owner = gone
    entry = CallEntry(
        call_id="fc-1",
        run_id="detached",
        backend="modal",
        steps=(StepEntry(label="x", fingerprint="f"),),
        state="running",
        submitted_at=ledger.now(),
    )
    ledger.write_call(home, entry)
    purse.open_account(home, "run", 10.0)
    assert _reserve(home, "run", "a", 4.0)  # 6 of the detached call, none of the dead one
    assert not _reserve(home, "run", "b", 0.5)


def test_of_many_processes_that_ask_at_once_only_as_many_are_let_through_as_can_pay(home: Home):
    purse.open_account(home, "run", 10.0)
    code = (
        "import sys; from pathlib import Path; from foresight.compute import purse; from foresight.home import Home\n"
        "try: purse.reserve(Home(Path(sys.argv[1])), 'run', sys.argv[2], 4.0, because='')\n"
        "except purse.OverBudget: sys.exit(3)"
    )
    started = [subprocess.Popen([sys.executable, "-c", code, str(home.root), str(n)]) for n in range(4)]
    assert sorted(process.wait() for process in started) == [0, 0, 3, 3]


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.floats(0, 6), st.floats(0, 1), st.booleans()), max_size=12))
def test_a_budget_is_never_overspent_as_long_as_calls_cost_what_was_set_aside(tmp_path_factory, events):
    home = Home(tmp_path_factory.mktemp("purse"))
    purse.open_account(home, "run", 10.0)
    open_calls: dict[str, float] = {}
    for number, (key, usd, share, ends) in enumerate(events):
        if ends and key in open_calls:
            purse.settle(home, "run", key, f"call-{number}", open_calls.pop(key) * share)
        elif key not in open_calls and _reserve(home, "run", key, usd):
            open_calls[key] = usd
        books = purse.read(home)
        reserved = sum(entry.usd for entry in books.reserved.values())
        assert reserved + books.settled_usd <= 10.0 + 1e-9
        assert reserved == pytest.approx(sum(open_calls.values()))
