"""How a space is organised: do pictures of one label lie together (M8)?

Measured in the full space. A t-SNE map is a picture of it and not a measurement: it makes clusters of anything.
Scores come sample by sample; N samples of D features, one label and one source ("group") each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.spatial.distance import pdist, squareform
from sklearn.metrics import silhouette_samples
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from foresight.metrics.statistics import jackknife_scores


def silhouette(features_ND: np.ndarray, labels: Sequence | np.ndarray) -> np.ndarray:
    """[N] in [-1, 1]: each sample's silhouette, Euclidean, in the full space (Rousseeuw 1987).

    Features are standardised, so that no unit decides by its scale. Raises `ValueError` with fewer than 2 labels, or as
    many labels as samples.
    """
    features = StandardScaler().fit_transform(np.asarray(features_ND, dtype=np.float64))
    return silhouette_samples(features, np.asarray(labels))


def silhouette_by_source(
    features_ND: np.ndarray, labels: Sequence | np.ndarray, groups: Sequence[str]
) -> tuple[np.ndarray, list[str]]:
    """One score a source whose mean is the mean silhouette, and the sources: a silhouette is about pairs of samples, so
    they come from leaving each source out once. Distances to clusters are summed once, not for each source again."""
    features = StandardScaler().fit_transform(np.asarray(features_ND, dtype=np.float64))
    distances = squareform(pdist(features))
    _, own = np.unique(np.asarray(labels), return_inverse=True)
    member = np.eye(own.max() + 1)[own]
    sums_NC = distances @ member

    def statistic(index: np.ndarray) -> float:
        out = np.ones(len(own), dtype=bool)
        out[index] = False
        sums = sums_NC[index] - distances[np.ix_(index, out)] @ member[out]
        return float(np.mean(_silhouettes(sums, member[index].sum(axis=0), own[index])))

    return jackknife_scores(statistic, groups)


def _silhouettes(sums_NC: np.ndarray, counts_C: np.ndarray, own_N: np.ndarray) -> np.ndarray:
    """[N] from each sample's summed distances to the clusters; 0 for a cluster's only sample."""
    rows = np.arange(len(own_N))
    within = sums_NC[rows, own_N] / np.maximum(counts_C[own_N] - 1, 1)
    means = np.where(counts_C > 0, sums_NC / np.maximum(counts_C, 1), np.inf)
    means[rows, own_N] = np.inf
    between = means.min(axis=1)
    return np.where(counts_C[own_N] > 1, (between - within) / np.maximum(np.maximum(within, between), 1e-300), 0.0)


def distance_ratio(features_ND: np.ndarray, labels: Sequence | np.ndarray) -> float:
    """Mean distance within a label over mean distance between labels, of standardised features; 1: no difference."""
    distances = pdist(StandardScaler().fit_transform(np.asarray(features_ND, dtype=np.float64)))
    labels = np.asarray(labels)
    rows, columns = np.triu_indices(len(labels), 1)
    same = labels[rows] == labels[columns]
    return float(distances[same].mean() / distances[~same].mean())


def knn_correct(
    features_ND: np.ndarray, labels: Sequence | np.ndarray, groups: Sequence | np.ndarray, *, k: int = 5, folds: int = 5
) -> np.ndarray:
    """[N] of 0.0 and 1.0: is the sample classified right by its k nearest neighbours from *other* sources?

    Cross-validated with whole sources left out, standardised on the training part of each fold. The mean is the
    accuracy. Where every label has `folds` sources or more the folds are stratified. Raises `ValueError` if a label
    has only one source: it could never be found.
    """
    features, labels, groups = np.asarray(features_ND, dtype=np.float64), np.asarray(labels), np.asarray(groups)
    sources = {label: len(np.unique(groups[labels == label])) for label in np.unique(labels)}
    alone = [str(label) for label, count in sources.items() if count < 2]
    if alone:
        raise ValueError(f"these labels come from a single source each, so no other source can teach them: {alone}")
    splits = min(folds, len(np.unique(groups)))
    folder = StratifiedGroupKFold(splits) if min(sources.values()) >= splits else GroupKFold(splits)
    correct = np.zeros(len(labels))
    for train, test in folder.split(features, labels, groups):
        model = make_pipeline(StandardScaler(), KNeighborsClassifier(min(k, len(train))))
        correct[test] = model.fit(features[train], labels[train]).predict(features[test]) == labels[test]
    return correct


def permute_labels(
    labels: Sequence | np.ndarray, groups: Sequence | np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """[N]: the labels dealt out anew. Where a source has one label, whole sources swap labels: what a source's samples
    have in common is then no evidence for the label."""
    labels, groups = np.asarray(labels), np.asarray(groups)
    names, first, member = np.unique(groups, return_index=True, return_inverse=True)
    of_group = labels[first]
    if (of_group[member] == labels).all() and len(names) > 1:
        return generator.permutation(of_group)[member]
    return generator.permutation(labels)


def permutation_null(
    statistic: Callable[[np.ndarray], float],
    labels: Sequence | np.ndarray,
    groups: Sequence | np.ndarray,
    *,
    seed: int,
    repeats: int = 100,
) -> np.ndarray:
    """[repeats]: `statistic(labels)` under dealt-out labels, the baseline that a real score has to leave."""
    generator = np.random.default_rng(seed)
    return np.array([statistic(permute_labels(labels, groups, generator)) for _ in range(repeats)])


def permutation_p(observed: float, null: np.ndarray) -> float:
    """One-sided p that a permuted score reaches the observed one, never 0 (Phipson and Smyth 2010)."""
    return float((1 + np.sum(null >= observed)) / (1 + len(null)))
