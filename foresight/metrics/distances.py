"""Do two spaces place the same samples alike (M11)? Rank correlation of their distances, and tests of it.

Samples are in one order in both spaces, one a source, so that "permuting sources" is permuting samples. Pairs are the
N (N - 1) / 2 unordered ones. Distances of one sample to all others hang together, so neither the ordinary p of a
correlation nor a bootstrap applies: p comes from permuting the samples of one space (Mantel 1967), intervals from
leaving samples out. For the latter, distances are ranked once: leaving a sample out only counts ranks anew, which
takes one pass over the pairs and no sorting.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import pdist, squareform
from scipy.stats import kendalltau

from foresight.metrics.structure import permutation_p

PERMUTATIONS = 999
LEAST_SAMPLES = 4


def distances(samples_ND: np.ndarray, metric: str = "euclidean") -> np.ndarray:
    """[N, N], `euclidean` or `cosine` (1 - cosine)."""
    return squareform(pdist(np.asarray(samples_ND, dtype=np.float64), metric))


def label_distances(labels: np.ndarray) -> np.ndarray:
    """[N, N]: 0 within a label and 1 between. What knowing the label alone says of distances."""
    return (labels[:, None] != labels[None, :]).astype(np.float64)


@dataclass(frozen=True)
class Ranking:
    """The pairs of one space, sorted once. Tied pairs share a block, and a block the mean of its ranks."""

    block: np.ndarray  # the block of each pair, blocks in ascending order of distance
    rows: np.ndarray
    columns: np.ndarray
    n: int

    @classmethod
    def of(cls, distances_NN: np.ndarray) -> Ranking:
        rows, columns = np.triu_indices(len(distances_NN), 1)
        _, block = np.unique(distances_NN[rows, columns], return_inverse=True)
        return cls(block, rows, columns, len(distances_NN))

    def ranks(self, without: int | None = None) -> np.ndarray:
        """[pairs] mean ranks, those of one sample left out."""
        block = self.block
        if without is not None:
            block = block[(self.rows != without) & (self.columns != without)]
        counts = np.bincount(block, minlength=len(self.block))
        return (np.cumsum(counts) - (counts - 1) / 2)[block]


def spearman(first: Ranking, second: Ranking, without: int | None = None) -> float | None:
    """Spearman's rank correlation of the distances. None if there are too few samples or one space has no order."""
    return _correlation(first.ranks(without), second.ranks(without)) if first.n >= LEAST_SAMPLES else None


def partial_spearman(first: Ranking, second: Ranking, given: Ranking, without: int | None = None) -> float | None:
    """The rank correlation that is left when what `given` explains of both is taken away."""
    a, b, c = (ranking.ranks(without) for ranking in (first, second, given))
    ab, ac, bc = _correlation(a, b), _correlation(a, c), _correlation(b, c)
    if ab is None or ac is None or bc is None:
        return None
    left = (1 - ac**2) * (1 - bc**2)
    return float((ab - ac * bc) / np.sqrt(left)) if left > 1e-12 else None


def spearman_without(first: Ranking, second: Ranking) -> np.ndarray | None:
    """[N]: Spearman with each sample left out in turn, for the jackknife."""
    return _all([spearman(first, second, sample) for sample in range(first.n)])


def partial_spearman_without(first: Ranking, second: Ranking, given: Ranking) -> np.ndarray | None:
    """[N]: the partial correlation with each sample left out in turn."""
    return _all([partial_spearman(first, second, given, sample) for sample in range(first.n)])


@dataclass(frozen=True)
class Mantel:
    """A correlation of distances, and how often permuted samples reach it."""

    correlation: float
    p: float  # one-sided, never 0


def mantel(
    first_NN: np.ndarray, second_NN: np.ndarray, generator: np.random.Generator, permutations: int = PERMUTATIONS
) -> Mantel | None:
    """Pearson's correlation of two distance matrices under permutation of one's samples (Mantel 1967).

    Give matrices of ranks (`rank_matrix`) for the same test of Spearman's. None where it is undefined.
    """
    n = len(first_NN)
    rows, columns = np.triu_indices(n, 1)
    a, whole = first_NN[rows, columns], second_NN[rows, columns]
    observed = _correlation(a, whole) if n >= LEAST_SAMPLES else None
    if observed is None:
        return None
    a = (a - a.mean()) / (len(a) * a.std() * whole.std())  # a permutation changes neither mean nor deviation
    null = np.empty(permutations)
    for index in range(permutations):
        order = generator.permutation(n)
        null[index] = a @ second_NN[order[rows], order[columns]]
    return Mantel(observed, permutation_p(observed - 1e-12, null))


def rank_matrix(ranking: Ranking) -> np.ndarray:
    """[N, N] symmetric: the rank of each distance."""
    matrix = np.zeros((ranking.n, ranking.n))
    matrix[ranking.rows, ranking.columns] = ranking.ranks()
    return matrix + matrix.T


def kendall(
    first_NN: np.ndarray, second_NN: np.ndarray, generator: np.random.Generator, pairs: int = 5000
) -> float | None:
    """Kendall's tau-b of the distances of at most `pairs` pairs, drawn at random."""
    rows, columns = np.triu_indices(len(first_NN), 1)
    chosen = generator.permutation(len(rows))[:pairs]
    tau = float(kendalltau(first_NN[rows, columns][chosen], second_NN[rows, columns][chosen]).statistic)
    return tau if np.isfinite(tau) else None


def procrustes(first_ND: np.ndarray, second_ND: np.ndarray) -> float | None:
    """Disparity in [0, 1] of two spaces [N, D] after the best shift, scale and rotation; 0: the same shape.

    Widths may differ; the narrower counts as filled up with zeros. It falls as D comes near N even for spaces that
    have nothing to do with each other: bring both to few axes first, and hold it against permuted samples.
    """
    a, b = (np.asarray(space, dtype=np.float64) - np.mean(space, axis=0) for space in (first_ND, second_ND))
    sizes = np.linalg.norm(a) * np.linalg.norm(b)
    return 1 - float(np.linalg.norm(a.T @ b, "nuc") / sizes) ** 2 if sizes > 0 else None


def _all(values: list[float | None]) -> np.ndarray | None:
    found = [value for value in values if value is not None]
    return np.array(found) if len(found) == len(values) else None


def _correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size > 0 else None
