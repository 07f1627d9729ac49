"""What work has cost: the records of what finished, and the attempts that did not, which cost as much a second.

Counted from what lies under `steps/`, so it needs no book-keeping that a crash could spoil. An extraction or a smoke
test that several experiments need is counted in each of them, and once in a run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from foresight.home import Home


class Spent(BaseModel):
    """Seconds and dollars, failed attempts among them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float = Field(default=0.0, description="Of computing: of steps side by side the sum.")
    cost_usd: float = Field(default=0.0, description="Zero for local work.")
    failed_attempts: int = 0
    failed_seconds: float = Field(default=0.0, description="Part of `seconds`.")
    failed_cost_usd: float = Field(default=0.0, description="Part of `cost_usd`.")

    def __add__(self, other: Spent) -> Spent:
        return Spent(**{name: getattr(self, name) + getattr(other, name) for name in Spent.model_fields})


NOTHING = Spent()


class _Usage(BaseModel):
    seconds: FiniteFloat
    cost_usd: FiniteFloat


class _Identity(BaseModel):
    features: dict[str, str] = Field(default_factory=dict)
    uses: dict[str, str] = Field(default_factory=dict)


class _Finished(BaseModel):
    """What a record says of cost. All else in it, a tenth of a megabyte of samples, is passed over."""

    run_id: str = ""
    usage: _Usage
    identity: _Identity = _Identity()


class _Attempt(BaseModel):
    """What an attempt that did not finish says of cost."""

    run_id: str = ""
    call_id: str = ""
    seconds: FiniteFloat
    cost_usd: FiniteFloat


_Model = TypeVar("_Model", bound=BaseModel)


def of_steps(home: Home, fingerprints: Iterable[str], *, run_id: str | None = None, with_needs: bool = False) -> Spent:
    """What these steps have cost; `run_id`: only what that run did; `with_needs`: also what they read."""
    spent, waiting, seen = NOTHING, set(fingerprints), set[str]()
    while waiting:
        fingerprint = waiting.pop()
        seen.add(fingerprint)
        record = _read(_Finished, home.record(fingerprint))
        spent = sum((one for run, one in _of_step(home, fingerprint, record) if run_id in (None, run)), spent)
        if with_needs and record is not None:
            waiting |= {*record.identity.features.values(), *record.identity.uses.values()} - seen
    return spent


def by_run(home: Home) -> dict[str, Spent]:
    """Run id -> all that the run has cost."""
    found: dict[str, Spent] = defaultdict(Spent)
    for folder in home.steps.glob("*"):
        for run_id, spent in _of_step(home, folder.name, _read(_Finished, home.record(folder.name))):
            found[run_id] += spent
    return dict(found)


def of_call(home: Home, fingerprint: str, call_id: str) -> float:
    """Dollars of the attempts at a step that a call made in vain."""
    return sum(attempt.cost_usd for attempt in _failed(home, fingerprint) if attempt.call_id == call_id)


def _of_step(home: Home, fingerprint: str, record: _Finished | None) -> Iterator[tuple[str, Spent]]:
    """(run id, what it spent) of the record and of every failed attempt. What cannot be read is passed over:
    `results verify` names it."""
    if record is not None:
        yield record.run_id, Spent(seconds=record.usage.seconds, cost_usd=record.usage.cost_usd)
    for attempt in _failed(home, fingerprint):
        seconds, cost_usd = attempt.seconds, attempt.cost_usd
        failed = Spent(
            seconds=seconds, cost_usd=cost_usd, failed_attempts=1, failed_seconds=seconds, failed_cost_usd=cost_usd
        )
        yield attempt.run_id, failed


def _failed(home: Home, fingerprint: str) -> Iterator[_Attempt]:
    for path in sorted((home.step(fingerprint) / "attempts").glob("*/attempt.json")):
        attempt = _read(_Attempt, path)
        if attempt is not None:
            yield attempt


def _read(model: type[_Model], path: Path) -> _Model | None:
    try:
        return model.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
