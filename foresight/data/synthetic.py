"""Drawn pictures with exact labels: D1 (one object) and D2 (categories) of research-program.md section 5.

Each item has a generator of its own, seeded by (seed, index), so that item i is the same whatever n is, and a larger
set contains the smaller one. Every item is its own source. Shape and colour are drawn independently of each other and
of the index. Geometry is continuous and given in 224ths of the side, so that no two items are exact copies and one
item looks the same at every resolution.

Edges are antialiased: shapes are drawn on a mask four times finer, and the box label is read off that same mask, so
it is exact to an eighth of a pixel.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from foresight.data.manifest import Source
from foresight.data.recipes import (
    STAND_IN_SEEDS_FROM,
    CategoriesParameters,
    Label,
    Sample,
    SingleObjectParameters,
)

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "magenta": (255, 0, 255),
    "cyan": (0, 255, 255),
    "grey": (128, 128, 128),
    "orange": (255, 128, 0),
}
SHAPES = ("circle", "square", "triangle", "star")
CATEGORY_COLOURS = {"circle": "red", "square": "blue", "triangle": "green"}  # as published

_FINE = 4  # subpixels a pixel, each way
_REFERENCE = 224  # the side that radii and centres are given for


def make_single_object(parameters: SingleObjectParameters, root: Path | None = None) -> Iterator[Sample]:
    """D1. Labels: `shape`, `colour`, `box` ([x0, y0, x1, y1] in 0..1)."""
    n_shapes, n_colours = (4, 8) if parameters.variant == "b" else (3, 6)
    for index in range(parameters.n):
        rng = np.random.default_rng([parameters.seed, index])
        shape = SHAPES[rng.integers(n_shapes)]
        colour = list(COLOURS)[rng.integers(n_colours)]
        if parameters.variant == "c":
            radius = rng.uniform(25, 60)
            centre = rng.uniform(radius + 10, _REFERENCE - radius - 10, size=2)
        else:
            radius = rng.uniform(30 if parameters.variant == "a" else 25, 50)
            centre = rng.uniform(60, 164, size=2)
        backdrop = (
            textured_background(rng, parameters.side)
            if parameters.background == "textured"
            else plain_background(rng, parameters.side)
        )
        pixels, box = _draw(backdrop, shape, COLOURS[colour], centre, radius)
        yield _sample(f"D1{parameters.variant}", parameters.seed, index, pixels, _labels(shape, colour, box))


def make_categories(parameters: CategoriesParameters, root: Path | None = None) -> Iterator[Sample]:
    """D2. Labels: `category` (which is the shape), `shape`, `colour`, `box` (of the part inside the picture)."""
    for index in range(parameters.n):
        rng = np.random.default_rng([parameters.seed, index])
        category = list(CATEGORY_COLOURS)[rng.integers(len(CATEGORY_COLOURS))]
        any_colour = list(CATEGORY_COLOURS.values())[rng.integers(len(CATEGORY_COLOURS))]
        colour = CATEGORY_COLOURS[category] if parameters.colour == "by_category" else any_colour
        centre = rng.uniform(50, 174, size=2)
        radius = rng.uniform(30, 60)
        pixels, box = _draw(plain_background(rng, parameters.side), category, COLOURS[colour], centre, radius)
        yield _sample("D2", parameters.seed, index, pixels, {**_labels(category, colour, box), "category": category})


def textured_background(rng: np.random.Generator, side: int) -> np.ndarray:
    """A muted backdrop, uint8 [side, side, 3]: smooth random colour, and grain at three scales over it.

    Its channels differ by some 60 at most where those of a coloured object differ by 255: the object stands out.
    """
    base = rng.uniform(80, 190) + rng.uniform(-24, 24, size=(3, 3, 3))
    backdrop = enlarge(base, side)
    for cells, amplitude in ((7, 16), (28, 14), (56, 10)):
        backdrop += enlarge(rng.uniform(-amplitude, amplitude, size=(cells, cells, 1)), side)
    return np.clip(np.rint(backdrop), 0, 255).astype(np.uint8)


def shape_mask(shape: str, centre: np.ndarray, radius: float, side: int) -> tuple[np.ndarray, list[float]]:
    """How much of each pixel a shape covers, float [side, side] in 0..1, and its box [x0, y0, x1, y1] in 0..1.

    `centre` (x, y) and `radius` are in 224ths of the side. What lies outside the picture is cut off.
    """
    fine = side * _FINE
    x, y, r = (value * fine / _REFERENCE for value in (*centre, radius))
    grid = np.arange(fine) + 0.5  # the middle of each subpixel
    if shape == "circle":
        inside = (grid[None, :] - x) ** 2 + (grid[:, None] - y) ** 2 <= r**2
    else:
        inside = _inside_polygon(np.array([x, y]) + r * _corners(shape), grid)
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    box = [columns[0] / fine, rows[0] / fine, (columns[-1] + 1) / fine, (rows[-1] + 1) / fine]
    covered = inside.reshape(side, _FINE, fine).sum(axis=1, dtype=np.uint8).reshape(side, side, _FINE).sum(axis=2)
    return covered.astype(np.float32) / _FINE**2, [float(edge) for edge in box]


def _inside_polygon(corners: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Which points of grid x grid lie inside, by the even-odd rule: bool [rows, columns]."""
    inside = np.zeros((len(grid), len(grid)), dtype=bool)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        rows = np.flatnonzero((y1 > grid) != (y2 > grid))
        crossing = x1 + (grid[rows] - y1) * (x2 - x1) / (y2 - y1)
        inside[rows] ^= grid[None, :] < crossing[:, None]
    return inside


