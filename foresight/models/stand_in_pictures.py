"""What the stand-in models are trained on: the photographs and the clip set aside for it, and drawn pictures.

Nothing else may be added: everything here counts as train for ever. The photographs and the clip are those marked
`stand_in_training` in `foresight.data`; whatever is drawn has a seed from 1,000,000 on, which no data set may use for
validation or test.

Seven photographs are few. Colours are permuted and contrast varied, and "dead leaves" are added: discs of random
size, colour and shading that occlude each other, whose edges, sizes and correlations over distance are close to those
of natural pictures (Lee, Mumford & Huang 2001, Int. J. Computer Vision 41).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from foresight.data.clips import CLIPS, stand_in_clips
from foresight.data.photographs import PHOTOGRAPHS, stand_in_photographs
from foresight.data.recipes import STAND_IN_SEEDS_FROM, SingleObjectParameters
from foresight.data.synthetic import make_single_object

SOURCES: tuple[str, ...] = (
    *(photograph.id for photograph in PHOTOGRAPHS if photograph.stand_in_training),
    *(clip.id for clip in CLIPS if clip.stand_in_training),
)


def stills(n: int, side: int, seed: int) -> np.ndarray:
    """uint8 [n, side, side, 3]: half photographs, a quarter dead leaves, a quarter single shapes, in this order."""
    rng = np.random.default_rng([STAND_IN_SEEDS_FROM, seed])
    n_drawn = n // 4
    frames = [frame for clip in stand_in_clips().values() for frame in clip[:: len(clip) // 4]]
    pictures = [*stand_in_photographs(), *frames]
    crops = [_crop(pictures[rng.integers(len(pictures))], side, rng) for _ in range(n - 2 * n_drawn)]
    leaves = [dead_leaves(side, rng) for _ in range(n_drawn)]
    return np.stack([*crops, *leaves, *_shapes(n_drawn, side, seed)])


def moving(n: int, frames: int, side: int, seed: int) -> np.ndarray:
    """uint8 [n, frames, side, side, 3]: a third from the clip, two thirds pans over the stills' pictures."""
    rng = np.random.default_rng([STAND_IN_SEEDS_FROM, seed])
    clips = list(stand_in_clips().values())
    photographs = stand_in_photographs()
    result = []
    for index in range(n):
        if index % 3 == 0:
            clip = clips[rng.integers(len(clips))]
            start = rng.integers(len(clip) - frames + 1)
            result.append(_crop(clip[start : start + frames], side, rng))
        else:
            wide = (
                _crop(photographs[rng.integers(len(photographs))], side + 32, rng)
                if index % 3 == 1
                else dead_leaves(side + 32, rng)
            )
            result.append(_pan(wide, frames, side, rng))
    return np.stack(result)


def varied(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Float32 [..., 3] in -1..1 from uint8: flipped left-right, colours permuted, contrast and brightness varied."""
    values = pictures[..., rng.permutation(3)].astype(np.float32) / 127.5 - 1
    if rng.random() < 0.5:
        values = values[..., ::-1, :]
    contrast = rng.uniform(0.6, 1.0)
    offset = rng.uniform(-1, 1) * (1 - contrast)
    return np.ascontiguousarray(values * contrast + offset)


def dead_leaves(side: int, rng: np.random.Generator, leaves: int = 100) -> np.ndarray:
    """uint8 [side, side, 3]: discs in front of each other, radii with density r^-3, each with a slope of shade."""
    fine = 2 * side  # drawn twice as fine, then reduced: antialiased edges
    y, x = np.mgrid[0:fine, 0:fine].astype(np.float32) / fine
    image = np.broadcast_to(rng.uniform(0, 255, 3).astype(np.float32), (fine, fine, 3)).copy()
    smallest, largest = 0.03, 0.5  # of the side
    u = rng.random(leaves)
    radii = 1 / np.sqrt(1 / smallest**2 - u * (1 / smallest**2 - 1 / largest**2))
    for radius in sorted(radii, reverse=True):
        cx, cy = rng.uniform(-0.1, 1.1, 2)
        inside = (x - cx) ** 2 + (y - cy) ** 2 < radius**2
        slope = rng.normal(0, 60, 2)
        shade = slope[0] * (x[inside] - cx) + slope[1] * (y[inside] - cy)
        grey, colour = rng.uniform(0, 255), rng.uniform(0, 255, 3)
        image[inside] = grey + rng.random() * (colour - grey) + shade[:, None]
    pixels = np.clip(image, 0, 255).reshape(side, 2, side, 2, 3).mean(axis=(1, 3))
    return pixels.astype(np.uint8)


def _shapes(n: int, side: int, seed: int) -> list[np.ndarray]:
    """D1 pictures: all three variants, on white and on texture."""
    kinds = [(variant, ground) for ground in ("white", "textured") for variant in ("a", "b", "c")]
    result: list[np.ndarray] = []
    for index, (variant, background) in enumerate(kinds):
        count = n // len(kinds) + (index < n % len(kinds))
        if count == 0:
            continue
        parameters = SingleObjectParameters.model_validate(
            {
                "n": count,
                "side": side,
                "seed": STAND_IN_SEEDS_FROM + 10 * seed + index,
                "variant": variant,
                "background": background,
            }
        )
        result += [sample.pixels for sample in make_single_object(parameters)]
    return result


def _crop(picture: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """A random square of [H, W, 3], or one and the same square of every frame of [T, H, W, 3], scaled to `side`."""
    height, width = picture.shape[-3:-1]
    short = min(height, width)
    smallest = min(side, short)
    length = int(np.exp(rng.uniform(np.log(smallest), np.log(max(smallest, 0.7 * short)))))
    top, left = rng.integers(height - length + 1), rng.integers(width - length + 1)
    square = picture[..., top : top + length, left : left + length, :]
    return _resized(square, side) if square.ndim == 3 else np.stack([_resized(frame, side) for frame in square])


def _resized(square: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(np.ascontiguousarray(square)).resize((side, side), Image.Resampling.LANCZOS))


def _pan(wide: np.ndarray, frames: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """A window that glides over a still at 0 to 6 px a frame."""
    room = len(wide) - side
    start = rng.uniform(0, room, 2)
    speed = rng.uniform(-6, 6, 2)
    places: Sequence[np.ndarray] = [np.clip(start + speed * t, 0, room).astype(int) for t in range(frames)]
    return np.stack([wide[top : top + side, left : left + side] for top, left in places])
