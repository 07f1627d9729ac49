"""Intrinsic dimension of a space (M9): how many numbers its samples really need.

Four answers to slightly different questions. Linear, from the spectrum of the covariance: the axes that hold 95 % of
the variance, and the effective rank (Roy and Vetterli 2007), the exponential of the spectrum's entropy. Local, from
distances to near neighbours: the maximum likelihood of Levina and Bickel (2004), pooled by the harmonic mean as MacKay
and Ghahramani (2005) correct it, and TwoNN (Facco et al. 2017), which needs only the two nearest.

All follow from the squared distances, so that subsets, for intervals, cost little. A sample repeated has no nearest
neighbour in any useful sense, so exact copies are dropped first. Where there are too few samples the answer is None:
not measured. Local estimates are too low where the dimension is high: N samples cannot show more than some
2 log10(N) dimensions (Eckmann and Ruelle 1992) without ever larger bias, hence a reference of noise beside them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import pdist, squareform

LEAST_SAMPLES = 10
NEIGHBOURS = 10  # of the likelihood where one number is wanted
DISCARDED = 0.1  # share of the largest ratios that TwoNN leaves out, as published


@dataclass(frozen=True)
class Cloud:
    """N distinct samples, by their squared distances."""

    squared: np.ndarray
    index: np.ndarray  # [N] which of the samples given they are

    @classmethod
    def of(cls, samples_ND: np.ndarray) -> Cloud:
        """Exact copies are dropped. Distances are computed directly: near neighbours do not survive a Gram matrix."""
        samples = np.asarray(samples_ND, dtype=np.float64)
        index = np.sort(np.unique(samples, axis=0, return_index=True)[1])
        return cls(squareform(pdist(samples[index], "sqeuclidean")), index)

    def __len__(self) -> int:
        return len(self.squared)

    def part(self, index: np.ndarray) -> Cloud:
        return Cloud(self.squared[np.ix_(index, index)], self.index[index])

    def spectrum(self) -> np.ndarray:
        """Eigenvalues of the covariance, largest first, adding up to 1; from the doubly centred squared distances."""
        rows = self.squared.mean(axis=1, keepdims=True)
        gram = -0.5 * (self.squared - rows - rows.T + rows.mean())
        values = np.clip(np.linalg.eigvalsh(gram)[::-1], 0, None)
        return values / values.sum()

    def neighbours(self, k: int) -> np.ndarray:
        """[N, k] distances to the k nearest others, ascending."""
        return np.sqrt(np.sort(self.squared, axis=1)[:, 1 : k + 1])


def pca_dimension(cloud: Cloud, share: float = 0.95) -> int | None:
    """The fewest principal axes that hold `share` of the variance."""
    if len(cloud) < LEAST_SAMPLES:
        return None
    return int(np.searchsorted(np.cumsum(cloud.spectrum()), share - 1e-12)) + 1


def effective_rank(cloud: Cloud) -> float | None:
    """exp of the entropy of the singular values' distribution (Roy and Vetterli 2007), 1..N-1."""
    if len(cloud) < LEAST_SAMPLES:
        return None
    singular = np.sqrt(cloud.spectrum())
    share = singular[singular > 0] / singular.sum()
    return math.exp(-float(np.sum(share * np.log(share))))


def likelihood_dimension(cloud: Cloud, k: int = NEIGHBOURS) -> float | None:
    """Levina and Bickel's estimate from k neighbours: 1 / mean over samples of the mean log(T_k / T_j), j < k.

    None with k + 1 samples or fewer, or where all k neighbours are equally far.
    """
    if k < 2 or len(cloud) < max(LEAST_SAMPLES, k + 2):
        return None
    distances = cloud.neighbours(k)
    mean_log = float(np.mean(np.log(distances[:, -1:] / distances[:, :-1])))
    return 1 / mean_log if mean_log > 0 else None


def twonn_dimension(cloud: Cloud) -> float | None:
    """Facco et al.'s estimate: the slope of -log(1 - F) over log(r2 / r1), through the origin."""
    kept = int(len(cloud) * (1 - DISCARDED))
    if len(cloud) < LEAST_SAMPLES:
        return None
    first, second = cloud.neighbours(2).T
    log_ratio = np.sort(np.log(second / first))[:kept]
    quantile = -np.log(1 - np.arange(1, kept + 1) / len(cloud))
    squares = float(np.sum(log_ratio**2))
    return float(np.sum(log_ratio * quantile)) / squares if squares > 0 else None
