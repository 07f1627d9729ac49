"""The bill of one call: what is set aside for it, while it runs and when it has ended. Where work is free: nothing.

Set aside is what earlier records of its steps took, half as much again and a minute for the container; for a step
without an earlier record all of its timeout. A call that outgrows this while it runs has more set aside, and is refused
it if there is none: so a budget is kept even where an estimate was wrong.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from foresight.compute import purse
from foresight.compute.backend import Call, StepOutcome
from foresight.compute.history import expected_seconds, read_history, work_of
from foresight.compute.purse import OverBudget
from foresight.compute.rates import Rates
from foresight.home import Home
from foresight.results import spending

MARGIN = 1.5
START_S = 60.0
MORE_S = 120.0
"""How much more time is set aside at once for a call that has outgrown its estimate."""


def ask(call: Call, home: Home) -> tuple[float, str]:
    """(seconds of its container to set aside, what they rest on)."""
    history = read_history(home)
    seconds, unknown = START_S, 0
    for step in call.steps:
        known = expected_seconds(history.get((step.profile, work_of(step.label)), ()), step.resources.device)
        if known is None:
            unknown += 1
            seconds += step.resources.timeout_s
        else:
            seconds += min(known[0] * MARGIN, step.resources.timeout_s)
    if unknown == len(call.steps):
        return seconds, "no earlier record of it, so all of its timeout"
    half = "earlier records and half as much again"
    return seconds, half if not unknown else f"{half}; for {unknown} steps without one all of their timeout"


class Bill:
    """Of one attempt at a call."""

    def __init__(self, home: Home, run_id: str, key: str, call: Call, rates: Rates) -> None:
        self._home, self._run_id, self._key, self._call = home, run_id, key, call
        self._rate = rates.usd_per_second(call.resources)
        self._works_since: float | None = None
        self._set_aside_s = 0.0

    def reserve(self) -> None:
        """Before it is started. Raises `OverBudget`."""
        if self._rate:
            self._set_aside_s, because = ask(self._call, self._home)
            self._reserve(because)

    def works(self) -> None:
        """Its container has said something, so it is billed from now on at the latest."""
        self._works_since = self._works_since or time.monotonic()

    def outgrown(self) -> OverBudget | None:
        """Why the call must be stopped: it has used up what was set aside for it, and the budget allows no more."""
        if not self._rate or self._works_since is None:
            return None
        took = time.monotonic() - self._works_since
        if took <= self._set_aside_s:
            return None
        self._set_aside_s = took + MORE_S
        try:
            self._reserve(f"it runs longer than was set aside for it, {took:.0f} s so far")
        except OverBudget as refused:
            return OverBudget(f"stopped in the middle: {refused}")
        return None

    def settle(self, call_id: str, outcomes: Iterable[StepOutcome]) -> None:
        """It has ended."""
        if self._rate:
            cost = sum(self._cost(outcome, call_id) for outcome in outcomes)
            purse.settle(self._home, self._run_id, self._key, call_id, cost)

    def drop(self) -> None:
        """It was not started."""
        if self._rate:
            purse.settle(self._home, self._run_id, self._key, None, 0.0)

    def _reserve(self, because: str) -> None:
        amount = self._set_aside_s * self._rate
        purse.reserve(self._home, self._run_id, self._key, amount, because=because)

    def _cost(self, outcome: StepOutcome, call_id: str) -> float:
        in_vain = spending.of_call(self._home, outcome.fingerprint, call_id)
        took = outcome.seconds * self._rate
        return in_vain + took if outcome.status == "completed" else max(in_vain, took)
