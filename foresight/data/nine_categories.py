"""Drawn pictures of nine categories: D3 of research-program.md section 5.

Five coloured shapes on white, stripes that lie and stripes that stand, and gradients along a line and out of a spot.
Whatever does not make the category is drawn by the item's own generator: place and size of a shape; colours, angle,
period and phase of stripes and gradients. (In the published set gradients ignored the seed, and a fifth of the
pictures were exact copies of others.)

Smooth pictures of few parameters still come near each other by chance. So no two items may be near-duplicates, by the
check that splits are held against: the later of two is drawn again, until there are none. Item i depends on the items
before it and on nothing else, so a larger set contains the smaller one.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from foresight.data.duplicates import near_duplicates_within
from foresight.data.manifest import Source
from foresight.data.recipes import STAND_IN_SEEDS_FROM, NineCategoriesParameters, Sample
from foresight.data.synthetic import COLOURS, shape_mask
from foresight.errors import UserError

SHAPES = {
    "red circle": ("circle", "red"),
    "blue square": ("square", "blue"),
    "green triangle": ("triangle", "green"),
    "orange star": ("star", "orange"),
    "cyan circle": ("circle", "cyan"),
}
CATEGORIES = (*SHAPES, "lying stripes", "standing stripes", "linear gradient", "radial gradient")

_REFERENCE = 224  # the side that radii, periods and places are given for
_ATTEMPTS = 50  # at one item; a set so large that this is not enough has no room left


def make(parameters: NineCategoriesParameters, root: Path | None = None) -> Iterator[Sample]:
    """Label: `category`. Every item is its own source. Raises `UserError` if there is no room for `n` pictures."""
    attempt = np.zeros(parameters.n, dtype=int)
    images = np.stack([_draw(parameters, index, 0) for index in range(parameters.n)])
    while copies := {max(match.first, match.second) for match in near_duplicates_within(images)}:
        for index in copies:
            attempt[index] += 1
            images[index] = _draw(parameters, index, attempt[index])
        if attempt.max() > _ATTEMPTS:
            raise UserError(
                f"{parameters.n} pictures of nine categories cannot be drawn without near-duplicates: "
                f"item {attempt.argmax()} was one {_ATTEMPTS} times. Ask for fewer."
            )
    for index, pixels in enumerate(images):
        name = f"D3-seed{parameters.seed}-{index:06d}"
        source = Source(
            origin=f"drawn, D3, seed {parameters.seed}, item {index}",
            licence="none needed: generated",
            stand_in_training=parameters.seed >= STAND_IN_SEEDS_FROM,
        )
        yield Sample(name, name, source, pixels, {"category": CATEGORIES[index % len(CATEGORIES)]})


def _draw(parameters: NineCategoriesParameters, index: int, attempt: int) -> np.ndarray:
    """Item `index`, uint8 [S, S, 3]."""
    rng = np.random.default_rng([parameters.seed, index, attempt])
    category = CATEGORIES[index % len(CATEGORIES)]
    if category in SHAPES:
        picture = _shape(rng, parameters.side, *SHAPES[category])
    else:
        picture = _PATTERNS[category](rng, parameters.side)
    return np.rint(picture).astype(np.uint8)


def _shape(rng: np.random.Generator, side: int, shape: str, colour: str) -> np.ndarray:
    radius = rng.uniform(25, 60)
    covered, _ = shape_mask(shape, rng.uniform(radius + 5, _REFERENCE - radius - 5, size=2), radius, side)
    return 255 + covered[:, :, None] * (np.array(COLOURS[colour], dtype=np.float64) - 255)


def _stripes(rng: np.random.Generator, side: int, across: float) -> np.ndarray:
    """Stripes that change along the direction `across` (radians, give or take 35 degrees)."""
    along = _project(side, across + rng.uniform(-35, 35) * np.pi / 180)
    period, phase, share = rng.uniform(18, 90), rng.uniform(), rng.uniform(0.25, 0.75)
    edge = side / _REFERENCE * period  # a period in pixels: edges are one pixel soft
    ramp = (along / period + phase) % 1
    one = np.clip(np.minimum(ramp, share - ramp) * edge + 0.5, 0, 1)
    one = np.maximum(one, np.clip((ramp - 1) * edge + 0.5, 0, 1))  # the soft edge before the next period
    return _blend(one, *_two_colours(rng))


def _linear_gradient(rng: np.random.Generator, side: int) -> np.ndarray:
    along = _project(side, rng.uniform(0, 2 * np.pi))
    return _wave(rng, along, period=rng.uniform(300, 900))


def _radial_gradient(rng: np.random.Generator, side: int) -> np.ndarray:
    y, x = _grid(side)
    angle, flatness = rng.uniform(0, np.pi), rng.uniform(1, 2.5)
    x, y = x - rng.uniform(20, _REFERENCE - 20), y - rng.uniform(20, _REFERENCE - 20)
    long, short = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return _wave(rng, np.hypot(long, flatness * short), period=rng.uniform(250, 800))


def _wave(rng: np.random.Generator, distance: np.ndarray, period: float) -> np.ndarray:
    """From one colour to the other and back, smoothly."""
    turn = 0.5 - 0.5 * np.cos(2 * np.pi * (distance / period + rng.uniform()))
    return _blend(turn, *_two_colours(rng))


def _two_colours(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """RGB 0..255: a light one and a dark one of hues of their own, in either order."""
    pair = [
        255 * np.array(colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.3, 1.0), rng.uniform(*value)))
        for value in ((0.75, 1.0), (0.15, 0.55))
    ]
    order = rng.permutation(2)
    return pair[order[0]], pair[order[1]]


def _blend(part: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return part[:, :, None] * one + (1 - part[:, :, None]) * other


def _project(side: int, angle: float) -> np.ndarray:
    """[side, side]: how far each pixel lies along a direction, in 224ths of the side."""
    y, x = _grid(side)
    return x * np.cos(angle) + y * np.sin(angle)


def _grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    places = (np.arange(side) + 0.5) * _REFERENCE / side
    return places[:, None], places[None, :]


_PATTERNS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "lying stripes": lambda rng, side: _stripes(rng, side, np.pi / 2),
    "standing stripes": lambda rng, side: _stripes(rng, side, 0.0),
    "linear gradient": _linear_gradient,
    "radial gradient": _radial_gradient,
}
