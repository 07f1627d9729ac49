"""Crops of the packaged photographs and clips: the recipe `photographs`.

Each source gives up to `per_source` square windows, scaled to one side. Crop k of a source depends on (seed, source,
k) and the crops before it only, so that a larger `per_source` adds crops and changes none. A window is rejected if it
is nearly constant, or overlaps an earlier one too much; a small source therefore gives fewer crops than asked. That
costs no power: n is the number of sources. Frames of a clip are taken spread over its time.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from foresight.data.clips import CLIPS, Clip
from foresight.data.manifest import Source
from foresight.data.photographs import PHOTOGRAPHS, Photograph
from foresight.data.recipes import Label, PhotographsParameters, Sample

logger = logging.getLogger(__name__)

_WINDOW = (0.4, 0.65)  # side of a window over the short side of the picture
_LEAST_DETAIL = 8.0  # standard deviation of grey about its slope, of 255, below which a crop is nearly constant
_MOST_OVERLAP = 0.3  # intersection over union with any earlier window
_CANDIDATES = 64  # windows tried a crop


@dataclass(frozen=True)
class Window:
    """A square in a picture, in its pixels."""

    x: int
    y: int
    side: int

    def overlap(self, other: Window) -> float:
        """Intersection over union."""
        width = min(self.x + self.side, other.x + other.side) - max(self.x, other.x)
        height = min(self.y + self.side, other.y + other.side) - max(self.y, other.y)
        shared = max(width, 0) * max(height, 0)
        return shared / (self.side**2 + other.side**2 - shared)

    def cut(self, picture: np.ndarray, side: int) -> np.ndarray:
        """The window of uint8 [H, W, 3], scaled to [side, side, 3]."""
        cut = Image.fromarray(picture[self.y : self.y + self.side, self.x : self.x + self.side])
        return np.asarray(cut.resize((side, side), Image.Resampling.LANCZOS))


def make(parameters: PhotographsParameters, root: Path | None = None) -> Iterator[Sample]:
    """Crops of every packaged source. Labels: `source`, `frame` (0 for a photograph), `kind`."""
    for photograph in PHOTOGRAPHS:
        yield from _crops(photograph, "photograph", [(0, photograph.load())], parameters)
    for clip in CLIPS:
        numbers = spread(clip.n_frames, parameters.per_source)
        frames = list(zip(numbers, clip.frames(numbers), strict=True))
        yield from _crops(clip, "clip", frames, parameters)


def spread(n_frames: int, count: int) -> list[int]:
    """`count` frame numbers spread over a clip, the first ones the farthest apart: 0, 1/2, 1/4, 3/4, 1/8, … of it.

    The base-2 van der Corput sequence, so that asking for more adds frames between those already there.
    """
    return [int(n_frames * int(f"{k:b}"[::-1], 2) / 2 ** len(f"{k:b}")) for k in range(count)]


def _crops(
    entry: Photograph | Clip, kind: str, frames: list[tuple[int, np.ndarray]], parameters: PhotographsParameters
) -> Iterator[Sample]:
    source = Source(origin=entry.origin, licence=entry.licence, stand_in_training=entry.stand_in_training)
    chosen: list[Window] = []
    for k in range(parameters.per_source):
        number, picture = frames[k % len(frames)]
        rng = np.random.default_rng([parameters.seed, zlib.crc32(entry.id.encode()), k])
        earlier = chosen if kind == "photograph" else []  # other frames are other pictures
        window = _best_window(picture, earlier, parameters.side, rng)
        if window is None:
            logger.info("%s gives %d crops of the %d asked", entry.id, k, parameters.per_source)
            return
        chosen.append(window)
        labels: dict[str, Label] = {"source": entry.id, "frame": number, "kind": kind}
        yield Sample(f"{entry.id}-{k:02d}", entry.id, source, window.cut(picture, parameters.side), labels)


def _best_window(picture: np.ndarray, earlier: list[Window], side: int, rng: np.random.Generator) -> Window | None:
    """Of some random windows with detail, the one that overlaps `earlier` least; None if all overlap too much."""
    height, width = picture.shape[:2]
    short = min(height, width)
    # Enlarging a window more than 1.6 times would show blur; a picture that is itself too small is enlarged anyway.
    smallest = min(max(_WINDOW[0] * short, side / 1.6), 0.75 * short)
    largest = max(_WINDOW[1] * short, smallest)
    best: Window | None = None
    least = _MOST_OVERLAP
    for _ in range(_CANDIDATES):
        length = int(rng.uniform(smallest, largest))
        window = Window(int(rng.integers(width - length + 1)), int(rng.integers(height - length + 1)), length)
        overlap = max((window.overlap(other) for other in earlier), default=0.0)
        if overlap <= least and _has_detail(window, picture):
            best, least = window, overlap
            if overlap == 0.0:
                break
    return best


def _has_detail(window: Window, picture: np.ndarray) -> bool:
    """Whether more is in it than a flat tone or a smooth slope of tone."""
    grey = window.cut(picture, 32).mean(axis=2)
    grid = np.linspace(-1, 1, 32)
    grey = grey - grey.mean()
    for slope in np.meshgrid(grid, grid):
        grey = grey - slope * (grey * slope).sum() / (slope**2).sum()
    return float(grey.std()) >= _LEAST_DETAIL
