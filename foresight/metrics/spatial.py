"""Where a thing is: boxes (M4) and masks (M5), sample by sample.

Boxes are [x0, y0, x1, y1] in units of the picture's sides, 0..1 inside it. Two measures have gone by the name
"spatial IoU"; here they are two functions. Shapes: N boxes of 4 numbers; masks [N, H, W] of bool.
"""

from __future__ import annotations

import numpy as np


def box_iou(a_N4: np.ndarray, b_N4: np.ndarray) -> np.ndarray:
    """[N]: intersection over union of a[i] and b[i], 0 where both are empty."""
    a, b = _boxes(a_N4), _boxes(b_N4)
    size = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    intersection = np.prod(np.clip(size, 0, None), axis=1)
    union = box_area(a) + box_area(b) - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def box_area(boxes_N4: np.ndarray) -> np.ndarray:
    """[N], in parts of the picture's area."""
    boxes = _boxes(boxes_N4)
    return np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)


def centre_error(predicted_N4: np.ndarray, true_N4: np.ndarray) -> np.ndarray:
    """[N]: Euclidean distance of the centres, in units of the picture's side."""
    a, b = _boxes(predicted_N4), _boxes(true_N4)
    return np.linalg.norm((a[:, :2] + a[:, 2:]) / 2 - (b[:, :2] + b[:, 2:]) / 2, axis=1)


def relative_size_error(predicted_N4: np.ndarray, true_N4: np.ndarray) -> np.ndarray:
    """[N]: mean of the width's and the height's relative errors. Raises `ValueError` on a true box without extent."""
    a, b = _boxes(predicted_N4), _boxes(true_N4)
    size, true_size = a[:, 2:] - a[:, :2], b[:, 2:] - b[:, :2]
    if not (true_size > 0).all():
        raise ValueError("a true box has no extent, so no relative error")
    return np.mean(np.abs(size - true_size) / true_size, axis=1)


def mask_iou(a_NHW: np.ndarray, b_NHW: np.ndarray) -> np.ndarray:
    """[N]: intersection over union of bool masks, 0 where both are empty. The true mask comes from the generator or the
    annotation; one guessed from grey levels counts backgrounds as objects."""
    if a_NHW.shape != b_NHW.shape or a_NHW.dtype != bool or b_NHW.dtype != bool:
        raise ValueError(
            f"masks need to be bool and of one shape, not {a_NHW.dtype}{a_NHW.shape}, {b_NHW.dtype}{b_NHW.shape}"
        )
    intersection = (a_NHW & b_NHW).sum((1, 2)).astype(np.float64)
    union = (a_NHW | b_NHW).sum((1, 2)).astype(np.float64)
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def crop_to_boxes(images_NHWC: np.ndarray, boxes_N4: np.ndarray, side: int, *, margin: float = 0.1) -> np.ndarray:
    """The foreground: float pictures cut to their box widened by `margin` of its sides, each resized to [side, side].

    Score original and reconstruction on the same crop, so that a plain background cannot carry a score.
    """
    from skimage.transform import resize

    images, boxes = np.asarray(images_NHWC), _boxes(boxes_N4)
    if len(images) != len(boxes) or not np.issubdtype(images.dtype, np.floating):
        raise ValueError(f"one box a float picture is needed, not {len(boxes)} for {images.dtype}{images.shape}")
    limits = np.array([images.shape[2], images.shape[1]])
    extent = boxes[:, 2:] - boxes[:, :2]
    low = np.clip(np.floor((boxes[:, :2] - margin * extent) * limits), 0, limits - 1).astype(int)
    high = np.clip(np.ceil((boxes[:, 2:] + margin * extent) * limits), low + 1, limits).astype(int)
    return np.stack(
        [
            resize(image[y0:y1, x0:x1], (side, side), order=1, anti_aliasing=True).astype(images.dtype)
            for image, (x0, y0), (x1, y1) in zip(images, low, high, strict=True)
        ]
    )


def _boxes(boxes_N4: np.ndarray) -> np.ndarray:
    boxes = np.asarray(boxes_N4, dtype=np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes need shape [N, 4], not {boxes.shape}")
    if not np.isfinite(boxes).all() or (boxes[:, 2:] < boxes[:, :2]).any():
        raise ValueError("boxes need finite x0 <= x1 and y0 <= y1")
    return boxes
