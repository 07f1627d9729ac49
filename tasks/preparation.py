"""Tasks that put models and data sets in place before steps can be planned. They do no GPU work and no training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prefect import task
from prefect.logging import get_run_logger
from prefect.states import Failed, State

from foresight.compute import ledger
from foresight.data.dataset import DataSpec, prepare
from foresight.data.splits import assert_disjoint, split_by_source
from foresight.errors import UserError
from foresight.home import Home
from foresight.models.download import make_available
from foresight.models.identity import ModelSpec


def refused(refusal: UserError) -> State:
    """A refusal is one sentence; raised, it would leave a traceback in the log. Its future raises it all the same."""
    return Failed(message=str(refusal), data=refusal)


@task(task_run_name="model {spec.role}")
def make_model_available(spec: ModelSpec, home: Home) -> str | State:
    """Fetch the weights at their pinned revision unless they are there, and verify every file by its hash."""
    try:
        identity = make_available(spec, home, forward=False)
    except UserError as refusal:
        return refused(refusal)
    kind = "stand-in" if identity.stand_in else "model"
    get_run_logger().info(
        f"model {spec.role} │ {kind} {identity.id} at {identity.revision[:12]}: "
        f"weights {identity.weights_sha256[:12]} verified"
    )
    return identity.weights_sha256


@task(task_run_name="data {spec.name}")
def prepare_data(
    spec: DataSpec, splits: Sequence[tuple[float, float, float]], seeds: Sequence[int], home: Home
) -> str | State:
    """Make the data set unless it is there, and check every split that will be made of it, before a GPU is asked.

    Refuses with `DataLeak` if train, validation and test share a source, or what looks like one.
    """
    try:
        dataset = prepare(spec, home)
        manifest = dataset.manifest
        for sizes in splits:
            for seed in seeds:
                assert_disjoint(dataset, split_by_source(manifest, seed, sizes))
    except UserError as refusal:
        return refused(refusal)
    get_run_logger().info(
        f"data {spec.name} │ {len(manifest.items)} items from {len(manifest.sources)} sources, "
        f"manifest {manifest.sha256[:12]}"
        + ("; train, validation and test share no source" if splits and seeds else "")
    )
    return manifest.sha256


@task(task_run_name="models and data on Modal")
def prepare_remotely(
    models: Mapping[str, ModelSpec],
    data: Mapping[str, DataSpec],
    splits: Mapping[str, Sequence[tuple[float, float, float]]],
    seeds: Sequence[int],
    run_id: str,
    home: Home,
) -> dict[str, str] | State:
    """The same as the two above, in a container that has the volumes; their manifests come back. Role -> weights."""
    from foresight.compute import modal_preparation  # the client takes a second to import

    say = get_run_logger().info
    try:
        modal_preparation.require_ready()
        if not models and not data:
            return {}
        wanted = lambda: not ledger.cancel_requested(home, run_id)  # noqa: E731
        return modal_preparation.prepare(models, data, splits, seeds, home, say, wanted=wanted)
    except UserError as refusal:
        return refused(refusal)
