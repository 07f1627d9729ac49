"""Clips in which something moves: D7 of research-program.md section 5, and the views that clips are shown in.

A clip is there three times, as three items of one source: forward, reversed, and frozen at its middle frame. The
reversed one shows the same frames and the opposite direction, so no single frame and no bag of frames can tell which
of the two it is; the frozen one is the control that shows what appearance alone tells.

In D7 the object is pushed and slows down, since a uniform motion has no arrow of time: reversed it is a uniform
motion the other way. What leaves on one side comes in on the other, since between walls the place would tell the
direction: who is near the right wall has come from the left. So every frame by itself is one and the same
distribution for all directions, speeds and orders.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from foresight.data.manifest import Source
from foresight.data.recipes import FPS, STAND_IN_SEEDS_FROM, Label, MotionParameters, Sample
from foresight.data.synthetic import COLOURS, SHAPES, shape_mask, textured_background

FORWARD, REVERSED, STILL = "forward", "reversed", "still"
ORDER = "order"
"""The label that tells an item's view: forward, reversed, or still."""

STEPS = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}  # x, y
OPPOSITE = {"right": "left", "left": "right", "up": "down", "down": "up"}
SPEEDS = {"slow": 12.0, "fast": 24.0}  # of the first step, in 224ths of the side a frame
FRICTION = 0.8  # what a frame leaves of the speed: of eight frames the last step is 0.26 of the first
_REFERENCE = 224


def views(
    name: str, source_id: str, source: Source, frames_THWC: np.ndarray, direction: str, labels: Mapping[str, Label]
) -> Iterator[Sample]:
    """A clip forward, reversed and frozen. Labels: `order`, `direction` (as it is seen; of a still the forward one)."""
    middle = np.repeat(frames_THWC[len(frames_THWC) // 2][None], len(frames_THWC), axis=0)
    for order, pixels, seen in (
        (FORWARD, frames_THWC, direction),
        (REVERSED, frames_THWC[::-1], OPPOSITE[direction]),
        (STILL, middle, direction),
    ):
        yield Sample(f"{name}-{order}", source_id, source, pixels, {**labels, "direction": seen, ORDER: order})


def make(parameters: MotionParameters, root: Path | None = None) -> Iterator[Sample]:
    """D7. Labels: `direction`, `speed`, `order`, `shape`, `colour`, `fps`. Size, place and colour are random."""
    side = parameters.side
    for index in range(parameters.n):
        rng = np.random.default_rng([parameters.seed, index])
        shape, colour = SHAPES[rng.integers(len(SHAPES))], list(COLOURS)[rng.integers(len(COLOURS))]
        direction, speed = list(STEPS)[rng.integers(len(STEPS))], list(SPEEDS)[rng.integers(len(SPEEDS))]
        radius, start = rng.uniform(20, 40), rng.uniform(0, _REFERENCE, size=2)
        lengths = SPEEDS[speed] * rng.uniform(0.85, 1.15) * FRICTION ** np.arange(parameters.frames - 1)
        travelled = np.concatenate([[0.0], np.cumsum(lengths)])
        if parameters.background == "textured":
            backdrop = textured_background(rng, side).astype(np.float32)
        else:
            backdrop = np.full((side, side, 3), 255, dtype=np.float32)
        frames = []
        for distance in travelled:
            coverage = _coverage(shape, start + distance * np.array(STEPS[direction]), radius, side)[:, :, None]
            frames.append(np.rint(backdrop + coverage * (np.array(COLOURS[colour], dtype=np.float32) - backdrop)))
        name = f"D7-seed{parameters.seed}-{index:06d}"
        source = Source(
            origin=f"drawn, D7, seed {parameters.seed}, clip {index}",
            licence="none needed: generated",
            stand_in_training=parameters.seed >= STAND_IN_SEEDS_FROM,
        )
        labels: dict[str, Label] = {"speed": speed, "shape": shape, "colour": colour, FPS: parameters.fps}
        yield from views(name, name, source, np.stack(frames).astype(np.uint8), direction, labels)


def _coverage(shape: str, centre: np.ndarray, radius: float, side: int) -> np.ndarray:
    """How much of each pixel a shape covers, [side, side], on a picture whose opposite edges are joined."""
    pixels = centre * side / _REFERENCE
    whole = np.floor(pixels).astype(int)
    at_middle = _REFERENCE / 2 + (pixels - whole) * _REFERENCE / side
    covered, _ = shape_mask(shape, at_middle, radius, side)
    return np.roll(covered, tuple((whole - side // 2)[::-1]), axis=(0, 1))
