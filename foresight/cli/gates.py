"""`foresight gates [show] | override`."""

from __future__ import annotations

from typing import Annotated

import typer

from foresight.cli.output import console, print_json
from foresight.cli.run import AsJson, PlanFile, ProfileName
from foresight.home import Home
from foresight.plan.loader import load_plan, load_plan_and_profile
from foresight.results import gates, table

app = typer.Typer(help="Gates between phases: what was measured, and what people decided beside it.")


@app.callback(invoke_without_command=True)
def default(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        show()


@app.command(help="Every gate with its measured verdict and its overrides.")
def show(profile: ProfileName = gates.MOVING_PROFILE, plan_file: PlanFile = None, as_json: AsJson = False) -> None:
    (plan, chosen), home = load_plan_and_profile(plan_file, profile), Home.from_environment()
    states = [
        gates.evaluate(home, plan, gate.id, profile=chosen.name, moves_gates=chosen.moves_gates) for gate in plan.gates
    ]
    if as_json:
        print_json(
            [
                {
                    "gate": state.gate,
                    "unlocks_phase": state.unlocks_phase,
                    "verdict": state.verdict,
                    "reason": state.reason,
                    "opens": state.opens,
                    "overrides": [one.model_dump() for one in state.overrides],
                }
                for state in states
            ]
        )
    else:
        console.print(table.gates(states))


@app.command(help="Open a gate by decision; it stands beside the measured verdict, never instead.")
def override(
    gate: Annotated[str, typer.Argument(help="E.g. gate_1_reconstruction.")],
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="Who decides.")] = "",
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why.")] = "",
    plan_file: PlanFile = None,
) -> None:
    home = Home.from_environment()
    home.require_writable()
    entry = gates.override(home, load_plan(plan_file), gate, by=by, reason=reason)
    console.print(f"{gate} opened by {entry.by} on {entry.date[:10]}; measured was: {entry.measured}", markup=False)
