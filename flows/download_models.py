"""Fetch every model of a profile at its pinned revision and verify it."""

from __future__ import annotations

from prefect import flow
from prefect.states import State

from flows import forms
from flows.pipeline import CALLS
from foresight.compute.planner import model_specs
from foresight.compute.request import RunRequest, resolve
from foresight.errors import UserError
from foresight.home import Home
from tasks.preparation import make_model_available, refused


@flow(name="download-models", flow_run_name="models-{profile}", version=forms.version(), task_runner=CALLS)
def download_models(profile: forms.Profile = "tiny") -> dict[str, str] | State:
    """Role -> hash of its weights."""
    home = Home.from_environment()
    futures = {
        role: make_model_available.submit(spec, home)
        for role, spec in model_specs(resolve(RunRequest(profile=profile))).items()
    }
    try:
        return {role: str(future.result()) for role, future in futures.items()}
    except UserError as refusal:
        return refused(refusal)
