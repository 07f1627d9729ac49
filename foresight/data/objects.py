"""Several objects an item: their boxes, classes and sizes, as labels and as arrays.

The labels of one item, one entry an object and all in one order:

    boxes         [x0, y0, x1, y1] in 0..1 of the picture
    categories    the name of each object's class
    category_ids  its number in the data set it comes from (COCO's go to 90 and have gaps)
    areas         what the object itself covers, in parts of the picture (a segmentation's, not the box's)
    crowd         1 where the box holds a crowd that nobody counted; absent: none does

and one number an item, `frame_px`: the side of the square in pixels of the original, in which COCO counts small
(under 32 x 32), medium and large (over 96 x 96).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foresight.data.dataset import Dataset


@dataclass(frozen=True)
class Objects:
    """The n objects of one picture."""

    boxes: np.ndarray  # float32 [n, 4]
    category_ids: np.ndarray  # int64 [n]
    areas: np.ndarray  # float64 [n], parts of the picture
    crowd: np.ndarray  # bool [n]
    frame_px: float

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def counted(self) -> Objects:
        """Without crowds: what a head is trained to find. A crowd is neither an object nor background."""
        kept = ~self.crowd
        return Objects(self.boxes[kept], self.category_ids[kept], self.areas[kept], self.crowd[kept], self.frame_px)


def objects_of(dataset: Dataset) -> list[Objects]:
    """One `Objects` an item. Raises `KeyError` if an item has no `boxes`."""
    return [_objects(item.id, item.labels) for item in dataset.manifest.items]


def category_names(dataset: Dataset) -> dict[int, str]:
    """Every category that occurs, by id, ascending."""
    pairs: set[tuple[int, str]] = set()
    for item in dataset.manifest.items:
        pairs |= set(zip(item.labels["category_ids"], item.labels["categories"], strict=True))  # type: ignore[arg-type]
    return dict(sorted(pairs))


def padded_boxes(objects: Sequence[Objects], slots: int) -> np.ndarray:
    """float32 [N, slots, 5]: box and 1 for each object, zeros after the last. Raises `ValueError` if one has more."""
    table = np.zeros((len(objects), slots, 5), dtype=np.float32)
    for row, of in zip(table, objects, strict=True):
        if len(of) > slots:
            raise ValueError(f"{len(of)} objects do not fit into {slots} slots")
        row[: len(of), :4], row[: len(of), 4] = of.boxes, 1
    return table


def _objects(name: str, labels) -> Objects:
    if "boxes" not in labels:
        raise KeyError(f"{name} has no `boxes`; its data set has one object an item, or none")
    boxes = np.array(labels["boxes"], dtype=np.float32).reshape(-1, 4)
    return Objects(
        boxes=boxes,
        category_ids=np.array(labels["category_ids"], dtype=np.int64),
        areas=np.array(labels["areas"], dtype=np.float64),
        crowd=np.array(labels.get("crowd", [0] * len(boxes)), dtype=bool),
        frame_px=float(labels["frame_px"]),
    )
