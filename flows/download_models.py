"""Fetch every model of a profile at its pinned revision and verify it, here or on Modal's volume."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.futures import PrefectFuture
from prefect.states import State

from flows import forms
from flows.pipeline import CALLS, current_run_id
from foresight.compute.planner import model_spec
from foresight.compute.request import RunRequest, resolve
from foresight.elsewhere import planned_from
from foresight.errors import UserError
from foresight.home import Home
from foresight.models.identity import identity
from tasks.preparation import make_model_available, prepare_remotely, refused


@flow(name="download-models", flow_run_name="models-{profile}", version=forms.version(), task_runner=CALLS)
def download_models(profile: forms.Profile = "tiny", compute: forms.Compute = "local") -> dict[str, str] | State:
    """Role -> hash of its weights."""
    home = Home.from_environment()
    job = resolve(RunRequest(profile=profile, compute=compute))
    specs = {role: model_spec(role, choice) for role, choice in job.profile.models.items()}
    futures: list[PrefectFuture[Any]]
    if compute == "modal":
        futures = [prepare_remotely.submit(specs, {}, {}, (), current_run_id(), home)]
    else:
        futures = [make_model_available.submit(spec, home) for spec in specs.values()]
    try:
        for future in futures:
            future.result()
    except UserError as refusal:
        return refused(refusal)
    return {role: identity(spec, planned_from(home, compute)).weights_sha256 for role, spec in specs.items()}
