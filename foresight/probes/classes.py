"""Which class is it? A linear classifier in closed form: ridge to one target a class, the largest answer wins.

It has no learning rate and cannot diverge; validation chooses its penalty. Where classes are unequal in number the
caller balances the samples, as `balanced_tokens` does for tokens, most of which lie on background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foresight.data.objects import Objects
from foresight.probes.box_sets import covered_parts
from foresight.probes.linear import RidgeProbe, fit_ridge

BACKGROUND = 0
_COVERED, _FREE = 0.5, 0.0  # a cell is an object's from the first on, background up to the second, else neither


@dataclass(frozen=True)
class ClassProbe:
    """A fitted classifier of features [N, D]."""

    ridge: RidgeProbe
    classes: np.ndarray  # [C], ascending

    def predict(self, x_ND: np.ndarray) -> np.ndarray:
        """[N]: the class of each."""
        return self.classes[self.ridge.predict(x_ND).argmax(-1)]


def fit_class_probe(
    x_train: np.ndarray, labels_train: np.ndarray, x_val: np.ndarray, labels_val: np.ndarray
) -> ClassProbe:
    """Ridge of [N, D] to the classes that train has. Raises `ValueError` if a part is empty."""
    classes = np.unique(labels_train)
    targets = [(labels[:, None] == classes).astype(np.float64) for labels in (labels_train, labels_val)]
    return ClassProbe(fit_ridge(x_train, targets[0], x_val, targets[1]), classes)


def token_classes(objects: Sequence[Objects], grid: tuple[int, int]) -> np.ndarray:
    """int [N, h, w]: the category id of the object whose box covers half of the cell or more (the one that covers
    most), 0 where nothing covers any of it, -1 where that is not clear, or a crowd is there."""
    labels = np.full((len(objects), *grid), BACKGROUND)
    for label, of in zip(labels, objects, strict=True):
        targets = np.concatenate([of.boxes, np.ones((len(of), 1))], 1)[:, None].astype(np.float32)
        covered = covered_parts(targets, grid)  # [n, h, w]
        most, which = covered.max(0), covered.argmax(0)
        label[most > _FREE] = -1
        clear = (most >= _COVERED) & ~of.crowd[which]
        label[clear] = of.category_ids[which][clear]
    return labels


def balanced_tokens(labels_Nhw: np.ndarray, rng: np.random.Generator, most: int) -> np.ndarray:
    """[n, 3] places (picture, row, column): tokens on objects, and as many drawn from background; `most` of each."""
    chosen = []
    on, off = np.argwhere(labels_Nhw > BACKGROUND), np.argwhere(labels_Nhw == BACKGROUND)
    count = min(len(on), most)
    for places in (on, off):
        chosen.append(places[np.sort(rng.permutation(len(places))[:count])])
    return np.concatenate(chosen)


def pooled_over_boxes(tokens_hwD: np.ndarray, boxes_n4: np.ndarray) -> np.ndarray:
    """[n, D]: the mean token under each box, every cell weighing as much as the box covers of it."""
    targets = np.concatenate([boxes_n4, np.ones((len(boxes_n4), 1))], 1)[:, None].astype(np.float32)
    weights = covered_parts(targets, tokens_hwD.shape[:2])
    weights = weights / weights.sum((1, 2), keepdims=True)
    return np.einsum("nhw,hwd->nd", weights, tokens_hwD)
