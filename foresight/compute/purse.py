"""The purse: one file in which all runs of a home enter what their paid calls may cost and have cost.

`ledger/purse.json`, changed only under a lock, so that two runs, or two calls of one, cannot both take the last dollar.
Before a call is started its run reserves what it may cost; when the call has ended, what it did cost takes the place of
the reservation. A budget holds for what all runs of the home spend from the moment its own run began: what has been
settled since then, and all that is reserved. A run that is once refused starts nothing more; what runs is let finish.

Reservations outlive a crash, since a remote call does. They are given back when the run that made them is gone and the
ledger knows no call of it that may still live.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field

from foresight.compute import ledger
from foresight.compute.process import Process
from foresight.errors import StepFailed, UserError
from foresight.files import read_json, write_json
from foresight.home import Home
from foresight.units import usd


class _Books(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Account(_Books):
    """A run that is under way, or was when it died."""

    owner: Process
    budget_usd: float | None
    baseline_usd: float = Field(description="What had been settled in this home when the run began.")
    refused: str = Field(default="", description="Why it starts nothing more.")


class Entry(_Books):
    """Money of one call: reserved, or settled."""

    run_id: str
    usd: float


class Books(_Books):
    accounts: dict[str, Account] = Field(default_factory=dict, description="By run id.")
    reserved: dict[str, Entry] = Field(default_factory=dict, description="By run and key of the call.")
    settled: dict[str, Entry] = Field(default_factory=dict, description="By call id, so that none is counted twice.")

    @property
    def settled_usd(self) -> float:
        return sum(entry.usd for entry in self.settled.values())


class OverBudget(StepFailed):
    """The budget does not allow it. Not a failure of the step: it was not started, or it was stopped for the money."""

    def __init__(self, message: str) -> None:
        super().__init__(message, cause="budget", retryable=False)


def open_account(home: Home, run_id: str, budget_usd: float | None) -> None:
    """A run begins. One that is retried under its old id goes on with the money that it had left."""
    with _books(home) as books:
        earlier = books.accounts.get(run_id)
        baseline = earlier.baseline_usd if earlier else books.settled_usd
        account = Account(owner=Process.current(), budget_usd=budget_usd, baseline_usd=baseline)
        if earlier is not None and earlier.owner == account.owner:  # a later phase of the same run
            account.refused = earlier.refused
        books.accounts[run_id] = account


def close_account(home: Home, run_id: str) -> None:
    """The run has ended and follows no call any more."""
    if run_id not in read(home).accounts:
        return
    with _books(home) as books:
        books.accounts.pop(run_id, None)
        _give_back(home, books)
        if not books.accounts and not books.reserved:
            books.settled.clear()  # nobody counts from before


def reserve(home: Home, run_id: str, key: str, amount_usd: float, *, because: str) -> None:
    """Set aside what a call may cost, in place of what was set aside for it before.

    Raises `OverBudget` if the run's budget does not allow it, or has refused something already. `because`: what the
    amount rests on.
    """
    with _books(home) as books:
        refused = _refusal(home, books, run_id, key, amount_usd, because)
        if not refused:
            books.reserved[f"{run_id} {key}"] = Entry(run_id=run_id, usd=amount_usd)
    if refused:
        raise OverBudget(refused)


def _refusal(home: Home, books: Books, run_id: str, key: str, amount_usd: float, because: str) -> str:
    account = books.accounts.get(run_id)
    if account is None or account.budget_usd is None or account.refused:
        return account.refused if account else ""
    _give_back(home, books)
    spent = books.settled_usd - account.baseline_usd
    others = sum(entry.usd for name, entry in books.reserved.items() if name != f"{run_id} {key}")
    if spent + others + amount_usd <= account.budget_usd:
        return ""
    account.refused = (
        f"the budget of {usd(account.budget_usd)} does not allow {usd(amount_usd)} for it ({because}): "
        f"{usd(spent)} spent, {usd(others)} set aside for what runs"
    )
    return account.refused


def settle(home: Home, run_id: str, key: str, call_id: str | None, cost_usd: float) -> None:
    """A call has ended and cost so much; None: it was not even started."""
    with _books(home) as books:
        books.reserved.pop(f"{run_id} {key}", None)
        if call_id is not None:
            books.settled.setdefault(call_id, Entry(run_id=run_id, usd=cost_usd))


def refusal(home: Home, run_id: str) -> str:
    """Why the run starts nothing more; empty while it may."""
    account = read(home).accounts.get(run_id)
    return account.refused if account else ""


def spent_usd(home: Home, run_id: str) -> float:
    """What the calls of the run have cost since it began."""
    return sum(entry.usd for entry in read(home).settled.values() if entry.run_id == run_id)


def read(home: Home) -> Books:
    """Raises `UserError` if the file is no purse any more."""
    path = home.ledger / "purse.json"
    try:
        return Books.model_validate(read_json(path))
    except FileNotFoundError:
        return Books()
    except ValueError as error:
        raise UserError(
            f"{path} is damaged ({str(error).splitlines()[0]}), so nobody knows what budgets have left. Move it away "
            "once no paid run is under way (`foresight status`): a new one begins with the next run."
        ) from error


@contextmanager
def _books(home: Home) -> Iterator[Books]:
    home.ledger.mkdir(parents=True, exist_ok=True)
    with FileLock(home.ledger / ".purse.lock"):
        books = read(home)
        before = books.model_dump(mode="json")
        yield books
        if books.model_dump(mode="json") != before:
            write_json(home.ledger / "purse.json", books.model_dump(mode="json"))


def _give_back(home: Home, books: Books) -> None:
    """Drop what nobody will settle any more: its run is gone, and no call of it can still cost anything."""
    for run_id in {entry.run_id for entry in books.reserved.values()}:
        account = books.accounts.get(run_id)
        is_gone = account is None or not account.owner.is_alive()
        if is_gone and not any(ledger.is_alive(call) for call in ledger.list_calls(home, run_id)):
            books.reserved = {name: entry for name, entry in books.reserved.items() if entry.run_id != run_id}
