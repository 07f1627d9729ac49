"""Asking a person whether the next phase may start, where what was measured neither opens nor shuts its gate.

The flow run is *Paused* and its page has a form; what is filled in there is an override like any other, with name and
reason, beside the measured verdict. Nobody answering is an answer: the gate stays as it was measured.
"""

from __future__ import annotations

from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.logging import get_run_logger
from pydantic import Field

from foresight.errors import UserError
from foresight.home import Home
from foresight.plan.schema import Plan
from foresight.results import gates
from foresight.results.gates import GateState

WAIT_S = 3 * 24 * 3600  # over a weekend
LOOK_S = 10


class Decision(RunInput):
    """What a person decides about a gate."""

    open_the_gate: bool = Field(description="Let the next phase start although the verdict is marginal.")
    by: str = Field(default="", description="Who decides. It stands beside the measured verdict for good.")
    reason: str = Field(default="", description="Why.")


def ask(home: Home, plan: Plan, gate: GateState) -> GateState:
    """The gate after a person has been asked, or as it was if nobody answers or the answer is no."""
    logger = get_run_logger()
    logger.warning(
        f"{gate.gate} is {gate.verdict} ({gate.reason}). Paused for a person's decision: Resume, on this page"
    )
    try:
        decision = pause_flow_run(wait_for_input=Decision, timeout=WAIT_S, poll_interval=LOOK_S)
    except FlowPauseTimeout:
        logger.warning(
            f"nobody decided about {gate.gate} within {WAIT_S / 3600:.0f} hours: it stays as it was measured"
        )
        return gate
    if not decision.open_the_gate:
        logger.info(f"{gate.gate} stays shut by decision of {decision.by or 'somebody who left no name'}")
        return gate
    try:
        gates.override(home, plan, gate.gate, by=decision.by, reason=decision.reason)
    except UserError as refusal:
        logger.warning(f"{gate.gate} stays shut: {refusal}")
        return gate
    logger.info(f"{gate.gate} opened by {decision.by}: {decision.reason}")
    return gates.evaluate(home, plan, gate.gate, profile=gate.profile, moves_gates=True)
