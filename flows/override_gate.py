"""Open a gate by decision, from a form: what `foresight gates override` does."""

from __future__ import annotations

from pathlib import Path

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger
from prefect.states import State

from flows import forms
from foresight.errors import UserError
from foresight.home import Home
from foresight.plan.loader import load_plan
from foresight.results import gates, markdown
from tasks.preparation import refused


@flow(name="override-gate", flow_run_name="override {gate} by {by}", version=forms.version())
def override_gate(
    gate: forms.GateName, by: forms.Decider, reason: forms.Reason, plan: forms.PlanFile = None
) -> str | State:
    """Let the phase behind a gate start by a person's decision. The measured verdict stays, and both are shown."""
    home, known = Home.from_environment(), load_plan(Path(plan) if plan else None)
    try:
        home.require_writable()
        entry = gates.override(home, known, gate, by=by, reason=reason)
    except UserError as refusal:
        return refused(refusal)
    said = f"{gate} opened by {entry.by} on {entry.date[:10]}; measured was: {entry.measured}"
    get_run_logger().info(said)
    states = [gates.evaluate(home, known, one.id) for one in known.gates]
    create_markdown_artifact(markdown.gates(states), key="gates", description=said)
    return said
