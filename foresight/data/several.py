"""Drawn pictures with several objects (D4 and D5): the recipe `several_objects`.

Item i has a generator of its own, as in `synthetic`. Number, shape, colour and side are drawn independently, then
places until no two boxes touch; where that fails the whole picture is drawn anew, so that no object is ever hidden or
left out, and what a box covers is exactly its object. So in a crowded picture objects are smaller on average.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from foresight.data.manifest import Source
from foresight.data.recipes import STAND_IN_SEEDS_FROM, Sample, SeveralObjectsParameters
from foresight.data.synthetic import COLOURS, paint, plain_background, shape_mask, textured_background

SHAPES = ("circle", "square", "triangle")
FREE_COLOURS = ("red", "green", "blue", "yellow", "magenta", "cyan")
CLASS_COLOURS = ("red", "green", "blue", "yellow")

_REFERENCE = 448  # the side that sides of objects are given for
_BORDER, _GAP = 4.0, 6.0  # least distance from the border and between boxes, of _REFERENCE
_TRIES = 40  # places tried an object before the picture is drawn anew


def make(parameters: SeveralObjectsParameters, root: Path | None = None) -> Iterator[Sample]:
    """Labels: those of `objects`, and `colours`. Ids of categories count from 1, by shape and then by colour."""
    for index in range(parameters.n):
        rng = np.random.default_rng([parameters.seed, index])
        draw = textured_background if parameters.background == "textured" else plain_background
        pixels = draw(rng, parameters.side)
        boxes, areas, names, ids, colours = [], [], [], [], []
        for x, y, side in _arrangement(rng, parameters):
            shape = int(rng.integers(len(SHAPES)))
            by_class = parameters.classes == "shape_and_colour"
            colour = int(rng.integers(len(CLASS_COLOURS) if by_class else len(FREE_COLOURS)))
            name = FREE_COLOURS[colour]
            centre = np.array([x + side / 2, y + side / 2]) / 2  # shapes are given in 224ths
            coverage, box = shape_mask(SHAPES[shape], centre, side / 4, parameters.side)
            pixels = paint(pixels, coverage, COLOURS[name])
            boxes.append(box)
            areas.append(float(coverage.mean(dtype=np.float64)))
            colours.append(name)
            names.append(f"{name} {SHAPES[shape]}" if by_class else SHAPES[shape])
            ids.append(1 + shape * len(CLASS_COLOURS) + colour if by_class else 1 + shape)
        drawing = "D5" if parameters.classes == "shape_and_colour" else "D4"
        name = f"{drawing}-seed{parameters.seed}-{index:06d}"
        yield Sample(
            name,
            name,
            Source(
                origin=f"drawn, {drawing}, seed {parameters.seed}, item {index}",
                licence="none needed: generated",
                stand_in_training=parameters.seed >= STAND_IN_SEEDS_FROM,
            ),
            pixels,
            {
                "boxes": boxes,
                "categories": names,
                "category_ids": ids,
                "areas": areas,
                "colours": colours,
                "frame_px": float(parameters.side),
            },
        )


def _arrangement(rng: np.random.Generator, parameters: SeveralObjectsParameters) -> list[tuple[float, float, float]]:
    """(left, top, side) of each object, in 448ths, no two nearer than the gap."""
    count = int(rng.integers(1, parameters.most + 1))
    while True:
        placed: list[tuple[float, float, float]] = []
        for side in rng.uniform(parameters.shortest, parameters.longest, size=count):
            for _ in range(_TRIES):
                x, y = rng.uniform(_BORDER, _REFERENCE - side - _BORDER, size=2)
                if all(_apart((x, y, side), other) for other in placed):
                    placed.append((float(x), float(y), float(side)))
                    break
        if len(placed) == count:
            return placed


def _apart(a: tuple[float, float, float], b: tuple[float, float, float]) -> bool:
    between = [max(b[axis] - a[axis] - a[2], a[axis] - b[axis] - b[2]) for axis in (0, 1)]
    return max(between) >= _GAP
