"""The smoke test alone: every model of a profile loads and does one forward pass on a real image."""

from __future__ import annotations

from prefect import flow
from prefect.states import State

from flows.outcome import Outcome
from flows.pipeline import CALLS, ended, run_smoke_test
from flows.run_experiment import Compute, ProfileName
from foresight.compute.request import RunRequest, resolve
from foresight.home import Home


@flow(name="smoke-test", flow_run_name="smoke-{profile}", task_runner=CALLS)
def smoke_test(profile: ProfileName = "tiny", compute: Compute = "local") -> Outcome | State:
    """Fails if a model is missing, does not load, or gives what it should not."""
    return ended(
        lambda: run_smoke_test(
            resolve(RunRequest(profile=profile, compute=compute, refresh=True)), Home.from_environment()
        )
    )
