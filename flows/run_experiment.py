"""One experiment: models → data → smoke test → its sub-experiments → assessment.

`run_experiment` takes any experiment. `flows/run_experiment.py:c1` is the same flow with the form of C1, and so for
every short name of the plan; that is what is deployed.
"""

from __future__ import annotations

from typing import Any

from prefect import Flow, flow
from prefect.states import State

from flows import forms
from flows.cancellation import stop_remote_calls
from flows.outcome import Outcome
from flows.pipeline import CALLS, ended, run_job
from foresight.compute.request import RunRequest, resolve
from foresight.errors import UserError
from foresight.home import Home


@flow(
    name="run-experiment",
    flow_run_name="{experiment}-{profile}",
    version=forms.version(),
    task_runner=CALLS,
    on_cancellation=[stop_remote_calls],
)
def run_experiment(
    experiment: forms.ExperimentName,
    profile: forms.Profile = "tiny",
    sub_experiment: forms.SubExperiments = None,
    seeds: forms.Seeds = None,
    compute: forms.Compute = "local",
    gpu: forms.Gpu = None,
    budget: forms.Budget = None,
    refresh: forms.Refresh = False,
    stub_mode: forms.StubMode = False,
    plan: forms.PlanFile = None,
) -> Outcome | State:
    """Measure one experiment and judge it against its criteria."""
    request = RunRequest(
        (experiment,), tuple(sub_experiment or ()), stub_mode, profile, compute, gpu, budget, seeds, refresh, plan
    )
    return ended(lambda: run_job(resolve(request), Home.from_environment()))


def __getattr__(name: str) -> Flow[..., Any]:
    """The flow with the form of the experiment of that short name."""
    try:
        experiment = forms.deployed_plan().experiment(name)
    except UserError as error:
        raise AttributeError(str(error)) from error
    return forms.narrowed(run_experiment, experiment)
