"""Pictures that are all fine detail (D6): the recipe `textures`.

One of five textures is the ground and another fills a patch (disc, square or triangle) whose box is known, so that
edges, textures and places can be scored on one picture. Period, direction, colours and a smooth warp of its own are
drawn for each: two items of one texture are never shifted copies of each other, which plain stripes of near periods
would be. Edges of a texture are ramps one pixel wide, so it is antialiased at every side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from foresight.data.manifest import Source
from foresight.data.recipes import STAND_IN_SEEDS_FROM, Sample, TexturesParameters
from foresight.data.synthetic import enlarge, shape_mask

_PATCHES = ("circle", "square", "triangle")
_COARSEST = 4.0  # periods across a picture at least
_WARP = 0.08  # of the side: how far a warp moves a place at most
_CONTRAST = 90  # between the two colours of a texture, of 255, at least
_RADIUS = (40.0, 65.0)  # of the patch, of 224


def make(parameters: TexturesParameters, root: Path | None = None) -> Iterator[Sample]:
    """Labels: those of `objects` for the one patch (its category is its texture), and `texture` of the ground."""
    names = list(TEXTURES)
    for index in range(parameters.n):
        rng = np.random.default_rng([parameters.seed, index])
        ground, other = (int(number) for number in rng.permutation(len(names))[:2])
        pixels = draw(names[ground], rng, parameters.side, parameters.finest)
        radius = rng.uniform(*_RADIUS)
        centre = rng.uniform(radius + 10, 214 - radius, size=2)
        coverage, box = shape_mask(_PATCHES[rng.integers(len(_PATCHES))], centre, radius, parameters.side)
        filling = draw(names[other], rng, parameters.side, parameters.finest)
        pixels = pixels + coverage[:, :, None] * (filling - pixels)
        name = f"D6-seed{parameters.seed}-{index:06d}"
        yield Sample(
            name,
            name,
            Source(
                origin=f"drawn, D6, seed {parameters.seed}, item {index}",
                licence="none needed: generated",
                stand_in_training=parameters.seed >= STAND_IN_SEEDS_FROM,
            ),
            np.clip(np.rint(pixels), 0, 255).astype(np.uint8),
            {
                "texture": names[ground],
                "boxes": [box],
                "categories": [names[other]],
                "category_ids": [other + 1],
                "areas": [float(coverage.mean(dtype=np.float64))],
                "frame_px": float(parameters.side),
            },
        )


def draw(texture: str, rng: np.random.Generator, side: int, finest: float) -> np.ndarray:
    """One texture, float [side, side, 3] in 0..255."""
    periods = np.exp(rng.uniform(np.log(_COARSEST), np.log(finest)))
    u, v = _coordinates(rng, side)
    wave = TEXTURES[texture](u, v, periods, rng)
    steepness = np.hypot(*np.gradient(wave))
    ink = np.clip(0.5 + wave / np.maximum(steepness, 1e-3), 0, 1)[:, :, None]
    dark, light = _colours(rng)
    shade = enlarge(rng.uniform(-14, 14, size=(3, 3, 3)), side)  # no two places have quite one colour
    return ink * light + (1 - ink) * dark + shade


def _coordinates(rng: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Two coordinates over the picture [side, side], in sides: rotated, shifted and smoothly warped."""
    grid = (np.arange(side) + 0.5) / side - 0.5
    x, y = np.meshgrid(grid, grid)
    warp = enlarge(rng.uniform(-_WARP, _WARP, size=(4, 4, 2)), side)
    angle, shift = rng.uniform(0, 2 * np.pi), rng.uniform(0, 1, size=2)
    u = np.cos(angle) * x + np.sin(angle) * y + warp[:, :, 0]
    v = -np.sin(angle) * x + np.cos(angle) * y + warp[:, :, 1]
    return u + shift[0], v + shift[1]


def _colours(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two colours whose brightness differs enough to make an edge."""
    while True:
        dark, light = rng.uniform(15, 240, size=(2, 3))
        if (light - dark) @ np.array([0.299, 0.587, 0.114]) >= _CONTRAST:
            return dark, light


def _stripes(u: np.ndarray, v: np.ndarray, periods: float, rng: np.random.Generator) -> np.ndarray:
    return np.sin(2 * np.pi * periods * u)


def _checks(u: np.ndarray, v: np.ndarray, periods: float, rng: np.random.Generator) -> np.ndarray:
    return np.sin(2 * np.pi * periods * u / 1.5) * np.sin(2 * np.pi * periods * v / 1.5)


def _dots(u: np.ndarray, v: np.ndarray, periods: float, rng: np.random.Generator) -> np.ndarray:
    return np.cos(2 * np.pi * periods * u / 1.2) + np.cos(2 * np.pi * periods * v / 1.2) - rng.uniform(0.3, 1.0)


def _rings(u: np.ndarray, v: np.ndarray, periods: float, rng: np.random.Generator) -> np.ndarray:
    middle = rng.uniform(-0.2, 1.2, size=2)
    return np.sin(2 * np.pi * periods * np.hypot(u - middle[0], v - middle[1]))


def _grain(u: np.ndarray, v: np.ndarray, periods: float, rng: np.random.Generator) -> np.ndarray:
    cells = max(4, int(1.5 * periods))
    return enlarge(rng.standard_normal((cells, cells, 1)), len(u))[:, :, 0]


#: A wave over the picture whose sign is the pattern.
TEXTURES: dict[str, Callable[[np.ndarray, np.ndarray, float, np.random.Generator], np.ndarray]] = {
    "stripes": _stripes,
    "checks": _checks,
    "dots": _dots,
    "rings": _rings,
    "grain": _grain,
}
