"""Tasks that put models and data sets in place before steps can be planned. They do no GPU work and no training."""

from __future__ import annotations

from prefect import task
from prefect.logging import get_run_logger

from foresight.data.dataset import DataSpec, prepare
from foresight.home import Home
from foresight.models.download import make_available
from foresight.models.identity import ModelSpec


@task(task_run_name="model {spec.role}")
def make_model_available(spec: ModelSpec, home: Home) -> str:
    """Fetch the weights at their pinned revision unless they are there, and verify every file by its hash."""
    identity = make_available(spec, home, forward=False)
    kind = "stand-in" if identity.stand_in else "model"
    get_run_logger().info(
        f"{kind} {identity.id} at {identity.revision[:12]}: weights {identity.weights_sha256[:12]} verified"
    )
    return identity.weights_sha256


@task(task_run_name="data {spec.name}")
def prepare_data(spec: DataSpec, home: Home) -> str:
    """Make the data set unless it is there."""
    manifest = prepare(spec, home).manifest
    n_sources = len(manifest.sources)
    get_run_logger().info(f"{len(manifest.items)} items from {n_sources} sources, manifest {manifest.sha256[:12]}")
    return manifest.sha256
