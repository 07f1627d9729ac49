"""Are the near neighbours of a sample in one space its near neighbours in another (M12)?

A sample is never its own neighbour: it is taken out by index, and not by being the first, which with an exact copy it
need not be. Ties are broken at random. What remains without any alignment is known exactly: k / (N - 1) for
neighbours drawn from all others, and more for neighbours drawn from one's own category, wherever both spaces keep
categories apart.

All follow from ranks [N, N]: ranks[i, j] is how many others are nearer to i than j is, from 0; N on the diagonal.
Leaving sample g out lowers the rank of every j behind it by one, so that nothing is sorted again.
"""

from __future__ import annotations

import numpy as np

Ranks = np.ndarray


def neighbour_ranks(distances_NN: np.ndarray, generator: np.random.Generator) -> Ranks:
    """Ranks of the others by distance, ties in random order."""
    n = len(distances_NN)
    keys = np.array(distances_NN, dtype=np.float64)
    np.fill_diagonal(keys, np.inf)
    shuffled = generator.permuted(np.tile(np.arange(n), (n, 1)), axis=1)
    order = np.take_along_axis(shuffled, np.argsort(np.take_along_axis(keys, shuffled, 1), axis=1, kind="stable"), 1)
    ranks = np.empty((n, n), dtype=np.int64)
    np.put_along_axis(ranks, order, np.arange(n)[None, :], 1)
    np.fill_diagonal(ranks, n)
    return ranks


def without(ranks: Ranks, sample: int) -> Ranks:
    """[N-1, N-1]: the ranks as if `sample` had never been there."""
    kept = np.delete(np.arange(len(ranks)), sample)
    return ranks[np.ix_(kept, kept)] - (ranks[kept][:, kept] > ranks[kept, sample][:, None])


def recall(first: Ranks, second: Ranks, k: int) -> np.ndarray | None:
    """[N] in 0..1: the share of a sample's k nearest in one space that are among its k nearest in the other.

    It is the same in both directions. None where k leaves no choice (N - 1 others or more).
    """
    return _hits(first, second, k) / k if 1 <= k < len(first) - 1 else None


def jaccard(first: Ranks, second: Ranks, k: int) -> np.ndarray | None:
    """[N] in 0..1: neighbours that both have over neighbours that either has."""
    if not 1 <= k < len(first) - 1:
        return None
    hits = _hits(first, second, k)
    return hits / (2 * k - hits)


def rank_of_nearest(first: Ranks, second: Ranks) -> np.ndarray:
    """[N] from 1: where a sample's nearest in the first space stands in the second. 1 / it is the reciprocal rank."""
    return second[np.arange(len(first)), np.argmin(first, axis=1)] + 1


def uniform_recall(n: int, k: int) -> float:
    """Of k neighbours drawn from all n - 1 others."""
    return k / (n - 1)


def same_category_recall(second: Ranks, labels: np.ndarray, k: int) -> np.ndarray:
    """[N]: the recall to expect where the first space knows the category and nothing else.

    Its k neighbours are then drawn from a sample's own category, and if that has fewer than k others, from the rest
    too. Exact: of the m others of the category c are among the k nearest of the second space.
    """
    same = labels[:, None] == labels[None, :]
    np.fill_diagonal(same, False)
    m = same.sum(axis=1)
    c = (same & (second < k)).sum(axis=1)
    others = np.maximum(len(labels) - 1 - m, 1)
    filled_up = (c + np.maximum(k - m, 0) * (k - c) / others) / k
    return np.where(m >= k, c / np.maximum(m, 1), filled_up)


def leave_one_out(first: Ranks, second: Ranks, labels: np.ndarray | None, k: int) -> dict[str, np.ndarray]:
    """Mean recall and its baselines with each sample left out in turn: name -> [N]. For the jackknife."""
    n = len(first)
    means: dict[str, list[float]] = {"recall": [], "uniform": [], "same_category": []}
    for sample in range(n):
        one, other = without(first, sample), without(second, sample)
        means["recall"].append(float(np.mean(_hits(one, other, k)) / k))
        means["uniform"].append(uniform_recall(n - 1, k))
        if labels is not None:
            means["same_category"].append(float(np.mean(same_category_recall(other, np.delete(labels, sample), k))))
    return {name: np.array(values) for name, values in means.items() if values}


def _hits(first: Ranks, second: Ranks, k: int) -> np.ndarray:
    return ((first < k) & (second < k)).sum(axis=1)
