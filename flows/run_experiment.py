"""One experiment: models → data → smoke test → its sub-experiments → assessment."""

from __future__ import annotations

from typing import Annotated, Literal

from prefect import flow
from prefect.states import State
from pydantic import Field

from flows.outcome import Outcome
from flows.pipeline import CALLS, ended, run_job
from foresight.compute.request import RunRequest, resolve
from foresight.home import Home

ProfileName = Annotated[
    str, Field(description="How big: `tiny` (stand-ins, CPU, minutes), `repro` or `real` (full models).")
]
Compute = Annotated[Literal["local", "modal"], Field(description="Where the steps run.")]
StubMode = Annotated[bool, Field(description="Rehearse without measuring anything. Never assessed.")]
SubExperiments = Annotated[list[str] | None, Field(description="Only these, e.g. `e1_4`. Empty: all.")]
Seeds = Annotated[int | None, Field(ge=1, description="How many seeds. Empty: the profile's.")]
Budget = Annotated[float | None, Field(gt=0, description="Stop before more than this many dollars are spent.")]
Gpu = Annotated[str | None, Field(description="GPU class over the plan's: A10, A100-40GB, A100-80GB, H100.")]
Refresh = Annotated[bool, Field(description="Compute again what is recorded already.")]
PlanFile = Annotated[str | None, Field(description="A plan of your own; its path where the worker runs.")]


@flow(
    name="run-experiment",
    flow_run_name="{experiment}-{profile}",
    task_runner=CALLS,
)
def run_experiment(
    experiment: Annotated[str, Field(description="Short name or id, e.g. `c1`.")],
    sub_experiment: SubExperiments = None,
    stub_mode: StubMode = False,
    profile: ProfileName = "tiny",
    compute: Compute = "local",
    gpu: Gpu = None,
    budget: Budget = None,
    seeds: Seeds = None,
    refresh: Refresh = False,
    plan: PlanFile = None,
) -> Outcome | State:
    """Measure one experiment and judge it against its criteria."""
    request = RunRequest(
        (experiment,), tuple(sub_experiment or ()), stub_mode, profile, compute, gpu, budget, seeds, refresh, plan
    )
    return ended(lambda: run_job(resolve(request), Home.from_environment()))
