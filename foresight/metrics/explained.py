"""How much of a space a prediction explains (M10): R2 against train's mean, and cosines about it.

Shapes: N held-out samples of K targets. R2 is one ratio over all samples and targets, 1 - SS_res / SS_tot with SS_tot
about the mean of *train*: predicting that mean scores 0 on any held-out set, and worse than it is negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foresight.metrics.statistics import jackknife_scores


@dataclass(frozen=True)
class Explained:
    """Sums of squares of each sample, from which R2 of any subset follows."""

    residual: np.ndarray  # [N] SS_res
    total: np.ndarray  # [N] SS_tot

    @classmethod
    def of(cls, true_NK: np.ndarray, predicted_NK: np.ndarray, train_mean_K: np.ndarray) -> Explained:
        """Raises `ValueError` on shapes that do not fit, or if all samples equal train's mean: R2 is undefined then."""
        if true_NK.shape != predicted_NK.shape or true_NK.shape[1:] != train_mean_K.shape:
            raise ValueError(f"R2 of {true_NK.shape}, {predicted_NK.shape} and a mean of {train_mean_K.shape}")
        residual = np.asarray(np.sum((true_NK - predicted_NK) ** 2, axis=1, dtype=np.float64))
        total = np.asarray(np.sum((true_NK - train_mean_K) ** 2, axis=1, dtype=np.float64))
        if not total.sum() > 0:
            raise ValueError("R2 is undefined: every held-out sample equals train's mean")
        return cls(residual, total)

    @property
    def r2(self) -> float:
        return 1 - float(self.residual.sum() / self.total.sum())

    def scores(self, groups: Sequence[str]) -> tuple[np.ndarray, list[str]]:
        """One score a source whose mean is R2, and the sources: R2 is a ratio, so they come from the jackknife."""
        return jackknife_scores(lambda index: 1 - self.residual[index].sum() / self.total[index].sum(), groups)


def centred_cosine(true_NK: np.ndarray, predicted_NK: np.ndarray, train_mean_K: np.ndarray) -> np.ndarray:
    """[N] in [-1, 1]: cosine of what differs from train's mean. 0 where a prediction is that mean.

    Uncentred, any two samples of such spaces have a cosine near 1.
    """
    true, predicted = true_NK - train_mean_K, predicted_NK - train_mean_K
    lengths = np.linalg.norm(true, axis=1) * np.linalg.norm(predicted, axis=1)
    return np.sum(true * predicted, axis=1) / np.where(lengths > 0, lengths, np.inf)
