"""R2: COCO val2017: its files, and one object an image (e1_4 in `real`); `coco_objects` has whole images.

A crop is a square window of the image with one annotated object wholly inside, at a random place and scale, and at
most a small part of any other object beside it. The image is the source. Its licence is that of the photograph on
Flickr, which the annotations name image by image.

Expected layout: `val2017/*.jpg` (or `images/*.jpg`) and `annotations/instances_val2017.json`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from foresight.data.manifest import Source
from foresight.data.raw import RawDataset, generator_seed, order
from foresight.data.recipes import CocoSingleObjectParameters, Sample

COCO = RawDataset(
    name="COCO val2017",
    url="https://cocodataset.org/#download",
    layout="the folder val2017 and annotations/instances_val2017.json",
)

_LEAST_SIDE = 32  # px: shorter objects are specks
_WINDOW = (1.2, 3.0)  # side of the window over the longer side of the object
_MOST_OTHER = 0.2  # area of other objects in the window, over that of the object
_TRIES = 20  # windows tried an object

Box = tuple[float, float, float, float]  # x, y, width, height, px, as COCO has them


@dataclass(frozen=True)
class Instances:
    """The annotations, and the folder of the images."""

    folder: Path
    images: Mapping[str, Mapping[str, Any]]  # by id
    annotations: Mapping[int, Sequence[Mapping[str, Any]]]  # by the image's id; none for an image without
    categories: Mapping[int, str]
    licences: Mapping[int, str]


def read_instances(root: Path | None) -> Instances:
    """Raises `UserError` if files are missing."""
    names = ("annotations/instances_val2017.json", "instances_val2017.json")
    content = json.loads(COCO.require(root, names, "the annotations").read_text())
    by_image: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for annotation in content["annotations"]:
        by_image[annotation["image_id"]].append(annotation)
    return Instances(
        folder=COCO.require(root, ("val2017", "images/val2017", "images"), "the images"),
        images={str(image["id"]): image for image in content["images"]},
        annotations=by_image,
        categories={category["id"]: category["name"] for category in content["categories"]},
        licences={one["id"]: f"{one['name']} ({one['url']})" for one in content.get("licenses", [])},
    )


def source_of(image: Mapping[str, Any], instances: Instances) -> Source:
    """An image as a source, with the licence of its photograph."""
    licence = instances.licences.get(image.get("license", -1), "not stated")
    return Source(origin=f"COCO val2017, {image['file_name']}", licence=licence)


def make(parameters: CocoSingleObjectParameters, root: Path | None) -> Iterator[Sample]:
    """One crop an image. Labels: `category`, `box` ([x0, y0, x1, y1] in 0..1 of the crop), `image_id`.

    Raises `UserError` if files are missing or fewer than `n` images have an object that can stand alone.
    """
    instances = read_instances(root)
    made = 0
    for image_id in order(instances.images.keys() - set(parameters.exclude), parameters.seed):
        if made == parameters.n:
            return
        image = instances.images[image_id]
        rng = np.random.default_rng(generator_seed(image_id, parameters.seed))
        chosen = _choose(instances.annotations[image["id"]], image["width"], image["height"], rng)
        if chosen is None:
            continue
        annotation, (left, top, side) = chosen
        path = COCO.require(instances.folder, (image["file_name"],), "an image that the annotations list")
        with Image.open(path) as picture:
            crop = picture.convert("RGB").resize(
                (parameters.side, parameters.side), Image.Resampling.LANCZOS, (left, top, left + side, top + side)
            )
        x, y, width, height = annotation["bbox"]
        box = [(x - left) / side, (y - top) / side, (x + width - left) / side, (y + height - top) / side]
        labels = {
            "category": instances.categories[annotation["category_id"]],
            "box": [float(np.clip(edge, 0, 1)) for edge in box],
            "image_id": image["id"],
        }
        yield Sample(f"coco-{image_id}", image_id, source_of(image, instances), np.asarray(crop), labels)
        made += 1
    if made < parameters.n:
        raise COCO.too_few(parameters.n, made, instances.folder, "images with an object that stands alone")


def _choose(
    annotations: Sequence[Mapping[str, Any]], width: int, height: int, rng: np.random.Generator
) -> tuple[Mapping[str, Any], tuple[int, int, int]] | None:
    """An annotation and a window (left, top, side) in which it is the only object of note; None if there is none."""
    for index in rng.permutation(len(annotations)):
        annotation = annotations[index]
        x, y, w, h = annotation["bbox"]
        smallest = int(np.ceil(_WINDOW[0] * max(w, h)))
        largest = min(width, height, int(_WINDOW[1] * max(w, h)))
        if annotation.get("iscrowd") or min(w, h) < _LEAST_SIDE or smallest > largest:
            continue
        others = [other["bbox"] for other in annotations if other is not annotation]
        for _ in range(_TRIES):
            side = int(rng.integers(smallest, largest + 1))
            left = _place(x, w, side, width, rng)
            top = _place(y, h, side, height, rng)
            if sum(_shared(other, left, top, side) for other in others) <= _MOST_OTHER * w * h:
                return annotation, (left, top, side)
    return None


def _place(start: float, length: float, side: int, limit: int, rng: np.random.Generator) -> int:
    """Where a window of `side` may begin so that it holds [start, start + length] and stays within 0..limit."""
    first = max(min(int(np.ceil(start + length)), limit) - side, 0)
    last = min(int(np.floor(start)), limit - side)
    return int(rng.integers(first, last + 1))


def _shared(box: Box, left: int, top: int, side: int) -> float:
    """Area that a box shares with a window, in px."""
    x, y, width, height = box
    across = min(x + width, left + side) - max(x, left)
    down = min(y + height, top + side) - max(y, top)
    return max(across, 0) * max(down, 0)