def _corners(shape: str) -> np.ndarray:
    """Corners (x, y) for radius 1, y pointing down, as in the published generators."""
    if shape == "square":
        return np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], dtype=float)
    if shape == "triangle":
        return np.array([(0, -1), (1, 1), (-1, 1)], dtype=float)
    if shape == "star":
        angles = np.pi / 2 + np.arange(10) * np.pi / 5
        radii = np.where(np.arange(10) % 2 == 0, 1.0, 0.5)
        return np.stack([radii * np.cos(angles), -radii * np.sin(angles)], axis=1)
    raise ValueError(f"there is no shape {shape!r}; the shapes are {', '.join(SHAPES)}")


def _draw(
    backdrop: np.ndarray, shape: str, colour: tuple[int, int, int], centre: np.ndarray, radius: float
) -> tuple[np.ndarray, list[float]]:
    coverage, box = shape_mask(shape, centre, radius, len(backdrop))
    return paint(backdrop, coverage, colour), box


def paint(backdrop: np.ndarray, coverage: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """uint8 [side, side, 3]: one colour over the backdrop, as much of it as `coverage` (0..1) says."""
    blended = backdrop + coverage[:, :, None] * (np.array(colour, dtype=np.float32) - backdrop)
    return np.rint(blended).astype(np.uint8)


def plain_background(rng: np.random.Generator, side: int) -> np.ndarray:
    """White, uint8 [side, side, 3], in the place of `textured_background`; nothing of it is random."""
    return np.full((side, side, 3), 255, dtype=np.uint8)


def enlarge(grid: np.ndarray, side: int) -> np.ndarray:
    """[h, w, C] to float64 [side, side, C], bicubic."""
    channels = [
        np.asarray(Image.fromarray(grid[:, :, c].astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC))
        for c in range(grid.shape[2])
    ]
    return np.stack(channels, axis=2).astype(np.float64)


def _labels(shape: str, colour: str, box: list[float]) -> dict[str, Label]:
    return {"shape": shape, "colour": colour, "box": box}


def _sample(drawing: str, seed: int, index: int, pixels: np.ndarray, labels: dict[str, Label]) -> Sample:
    name = f"{drawing}-seed{seed}-{index:06d}"
    source = Source(
        origin=f"drawn, {drawing}, seed {seed}, item {index}",
        licence="none needed: generated",
        stand_in_training=seed >= STAND_IN_SEEDS_FROM,
    )
    return Sample(name, name, source, pixels, labels)
