"""R1: Something-Something v2, frames at a fixed rate.

The clip is the source. Its official split is a label, which `splits.split_by_source` respects: official validation
clips are test, official train clips are train and validation. (The official test set has no labels.)

Expected layout, as the owner distributes it: `20bn-something-something-v2/<id>.webm` and `labels/train.json`,
`labels/validation.json`, `labels/labels.json` (older downloads: `something-something-v2-train.json` and so on).
The owner gives the data to people who accepted a licence, so that must be on file: `licence-accepted.txt`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from foresight.data.manifest import Source
from foresight.data.motion import views
from foresight.data.raw import RawDataset, order
from foresight.data.recipes import FPS, OFFICIAL_SPLIT, Label, Sample, SSv2FramesParameters, SSv2MotionParameters
from foresight.errors import UserError

SSV2 = RawDataset(
    name="Something-Something v2",
    url="https://www.qualcomm.com/developer/software/something-something-v-2-dataset",
    layout="the folders 20bn-something-something-v2 (the clips) and labels (train.json, validation.json, labels.json)",
)
ACCEPTED = "licence-accepted.txt"

_LABEL_FILES = ("labels/{}.json", "something-something-v2-{}.json", "labels/something-something-v2-{}.json")
_CLIP_FOLDERS = ("20bn-something-something-v2", "videos")


DIRECTIONS: Mapping[str, str] = {
    "Pushing something from left to right": "right",
    "Pulling something from left to right": "right",
    "Pushing something from right to left": "left",
    "Pulling something from right to left": "left",
}
"""The templates whose text says which way things go."""


@dataclass(frozen=True)
class _Clip:
    """A clip as it was sampled, with what the official files say of it."""

    id: str
    source: Source
    frames: np.ndarray
    labels: dict[str, Label]


def make(parameters: SSv2FramesParameters, root: Path | None) -> Iterator[Sample]:
    """`n` clips, the official train ones first. Pixels uint8 [T, S, S, 3], or [S, S, 3] with `frames=1`.

    Labels: `official_split`, `template`, `class_id`, `text`, `start_s` (of the first frame); of clips `fps`. A clip
    that is too short for `frames` at `fps` is left out. Raises `UserError` if the licence was not accepted, files are
    missing, or fewer than `n` clips are long enough.
    """
    for part, n in _parts(parameters.n, parameters.validation_fraction).items():
        for clip in _clips(root, part, n, None, parameters):
            pixels, labels = clip.frames, clip.labels
            if parameters.frames == 1:
                pixels, labels = pixels[0], {name: value for name, value in labels.items() if name != FPS}
            yield Sample(f"ssv2-{clip.id}", clip.id, clip.source, pixels, labels)


def make_motion(parameters: SSv2MotionParameters, root: Path | None) -> Iterator[Sample]:
    """`n` clips, in every official split as many to the left as to the right, each in its three `motion.views`.

    Labels: those of `make`, `direction` (as it is seen) and `order`. Raises as `make` does.
    """
    for part, n in _parts(parameters.n, parameters.validation_fraction).items():
        for k, direction in enumerate(("left", "right")):
            for clip in _clips(root, part, (n + k) // 2, direction, parameters):
                yield from views(f"ssv2-{clip.id}", clip.id, clip.source, clip.frames, direction, clip.labels)


def _parts(n: int, validation_fraction: float) -> dict[str, int]:
    """Clips of each official split."""
    n_validation = min(max(round(validation_fraction * n), 1), n - 1)
    return {"train": n - n_validation, "validation": n_validation}


def _clips(
    root: Path | None, part: str, n: int, direction: str | None, parameters: SSv2FramesParameters | SSv2MotionParameters
) -> Iterator[_Clip]:
    """`n` clips of an official split; only those whose template says `direction`, if one is given."""
    entries = {str(entry["id"]): entry for entry in _read(root, part)}
    classes = _read(root, "labels")
    folder = SSV2.require(root, _CLIP_FOLDERS, "the folder of clips")
    _require_licence(folder.parent)
    if direction is not None:
        entries = {id: entry for id, entry in entries.items() if DIRECTIONS.get(_template(entry)) == direction}
    made = 0
    for clip_id in order(entries.keys() - set(parameters.exclude), parameters.seed):
        if made == n:
            return
        path = SSV2.require(folder, (f"{clip_id}.webm", f"{clip_id}.mp4"), "a clip that the labels list")
        sampled = sample_frames(path, parameters.frames, parameters.fps)
        if sampled is None:
            continue
        frames, start_s = sampled
        yield _Clip(
            clip_id,
            Source(origin=f"{SSV2.name}, {path.name}", licence="Something-Something v2 licence, research only"),
            np.stack([_centre_square(frame, parameters.side) for frame in frames]),
            {
                **_labels(entries[clip_id], classes),
                OFFICIAL_SPLIT: part,
                "start_s": start_s,
                FPS: parameters.fps,
            },
        )
        made += 1
    if made < n:
        going = f" that go {direction}" if direction else ""
        raise SSV2.too_few(n, made, folder, f"official {part} clips{going} that are long enough")


def sample_frames(path: Path, count: int, fps: float) -> tuple[list[np.ndarray], float] | None:
    """`count` frames at `fps` from the middle of a clip, and the time of the first in s; None if it is too short.

    For each moment the frame nearest in time is taken, so that the rate holds whatever the file's own rate is.
    """
    with av.open(str(path)) as container:
        decoded = [(float(frame.time or 0.0), frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    times = np.array([time for time, _ in decoded])
    span = (count - 1) / fps
    spare = times[-1] - times[0] - span
    if spare < -0.5 / fps:
        return None
    start = times[0] + max(spare, 0.0) / 2
    chosen = [int(np.abs(times - (start + k / fps)).argmin()) for k in range(count)]
    return [decoded[index][1] for index in chosen], float(times[chosen[0]])


def _read(root: Path | None, part: str) -> Any:
    path = SSV2.require(root, [name.format(part) for name in _LABEL_FILES], f"the official {part} file")
    return json.loads(path.read_text())


def _require_licence(root: Path) -> None:
    accepted = root / ACCEPTED
    if not accepted.is_file() or not accepted.read_text().strip():
        raise UserError(
            f"{SSV2.name} may be used only under its licence, and {accepted} does not say that anyone accepted it. "
            f"Read it at {SSV2.url}; if you accept it, write your name and the date into that file, then run "
            "`foresight datasets prepare NAME --from FOLDER` again."
        )


def _labels(entry: Mapping[str, Any], class_ids: Mapping[str, str]) -> dict[str, Label]:
    template = _template(entry)
    return {"template": template, "class_id": int(class_ids[template]), "text": entry["label"]}


def _template(entry: Mapping[str, Any]) -> str:
    return entry["template"].replace("[", "").replace("]", "")


def _centre_square(frame: np.ndarray, side: int) -> np.ndarray:
    height, width = frame.shape[:2]
    short = min(height, width)
    left, top = (width - short) / 2, (height - short) / 2
    image = Image.fromarray(frame).resize(
        (side, side), Image.Resampling.LANCZOS, (left, top, left + short, top + short)
    )
    return np.asarray(image)
