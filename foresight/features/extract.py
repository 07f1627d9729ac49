"""Extraction: one load of a model, one pass over the pictures, every point that is asked for.

Steps of one model arrive together. Those that also share data and image side are served by the same passes: shard by
shard, each pass captures exactly the points whose shard is still missing. So a second attempt computes only what the
first did not write, and a point that is added later is extracted alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from foresight.data.dataset import Dataset, prepare
from foresight.data.manifest import DataSpec
from foresight.errors import StepFailed
from foresight.features.points import Point, parse_point
from foresight.features.store import MANIFEST, SHARD_ITEMS, FeatureManifest, FeatureWriter
from foresight.files import canonical_json, sha256_file
from foresight.home import Home
from foresight.models import loading
from foresight.models.download import make_available
from foresight.models.identity import ModelSpec, locate
from foresight.models.qwen import Vlm
from foresight.results.record import Artifact, StepOutput

if TYPE_CHECKING:
    from foresight.compute.executors import StepContext
    from foresight.compute.step import Step

logger = logging.getLogger(__name__)


def execute_many(
    steps: Sequence[Step],
    context_of: Mapping[str, StepContext],
    finished: Callable[[Step, StepOutput], None],
    *,
    shard_items: int = SHARD_ITEMS,
) -> None:
    """Extract the features of `steps`, and call `finished` for each as soon as its features are whole on disk.

    A step's `identity` is from `points.extraction_identity`; its `work` has `data_spec`, `model_spec`, `batch_size`;
    `context_of` has the context of each by fingerprint. Raises `StepFailed` if the data set is not the one planned
    with, or if what comes out is not finite.
    """
    groups = _grouped(steps, lambda step: [_model_key(step), step.identity["data"], step.identity["side"]])
    sessions: dict[str, _Session] = {}
    for number, group in enumerate(groups):
        context = context_of[group[0].fingerprint]
        session = sessions.setdefault(canonical_json(_model_key(group[0])), _Session.of(group[0], context))
        _extract(group, session, partial(_report, context, number, len(groups)), context.saved, finished, shard_items)
    for session in sessions.values():
        logger.info(session.summary)


def execute(step: Step, context: StepContext) -> StepOutput:
    """Extract one step by itself."""
    outputs: list[StepOutput] = []
    execute_many([step], {step.fingerprint: context}, lambda _, output: outputs.append(output))
    return outputs[0]


@dataclass
class _Session:
    """A model, loaded when the first missing shard needs it, and what it has been used for."""

    spec: ModelSpec
    home: Home
    device: str
    dtype: str
    images: int = 0
    passes: int = 0
    points: int = 0

    @classmethod
    def of(cls, step: Step, context: StepContext) -> _Session:
        return cls(ModelSpec.from_json(step.work["model_spec"]), context.home, context.device, step.identity["dtype"])

    @cached_property
    def model(self) -> loading.Model:
        make_available(self.spec, self.home, forward=False)
        return loading.load(self.spec, locate(self.spec, self.home), self.device, self.dtype)

    def features(
        self, images: np.ndarray, points: Sequence[str], side: int | None, batch_size: int, fps: float | None = None
    ) -> dict[str, np.ndarray]:
        """Every point of stills or clips from one pass a batch: point -> float32 [N, (t,) h, w, D]."""
        if images.ndim == 5:
            batch_size = max(1, batch_size // images.shape[1])  # every frame is an image
        if isinstance(self.model, Vlm):
            self._count(images, batch_size)
            return self.model.encode(images, points, side, batch_size, fps)
        features = {}
        for point in points:
            shown = _shown(images, parse_point(point, self.spec.role))
            self._count(shown, batch_size)
            features[point] = self.model.encode(shown, side, batch_size)
        return features

    def _count(self, images: np.ndarray, batch_size: int) -> None:
        self.images += len(images)
        self.passes += -(-len(images) // batch_size)

    @property
    def summary(self) -> str:
        loaded = "loaded once" if "model" in vars(self) else "not loaded"
        return f"{self.spec.id} {loaded}; {self.images} images, {self.passes} passes for {self.points} points"


def _extract(
    steps: Sequence[Step],
    session: _Session,
    progress: Callable[[float, str], None],
    saved: Callable[[], None],
    finished: Callable[[Step, StepOutput], None],
    shard_items: int,
) -> None:
    """Extract steps that share model, data and side."""
    dataset = _open_data(steps[0], session.home)
    side, batch_size = steps[0].identity["side"], steps[0].work["batch_size"]
    writers = {
        step.fingerprint: FeatureWriter(session.home, step.fingerprint, len(dataset), shard_items) for step in steps
    }
    kept = {fingerprint: len(writer) - len(writer.missing) for fingerprint, writer in writers.items()}
    session.points += len(steps)
    waiting = list(steps)

    def finish_complete() -> None:
        for step in [step for step in waiting if not writers[step.fingerprint].missing]:
            waiting.remove(step)
            writer = writers[step.fingerprint]
            manifest = writer.finish(dict(step.identity))
            finished(step, _output(step, manifest, session, kept[step.fingerprint]))

    finish_complete()
    shards = sorted({shard for writer in writers.values() for shard in writer.missing})
    for done, shard in enumerate(shards, start=1):
        lacking = [step for step in waiting if shard in writers[step.fingerprint].missing]
        items = writers[lacking[0].fingerprint].range(shard)
        points = [step.identity["point"] for step in lacking]
        features = session.features(dataset.images[items.start : items.stop], points, side, batch_size, dataset.fps)
        for step in lacking:
            writers[step.fingerprint].write(shard, features[step.identity["point"]])
        saved()
        progress(done / len(shards), f"{session.spec.role} {' '.join(points)}: {items.stop} of {len(dataset)} images")
        finish_complete()


def _shown(images: np.ndarray, point: Point) -> np.ndarray:
    """What the model is shown for a point: everything, or one frame of each clip."""
    if point.layer is None:
        return images
    if images.ndim != 5 or point.layer >= images.shape[1]:
        frames = f"clips of {images.shape[1]} frames" if images.ndim == 5 else "stills"
        raise StepFailed(
            f"{point} is frame {point.layer}, counted from 0, and these are {frames}. Correct the need in the profile.",
            cause="exception",
            retryable=False,
        )
    return images[:, point.layer]


def _report(context: StepContext, group: int, groups: int, fraction: float, text: str) -> None:
    context.progress((group + fraction) / groups, text)


def _open_data(step: Step, home: Home) -> Dataset:
    dataset = prepare(DataSpec.from_json(step.work["data_spec"]), home)
    if dataset.manifest.sha256 != step.identity["data"]:
        raise StepFailed(
            f"The data set {dataset.manifest.spec.name} has the hash {dataset.manifest.sha256[:12]}, and "
            f"{step.identity['data'][:12]} was planned with. It was made anew meanwhile. Run again to plan with it.",
            cause="identity",
            retryable=False,
        )
    return dataset


def _output(step: Step, manifest: FeatureManifest, session: _Session, kept: int) -> StepOutput:
    folder = session.home.features / step.fingerprint
    n_images, *cells, width = manifest.shape
    notes = [session.summary]
    if kept:
        notes.append(f"{kept} of {len(manifest.shards)} shards were there from an earlier attempt")
    if step.identity["model"]["stand_in"]:
        notes.append(f"{session.spec.id} is a tiny stand-in: its features say nothing about the real model")
    names = [*(shard.file for shard in manifest.shards), MANIFEST]
    return StepOutput(
        finding_template=f"{step.identity['point']}: {' x '.join(map(str, cells))} cells of {width} values",
        metrics={"n_images": n_images, "width": width, "n_cells": int(np.prod(cells))},
        notes=notes,
        artifacts=[
            Artifact(
                name=name,
                path=(folder / name).relative_to(session.home.root).as_posix(),
                sha256=sha256_file(folder / name),
                size_bytes=(folder / name).stat().st_size,
            )
            for name in names
        ],
    )


def _model_key(step: Step) -> list[object]:
    return [step.work["model_spec"], step.identity["dtype"]]


def _grouped(steps: Sequence[Step], key: Callable[[Step], list[object]]) -> list[list[Step]]:
    """Steps with equal keys together; models stay together, and the order is that of the first of each."""
    groups: dict[str, list[Step]] = {}
    for step in steps:
        groups.setdefault(canonical_json(key(step)), []).append(step)
    return list(groups.values())
