"""The smoke test alone: every model of a profile loads and does one forward pass on a real image."""

from __future__ import annotations

from prefect import flow
from prefect.states import State

from flows import forms
from flows.cancellation import stop_remote_calls
from flows.outcome import Outcome
from flows.pipeline import CALLS, ended, run_smoke_test
from foresight.compute.request import RunRequest, resolve
from foresight.home import Home


@flow(
    name="smoke-test",
    flow_run_name="smoke-{profile}",
    version=forms.version(),
    task_runner=CALLS,
    on_cancellation=[stop_remote_calls],
)
def smoke_test(profile: forms.Profile = "tiny", compute: forms.Compute = "local") -> Outcome | State:
    """Fails if a model is missing, does not load, or gives what it should not."""
    return ended(
        lambda: run_smoke_test(
            resolve(RunRequest(profile=profile, compute=compute, refresh=True)), Home.from_environment()
        )
    )
