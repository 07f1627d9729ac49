"""A budget over a run: opened with it, closed with it, and what to say when it is used up."""

from __future__ import annotations

from prefect.logging import get_run_logger

from foresight.compute import planner, purse
from foresight.compute.backend import Backend
from foresight.compute.planner import StepPlan
from foresight.compute.request import Job
from foresight.home import Home
from foresight.units import usd

_NAMED = 6


def begin(job: Job, backend: Backend, home: Home, run_id: str) -> None:
    """From here on the run's calls are paid from the purse; a later phase of the run goes on with what is left."""
    budget = job.request.budget
    if backend.rates.are_free:
        if budget is not None:
            get_run_logger().info(f"the budget of {usd(budget)} is never reached here: local work costs nothing")
        return
    if budget is not None:
        get_run_logger().info(f"budget {usd(budget)}; prices: {backend.rates.basis}")
    purse.open_account(home, run_id, budget)


def stopped(job: Job, plan: StepPlan, home: Home, run_id: str) -> str:
    """What to tell if the budget has stopped the run: what was spent, what is left undone, what to type. Else empty."""
    why = purse.refusal(home, run_id)
    if not why:
        return ""
    left = [step.label for step in plan.steps if planner.state_of(step, home) != "recorded"]
    names = ", ".join(left[:_NAMED]) + (f" and {len(left) - _NAMED} more" if len(left) > _NAMED else "")
    return (
        f"Stopped by its budget after {usd(purse.spent_usd(home, run_id))}: {why}. "
        f"Not done: {names}. What is finished is kept; `{job.request.command()}` goes on from there with a new budget."
    )
