"""What a person fills in to start a flow: each parameter with its type, its description and the values to choose from.

The lists of values are built from the plan and its profiles, and stand in the JSON schema alone. So the UI's form
offers them and the Prefect server refuses any other before a run is made, while the same flow, called from the shell,
takes the ids of whatever `--plan FILE` it was given and answers a wrong one with the shell's own message.

A team that brings a plan of its own deploys with `FORESIGHT_PLAN=plan.yaml` in the environment: the forms are then
built from that plan.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from prefect import Flow
from pydantic import Field

from foresight.compute.gpus import ALIASES, GPU_CLASSES
from foresight.compute.provenance import checkout
from foresight.compute.request import MOST_SEEDS
from foresight.plan.loader import PACKAGED_PROFILES, load_plan, load_profiles
from foresight.plan.schema import Experiment, Plan


@cache
def deployed_plan() -> Plan:
    """The plan that the forms are made of."""
    return load_plan(_plan_file())


def version() -> str:
    """Of the code that is deployed: its commit, and whether it was changed since."""
    commit, dirty = checkout()
    return "outside of git" if commit is None else commit[:12] + ("-dirty" if dirty else "")


def field(description: str = "", choices: Sequence[str] | None = None, **limits: Any) -> Any:
    """A pydantic field whose `choices` bind the form alone. Prefect drops a `description=` for the docstring's."""
    about: dict[str, Any] = {"description": description} if description else {}
    return Field(json_schema_extra=about | ({} if choices is None else {"enum": list(choices)}), **limits)


def _plan_file() -> Path | None:
    name = os.environ.get("FORESIGHT_PLAN")
    return Path(name) if name else None


def _profiles() -> list[str]:
    own, file = deployed_plan().profiles, _plan_file()
    source = PACKAGED_PROFILES if own is None or file is None else file.parent / own
    return [profile.name for profile in load_profiles(source)]


def _ids(experiments: Sequence[Experiment]) -> list[str]:
    return [sub.id for experiment in experiments for sub in experiment.sub_experiments]


Profile = Annotated[
    str,
    field("How big: tiny (stand-ins, CPU, minutes), repro or real (full models; only real moves a gate).", _profiles()),
]
Compute = Annotated[Literal["local", "modal"], field("Where the steps run.")]
StubMode = Annotated[bool, field("Rehearse without measuring anything. Never assessed.")]
ExperimentName = Annotated[str, field("Short name, e.g. c1.", [one.short for one in deployed_plan().experiments])]
Experiments = Annotated[list[ExperimentName] | None, field("Only these experiments. Empty: all.")]
SubExperiments = Annotated[
    list[Annotated[str, field(choices=_ids(deployed_plan().experiments))]] | None,
    field("Only these sub-experiments, e.g. e1_4. Empty: all."),
]
Seeds = Annotated[int | None, field("How many seeds. Empty: the profile's.", ge=1, le=MOST_SEEDS)]
Budget = Annotated[float | None, field("Stop before more than this many dollars are spent. Empty: no limit.", gt=0)]
Gpu = Annotated[
    Annotated[str, field(choices=[*GPU_CLASSES, *ALIASES])] | None,
    field("GPU class over the plan's. Empty: what each step asks for."),
]
Refresh = Annotated[bool, field("Compute again what is recorded already.")]
PlanFile = Annotated[str | None, field("A plan of your own; its path where the worker runs. Empty: the packaged one.")]
Ask = Annotated[bool, field("Where a gate is marginal, pause for a person's decision instead of ending.")]
GateName = Annotated[str, field("The gate to open.", [gate.id for gate in deployed_plan().gates])]
Decider = Annotated[str, field("Who decides. It stands beside the measured verdict for good.", min_length=1)]
Reason = Annotated[str, field("Why the next phase may start all the same.", min_length=1)]


def narrowed(flow: Flow[..., Any], experiment: Experiment) -> Flow[..., Any]:
    """The same flow with the form of one experiment: its own sub-experiments, and no other experiment."""
    lacks = "" if experiment.implemented else " It has no handlers yet: only a stub run can start."
    form = flow.with_options(description=f"{experiment.title}. {experiment.question}{lacks}")
    own = inspect.signature(flow.fn, eval_str=True)
    name = Annotated[str, field(experiment.id, [experiment.short])]
    sub = Annotated[str, field(choices=_ids([experiment]))]
    about = "; ".join(f"{one.id} {one.title}" for one in experiment.sub_experiments)
    subs = Annotated[list[sub] | None, field(f"Only these. Empty: all. {about}.")]  # type: ignore[valid-type]
    changed = {
        "experiment": own.parameters["experiment"].replace(annotation=name, default=experiment.short),
        "sub_experiment": own.parameters["sub_experiment"].replace(annotation=subs),
    }
    form.__signature__ = own.replace(  # type: ignore[attr-defined]  # what Prefect reads the form's schema from
        parameters=[changed.get(parameter.name, parameter) for parameter in own.parameters.values()]
    )
    return form


def with_empty_fields(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a form in which what may be None is a field that may stay empty. As pydantic writes it, "this or
    null", Prefect's UI shows a switch with the positions "str" and "None" in its place."""

    def plainly(field: dict[str, Any]) -> dict[str, Any]:
        kinds = [kind for kind in field.get("anyOf", []) if kind != {"type": "null"}]
        if len(kinds) != 1 or field.get("default") is not None:
            return field
        return {key: value for key, value in field.items() if key not in ("anyOf", "default")} | kinds[0]

    return schema | {"properties": {name: plainly(field) for name, field in schema["properties"].items()}}
