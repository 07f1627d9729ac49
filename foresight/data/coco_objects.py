"""R2: COCO val2017, whole images with all their objects (Q2 in `real`).

An image is scaled so that its longer side fills the square and set in its middle, on grey: nothing is cut off and
nothing is stretched. Boxes are mapped with it. Categories keep COCO's own ids, which go to 90 and have gaps. A crowd
(`iscrowd`) stays among the labels and is marked: COCO neither asks for it nor holds a detection inside it against
anyone. Sizes count in the original's pixels (`frame_px`), as COCO's do. The image is the source.

Files and layout are those of `coco`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from foresight.data.coco import COCO, read_instances, source_of
from foresight.data.raw import order
from foresight.data.recipes import CocoObjectsParameters, Sample

_GREY = (128, 128, 128)
_LEAST_PX = 1.0  # of the original: some annotations are thinner than a pixel


def make(parameters: CocoObjectsParameters, root: Path | None) -> Iterator[Sample]:
    """Labels: those of `objects`, and `image_id`.

    Raises `UserError` if files are missing or fewer than `n` images fit.
    """
    instances = read_instances(root)
    made = 0
    for image_id in order(instances.images.keys() - set(parameters.exclude), parameters.seed):
        if made == parameters.n:
            return
        image = instances.images[image_id]
        found = [a for a in instances.annotations[image["id"]] if min(a["bbox"][2:]) >= _LEAST_PX]
        if not _fits(found, max(image["width"], image["height"]), parameters):
            continue
        path = COCO.require(instances.folder, (image["file_name"],), "an image that the annotations list")
        with Image.open(path) as picture:
            pixels, place = letterbox(picture.convert("RGB"), parameters.side)
        size = (image["width"], image["height"])
        frame = float(max(image["width"], image["height"]))
        yield Sample(
            f"coco-{image_id}",
            image_id,
            source_of(image, instances),
            pixels,
            {
                "boxes": [_mapped(a["bbox"], place, size, parameters.side) for a in found],
                "categories": [instances.categories[a["category_id"]] for a in found],
                "category_ids": [int(a["category_id"]) for a in found],
                "areas": [float(a["area"]) / frame**2 for a in found],
                "crowd": [int(a.get("iscrowd", 0)) for a in found],
                "frame_px": frame,
                "image_id": image["id"],
            },
        )
        made += 1
    if made < parameters.n:
        raise COCO.too_few(parameters.n, made, instances.folder, "images whose objects are as the profile asks")


def letterbox(picture: Image.Image, side: int) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """The whole picture on a grey square, uint8 [side, side, 3], and where it lies: left, top, width, height in px."""
    longer = max(picture.size)
    width, height = (max(1, round(extent * side / longer)) for extent in picture.size)
    left, top = (side - width) // 2, (side - height) // 2
    canvas = Image.new("RGB", (side, side), _GREY)
    canvas.paste(picture.resize((width, height), Image.Resampling.LANCZOS), (left, top))
    return np.asarray(canvas), (left, top, width, height)


def _fits(annotations: Sequence[Mapping[str, Any]], longer: int, parameters: CocoObjectsParameters) -> bool:
    objects = [a for a in annotations if not a.get("iscrowd")]
    shortest = parameters.shortest / 448 * longer
    few = parameters.most is None or len(objects) <= parameters.most
    return bool(objects) and few and all(min(a["bbox"][2:]) >= shortest for a in objects)


def _mapped(bbox: Sequence[float], place: tuple[int, int, int, int], size: tuple[int, int], side: int) -> list[float]:
    """[x0, y0, x1, y1] in 0..1 of the square, of COCO's (x, y, width, height) in pixels of an image of `size`."""
    x, y, width, height = bbox
    across, down = ((place[axis], place[2 + axis] / size[axis]) for axis in (0, 1))
    edges = [across[0] + x * across[1], down[0] + y * down[1]]
    edges += [across[0] + (x + width) * across[1], down[0] + (y + height) * down[1]]
    return [float(np.clip(edge / side, 0, 1)) for edge in edges]
