"""The plan as `foresight plan show` prints it, and as a program reads it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from foresight.plan.schema import Criterion, Experiment, Plan
from foresight.tables import Listing


def renderables(plan: Plan) -> Iterator[RenderableType]:
    """A table of experiments for each phase, one of all criteria, one of the gates, and what the words mean."""
    for phase, experiments in plan.phases().items():
        gate = plan.gate_before(phase)
        yield _experiments(f"Phase {phase}" + (f" (opened by {gate.id})" if gate else ""), experiments)
    yield _criteria(plan)
    if plan.gates:
        yield _gates(plan)
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


def _experiments(title: str, experiments: list[Experiment]) -> Listing:
    table = Listing("id", "kind", "status", "after", "title and sub-experiments", title=title)
    for experiment in experiments:
        subs = ", ".join(sub.id if sub.implemented else f"({sub.id})" for sub in experiment.sub_experiments)
        after = ", ".join(experiment.depends_on) or "-"
        style = "" if experiment.implemented else "dim"
        table.add_row(
            experiment.short, experiment.kind, status(experiment), after, f"{experiment.title}: {subs}", style=style
        )
    return table


def _criteria(plan: Plan) -> Listing:
    table = Listing(
        "id", "criterion", "read from", "target", "acceptable", "failure", "arm", title="Criteria, fixed in advance"
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


def _gates(plan: Plan) -> Listing:
    table = Listing("gate", "asks of", "opens", "note", title="Gates")
    for gate in plan.gates:
        opens = f"phase {gate.unlocks_phase}" if gate.unlocks_phase else "the end"
        table.add_row(gate.id, ", ".join(gate.experiments), opens, gate.note)
    return table
