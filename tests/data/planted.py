"""Datasets with chosen pictures, for tests that plant something."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from foresight.data.dataset import Dataset
from foresight.data.manifest import DataSpec, Item, Manifest, Source, content_sha256


def dataset_of(
    images: np.ndarray,
    sources: Sequence[str] | None = None,
    *,
    stand_in: Sequence[str] = (),
    labels: Sequence[dict] | None = None,
) -> Dataset:
    """A dataset in memory: by default every picture is its own source."""
    names = list(sources) if sources is not None else [f"source-{i:03d}" for i in range(len(images))]
    items = tuple(
        Item(
            id=f"item-{i:03d}",
            source=name,
            sha256=hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest(),
            labels=labels[i] if labels else {},
        )
        for i, (image, name) in enumerate(zip(images, names, strict=True))
    )
    known = {name: Source(origin="planted", licence="none", stand_in_training=name in stand_in) for name in set(names)}
    manifest = Manifest(
        spec=DataSpec("planted", "photographs", {"side": max(images.shape[2], 28)}),
        shape=images.shape,
        items=items,
        sources=known,
        versions={},
        sha256=content_sha256(images.shape, items, known),
    )
    return Dataset(manifest, Path("nowhere"), images)


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """The picture after a round through JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "jpeg", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))
