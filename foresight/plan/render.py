"""The plan as `foresight plan show` prints it, and as a program reads it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from foresight.plan.schema import Criterion, Experiment, Plan


def renderables(plan: Plan) -> Iterator[RenderableType]:
    """A table of experiments for each phase, one of all criteria, one of the gates, and what the words mean."""
    for phase, experiments in plan.phases().items():
        gate = plan.gate_before(phase)
        yield _experiments_table(f"Phase {phase}" + (f" (opened by {gate.id})" if gate else ""), experiments)
    yield _criteria_table(plan)
    if plan.gates:
        yield _gates_table(plan)
    yield Text(
        "Sub-experiments in brackets have no handler yet: they cannot be run, and their criteria stay unmeasured."
    )


def as_json(plan: Plan) -> dict[str, Any]:
    """Everything, with what is implemented and the hashes that results carry."""
    experiments = [
        {
            **experiment.model_dump(mode="json"),
            "hash": experiment.hash,
            "implemented": experiment.implemented,
            "not_implemented": list(experiment.not_implemented),
        }
        for experiment in plan.experiments
    ]
    return {**plan.model_dump(mode="json"), "hash": plan.hash, "experiments": experiments}


def level(criterion: Criterion, value: float) -> str:
    """A threshold with its direction and unit: `>= 22 dB`, `<= 0.35`."""
    sign = ">=" if criterion.direction == "higher" else "<="
    return f"{sign} {value:g}" + (f" {criterion.unit}" if criterion.unit else "")


def status(experiment: Experiment) -> str:
    """`implemented`, `3 of 6 implemented` or `not implemented`."""
    total = len(experiment.sub_experiments)
    ready = total - len(experiment.not_implemented)
    if ready == total:
        return "implemented"
    return f"{ready} of {total} implemented" if ready else "not implemented"


def _table(title: str, *headings: str) -> Table:
    """The last column wraps; the others keep their words together."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for heading in headings[:-1]:
        table.add_column(heading, no_wrap=True)
    table.add_column(headings[-1], overflow="fold")
    return table


def _experiments_table(title: str, experiments: list[Experiment]) -> Table:
    table = _table(title, "id", "kind", "status", "after", "title and sub-experiments")
    for experiment in experiments:
        subs = ", ".join(sub.id if sub.implemented else f"({sub.id})" for sub in experiment.sub_experiments)
        after = ", ".join(experiment.depends_on) or "-"
        style = "" if experiment.implemented else "dim"
        table.add_row(
            experiment.short, experiment.kind, status(experiment), after, f"{experiment.title}: {subs}", style=style
        )
    return table


def _criteria_table(plan: Plan) -> Table:
    table = _table(
        "Criteria, fixed in advance", "id", "criterion", "read from", "target", "acceptable", "failure", "arm"
    )
    for experiment in plan.experiments:
        for criterion in experiment.criteria:
            table.add_row(
                experiment.short,
                criterion.name,
                criterion.sub_experiment,
                level(criterion, criterion.target),
                level(criterion, criterion.acceptable),
                f"{criterion.failure:g}",
                criterion.arm,
            )
    return table


def _gates_table(plan: Plan) -> Table:
    table = _table("Gates", "gate", "asks of", "opens", "note")
    for gate in plan.gates:
        opens = f"phase {gate.unlocks_phase}" if gate.unlocks_phase else "the end"
        table.add_row(gate.id, ", ".join(gate.experiments), opens, gate.note)
    return table
