"""Several boxes a picture: how well a set of boxes covers the true ones, whichever comes first.

Boxes found and true ones are matched one to one so that the overlaps add up to most (Hungarian algorithm, Kuhn 1955);
a true box that is left over scores 0. Boxes too many cost nothing here: `spurious` counts them, and a baseline is given
as many as a head may use. Boxes are [x0, y0, x1, y1] in 0..1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

RELATIONS = ("left of", "right of", "above", "below")


def pairwise_iou(a_N4: np.ndarray, b_M4: np.ndarray) -> np.ndarray:
    """[N, M]: intersection over union of every a with every b, 0 where both are empty."""
    a, b = np.asarray(a_N4, dtype=np.float64).reshape(-1, 4), np.asarray(b_M4, dtype=np.float64).reshape(-1, 4)
    size = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    intersection = np.prod(np.clip(size, 0, None), axis=2)
    area_a, area_b = (np.prod(np.clip(box[:, 2:] - box[:, :2], 0, None), axis=1) for box in (a, b))
    union = area_a[:, None] + area_b[None] - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def matched_iou(found: Sequence[np.ndarray], true: Sequence[np.ndarray]) -> list[np.ndarray]:
    """For each picture [n]: the overlap of each true box with the found one that is matched to it, 0 without any."""
    scores = []
    for mine, theirs in zip(found, true, strict=True):
        _, to, overlap = _match(mine, theirs)
        score = np.zeros(len(theirs))
        score[to] = overlap
        scores.append(score)
    return scores


def matched_boxes(found: Sequence[np.ndarray], true: Sequence[np.ndarray]) -> list[np.ndarray]:
    """For each picture [n, 4]: the found box that is matched to each true one, NaN without any."""
    boxes = []
    for mine, theirs in zip(found, true, strict=True):
        of, to, _ = _match(mine, theirs)
        matched = np.full((len(theirs), 4), np.nan)
        matched[to] = np.asarray(mine, dtype=np.float64).reshape(-1, 4)[of]
        boxes.append(matched)
    return boxes


def _match(found_N4: np.ndarray, true_M4: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(index of the found, index of the true, overlap) of every pair."""
    overlap = pairwise_iou(found_N4, true_M4)
    of, to = linear_sum_assignment(overlap, maximize=True)
    return of, to, overlap[of, to]


def spurious(found: Sequence[np.ndarray], true: Sequence[np.ndarray]) -> np.ndarray:
    """[N]: how many boxes of each picture overlap no true one by half after matching."""
    kept = [int(np.sum(score >= 0.5)) for score in matched_iou(found, true)]
    return np.array([len(mine) - hit for mine, hit in zip(found, kept, strict=True)], dtype=float)


def relation(first: np.ndarray, second: np.ndarray) -> int:
    """Where the first of two boxes lies as seen from the second, an index of `RELATIONS`: the longer way decides."""
    dx, dy = (first[:2] + first[2:] - second[:2] - second[2:]) / 2
    if abs(dx) >= abs(dy):
        return 0 if dx < 0 else 1
    return 2 if dy < 0 else 3
