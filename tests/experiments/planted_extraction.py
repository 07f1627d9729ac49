"""An executor in the place of the extraction: it plants features whose meaning is known, through the real store.

`PLANTED=oracle`: channel 0 of each token is the part of its cell that the object covers, the rest is noise.
`PLANTED=noise`: nothing but noise.
`PLANTED=alike`: the mean token of X4.last and the flat X6 are one space, turned.
`PLANTED=unrelated`: these two share nothing.
`PLANTED=preserved`: of pictures of several objects, which parts of its cell each class covers; of textures, the pixels.
`PLANTED=lost`: noise, on the grids of `preserved`.
`PLANTED=shared`: X7 is the picture's real X6, and X4.last says which parts of its cell each class covers.
`PLANTED=mute`: noise, on the grids of `shared`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from foresight.compute.executors import StepContext
from foresight.compute.step import Step
from foresight.data.dataset import Dataset, prepare
from foresight.data.manifest import DataSpec
from foresight.data.objects import category_names, objects_of
from foresight.features.extract import execute_many as execute_for_real
from foresight.features.store import MANIFEST, FeatureWriter
from foresight.files import sha256_file
from foresight.home import Home
from foresight.models import loading
from foresight.models.identity import ModelSpec, locate
from foresight.probes.box_sets import covered_parts
from foresight.probes.boxes import covered_part
from foresight.probes.pixels import patchify
from foresight.results.record import Artifact, StepOutput

GRIDS = {"X2": (8, 8), "X3": (8, 8), "X4.last": (4, 4), "X6": (2, 3)}
WIDTH = 6
MERGER = {"X2": 16, "X3": 8}  # cells each way on its two sides
PARTS = 16  # parts each way that objects are planted in
REAL_LATENTS = ("shared", "mute")
SHARED = 24  # dimensions of the space that is planted twice


def execute_many(
    steps: Sequence[Step], context_of: Mapping[str, StepContext], finished: Callable[[Step, StepOutput], None]
) -> None:
    if os.environ["PLANTED"] in REAL_LATENTS and steps[0].identity["point"] == "X6":
        execute_for_real(steps, context_of, finished)
        return
    for step in steps:
        home, point = context_of[step.fingerprint].home, step.identity["point"]
        dataset = prepare(DataSpec.from_json(step.work["data_spec"]), home)
        grid, planted = GRIDS.get(point, ()), os.environ["PLANTED"]
        if planted in REAL_LATENTS:
            features = _streams(dataset, point, home, mute=planted == "mute")
        elif planted in ("alike", "unrelated"):
            features = _space(len(dataset), point, alike=planted == "alike")
        elif planted in ("preserved", "lost"):
            features = _objects(dataset, point, preserved=planted == "preserved")
        else:
            features = np.random.default_rng(7).standard_normal((len(dataset), *grid, WIDTH)).astype(np.float32)
        if planted == "oracle":
            features[..., 0] = covered_part(dataset.labels("box"), grid)
        writer = FeatureWriter(home, step.fingerprint, len(dataset))
        for shard in list(writer.missing):
            items = writer.range(shard)
            writer.write(shard, features[items.start : items.stop])
        manifest = writer.finish(dict(step.identity))
        folder = home.features / step.fingerprint
        names = [*(shard.file for shard in manifest.shards), MANIFEST]
        finished(step, StepOutput(artifacts=[_artifact(folder / name, home.root) for name in names]))


def _space(n: int, point: str, *, alike: bool) -> np.ndarray:
    """[n, h, w, D]: a 24-dimensional Gaussian, as the mean of the tokens or spread over the cells."""
    own = int.from_bytes(point.encode(), "big") % 2**32
    said = np.random.default_rng(5 if alike else own).standard_normal((n, SHARED))
    turn, _ = np.linalg.qr(np.random.default_rng([1, own]).standard_normal((SHARED, SHARED)))
    grid = GRIDS[point]
    if point == "X6":
        return (said @ turn).reshape(n, *grid, -1).astype(np.float32)
    noise = np.random.default_rng([2, own]).standard_normal((n, *grid, SHARED))
    return ((said @ turn)[:, None, None] + noise - noise.mean((1, 2), keepdims=True)).astype(np.float32)


def _objects(dataset: Dataset, point: str, *, preserved: bool) -> np.ndarray:
    """[n, h, w, D] on the two sides of a merger: X2 has twice as many tokens each way."""
    cells, parts = MERGER[point], PARTS // MERGER[point]
    noise = (
        np.random.default_rng([7, cells]).standard_normal((len(dataset), cells, cells, 3 + parts)).astype(np.float32)
    )
    if not preserved:
        return noise
    if dataset.manifest.spec.recipe == "textures":
        return patchify(np.asarray(dataset.images, dtype=np.float32) / 255, (cells, cells))
    return np.concatenate([_by_class(dataset, cells, parts), noise], -1)


def _by_class(dataset: Dataset, cells: int, parts: int) -> np.ndarray:
    """float32 [n, cells, cells, classes * parts * parts]: which parts of its cell each class covers."""
    objects, layers = objects_of(dataset), []
    most = max(map(len, objects))
    for category in category_names(dataset):
        targets = np.zeros((len(objects), most, 5), dtype=np.float32)
        for row, of in zip(targets, objects, strict=True):
            own = of.boxes[of.category_ids == category]
            row[: len(own), :4], row[: len(own), 4] = own, 1
        fine = covered_parts(targets, (cells * parts, cells * parts)).reshape(len(objects), cells, parts, cells, parts)
        layers.append(fine.transpose(0, 1, 3, 2, 4).reshape(len(objects), cells, cells, -1))
    return (3 * np.concatenate(layers, -1)).astype(np.float32)


def _streams(dataset: Dataset, point: str, home: Home, *, mute: bool) -> np.ndarray:
    """[n, h, w, D]: X7 has as many tokens as the decoder has cells, X4.last half as many each way."""
    cells = {"X7": 14, "X4.last": 7}[point]
    noise = np.random.default_rng([11, cells]).standard_normal((len(dataset), cells, cells, 96)).astype(np.float32)
    if mute:
        return noise
    if point == "X4.last":
        return np.concatenate([_by_class(dataset, cells, 4), noise[..., :20]], -1)
    spec = ModelSpec("vae", "foresight/stand-in-ltx-vae", "", stand_in=True)
    return loading.load(spec, locate(spec, home)).encode(np.asarray(dataset.images))


def _artifact(path, root) -> Artifact:
    where = path.relative_to(root).as_posix()
    return Artifact(name=path.name, path=where, sha256=sha256_file(path), size_bytes=path.stat().st_size)
