"""A leak stops a run where its data are prepared: before anything is extracted, and before any training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from planted import dataset_of
from prefect.logging import disable_run_logger

from foresight.errors import DataLeak
from foresight.home import Home
from tasks import preparation

SPLITS, SEEDS = [(0.6, 0.15, 0.25)], (0, 1, 2)


def pictures(n: int) -> np.ndarray:
    """[n, 64, 64, 3]: smooth random pictures, no two alike."""
    from PIL import Image

    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((64, 64), Image.Resampling.BICUBIC)) for one in small])


def prepared(images: np.ndarray, monkeypatch: pytest.MonkeyPatch, home: Home) -> Any:
    dataset = dataset_of(images)
    monkeypatch.setattr(preparation, "prepare", lambda spec, home: dataset)
    with disable_run_logger():
        return preparation.prepare_data.fn(dataset.manifest.spec, SPLITS, SEEDS, home)


def test_a_clean_data_set_passes_with_every_seed(tmp_path, monkeypatch):
    images = pictures(40)
    assert prepared(images, monkeypatch, Home(tmp_path)) == dataset_of(images).manifest.sha256


@pytest.mark.parametrize(
    "disguise",
    [lambda image: image, lambda image: image[:, ::-1], lambda image: image[::-1]],
    ids=["copy", "mirror", "flip"],
)
def test_a_picture_that_stands_under_two_sources_stops_the_run(tmp_path, monkeypatch, disguise):
    images = pictures(40)
    images[20:] = np.stack([disguise(image) for image in images[:20]])  # so many that no split keeps them together
    state = prepared(images, monkeypatch, Home(tmp_path))
    assert state.is_failed()
    assert isinstance(state.data, DataLeak)
    assert "item-" in state.message
