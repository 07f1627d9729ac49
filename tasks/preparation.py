"""Tasks that put models and data sets in place before steps can be planned. They do no GPU work and no training."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task
from prefect.logging import get_run_logger

from foresight.data.dataset import DataSpec, prepare
from foresight.data.splits import assert_disjoint, split_by_source
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
def prepare_data(spec: DataSpec, splits: Sequence[tuple[float, float, float]], seeds: Sequence[int], home: Home) -> str:
    """Make the data set unless it is there, and check every split that will be made of it, before a GPU is asked.

    Raises `DataLeak` if train, validation and test share a source, or what looks like one.
    """
    dataset = prepare(spec, home)
    manifest = dataset.manifest
    for sizes in splits:
        for seed in seeds:
            assert_disjoint(dataset, split_by_source(manifest, seed, sizes))
    get_run_logger().info(
        f"{len(manifest.items)} items from {len(manifest.sources)} sources, manifest {manifest.sha256[:12]}; "
        f"{len(splits) * len(seeds)} splits share nothing"
    )
    return manifest.sha256
