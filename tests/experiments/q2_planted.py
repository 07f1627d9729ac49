"""A small world of several objects a picture, for Q2: 96 x 64 px, two pictures a source, planted features."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from planted_world import GRID_X2, HEIGHT, STAND_IN_VAE, WIDTH, PlantedParameters, World

from foresight.data.dataset import DataSpec, prepare
from foresight.data.manifest import Source
from foresight.data.objects import objects_of, padded_boxes
from foresight.data.recipes import RECIPES, Recipe, Sample
from foresight.home import Home
from foresight.probes.box_sets import covered_parts

RECIPE = Recipe("planted_objects", 1, PlantedParameters, "q2_planted:make")
CATEGORIES = {3: "kite", 44: "bottle", 90: "toothbrush"}
COLOURS = {3: (230, 40, 40), 44: (40, 200, 60), 90: (40, 60, 230)}


def make(parameters: PlantedParameters, root: Path | None = None) -> Iterator[Sample]:
    """One or two rectangles, side by side or one above the other, on a ground of their own. Ids have gaps."""
    height, width = parameters.side, parameters.width
    for index in range(parameters.n):
        rng = np.random.default_rng([parameters.seed, index])
        ground = Image.fromarray(rng.integers(60, 190, (6, 8, 3), dtype=np.uint8))
        pixels = np.array(ground.resize((width, height), Image.Resampling.BICUBIC))
        across = bool(rng.integers(2))
        boxes, ids = [], []
        for k in range(int(rng.integers(1, 3))):
            tall, wide = rng.integers(18, 28, 2)
            room = (height - tall, width // 2 - wide) if across else (height // 2 - tall, width - wide)
            y, x = (int(rng.integers(0, free + 1)) for free in room)
            y, x = (y, x + k * width // 2) if across else (y + k * height // 2, x)
            ids.append(int(rng.choice(list(CATEGORIES))))
            pixels[y : y + tall, x : x + wide] = COLOURS[ids[-1]]
            boxes.append([x / width, y / height, (x + wide) / width, (y + tall) / height])
        areas = [float((x1 - x0) * (y1 - y0)) for x0, y0, x1, y1 in boxes]
        yield Sample(
            id=f"planted-{index}",
            source_id=f"source-{index // 2}",
            source=Source(origin="drawn by a test", licence="CC0-1.0"),
            pixels=pixels,
            labels={
                "boxes": boxes,
                "categories": [CATEGORIES[category] for category in ids],
                "category_ids": ids,
                "areas": areas,
                "frame_px": 96.0,
            },
        )


def covered(world: World, grid: tuple[int, int], parts: int) -> np.ndarray:
    """[N, h, w, parts * parts]: which parts of each cell any object covers."""
    targets = padded_boxes(objects_of(world.dataset), 2)
    h, w = grid
    fine = covered_parts(targets, (h * parts, w * parts)).reshape(len(targets), h, parts, w, parts)
    return fine.transpose(0, 1, 3, 2, 4).reshape(len(targets), h, w, -1)


def by_class(world: World, grid: tuple[int, int], parts: int = 1) -> np.ndarray:
    """[N, h, w, 3 * parts * parts]: the same for each class apart."""
    layers = []
    for category in CATEGORIES:
        targets = np.zeros((len(world.dataset), 2, 5), dtype=np.float32)
        for row, of in zip(targets, objects_of(world.dataset), strict=True):
            own = of.boxes[of.category_ids == category]
            row[: len(own), :4], row[: len(own), 4] = own, 1
        h, w = grid
        fine = covered_parts(targets, (h * parts, w * parts)).reshape(len(targets), h, parts, w, parts)
        layers.append(fine.transpose(0, 1, 3, 2, 4).reshape(len(targets), h, w, -1))
    return np.concatenate(layers, -1)


def places(world: World, grid: tuple[int, int]) -> np.ndarray:
    """[N, h, w, 2]: where a token is, which tokens that are only looked at do not say."""
    y, x = np.meshgrid(*((np.arange(cells) + 0.5) / cells for cells in grid), indexing="ij")
    return np.broadcast_to(np.stack([x, y], -1), (len(world.dataset), *grid, 2)).astype(np.float32)


@contextmanager
def objects_and_latents(folder: Path) -> Iterator[tuple[World, np.ndarray]]:
    """96 pictures of one or two objects, two of each of 48 sources, and their latents by the shipped stand-in."""
    from foresight.models import loading
    from foresight.models.identity import ModelSpec, locate

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, "planted_objects", RECIPE)
        home = Home(folder)
        spec = DataSpec(name="planted", recipe="planted_objects", parameters={"side": HEIGHT, "n": 96})
        world = World(home, prepare(spec, home))
        vae = ModelSpec.from_json(STAND_IN_VAE)
        latents = loading.load(vae, locate(vae, home)).encode(np.asarray(world.dataset.images))
        assert latents.shape[1:3] == GRID_X2
        yield world, latents


__all__ = ["HEIGHT", "WIDTH"]
