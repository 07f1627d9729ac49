import numpy as np
import pytest
from sklearn.metrics import silhouette_score
from sklearn.preprocessing import StandardScaler

from foresight.metrics.statistics import jackknife_scores
from foresight.metrics.structure import (
    distance_ratio,
    knn_correct,
    permutation_null,
    permutation_p,
    permute_labels,
    silhouette,
    silhouette_by_source,
)

RNG = np.random.default_rng(0)
LABELS = np.repeat(["a", "b", "c"], 30)
GROUPS = np.array([f"source {i}" for i in range(90)])
CENTRES = RNG.normal(size=(3, 40))
PLANTED = np.repeat(CENTRES, 30, 0) + 0.05 * RNG.normal(size=(90, 40))
NOISE = RNG.normal(size=(90, 40))


def test_planted_clusters_are_seen_and_noise_is_not():
    assert silhouette(PLANTED, LABELS).mean() > 0.85
    assert abs(silhouette(NOISE, LABELS).mean()) < 0.05
    assert knn_correct(PLANTED, LABELS, GROUPS).mean() == 1
    assert knn_correct(NOISE, LABELS, GROUPS).mean() < 0.5


def test_silhouette_is_the_librarys_on_standardised_features():
    scaled = np.array([1, 1000] * 20)
    expected = silhouette_score(StandardScaler().fit_transform(PLANTED), LABELS)
    assert silhouette(PLANTED * scaled, LABELS).mean() == pytest.approx(expected)


def test_neighbours_of_the_same_source_cannot_teach():
    """Every source has its own spot and a random label, so the nearest neighbour is of the same source and knows it."""
    groups = np.repeat([f"photograph {i}" for i in range(30)], 6)
    labels = np.repeat(np.random.default_rng(1).permutation(np.repeat(["a", "b", "c"], 10)), 6)
    spots = np.repeat(np.random.default_rng(2).normal(size=(30, 40)), 6, 0)
    features = spots + 0.01 * np.random.default_rng(3).normal(size=spots.shape)
    alone = np.array([f"item {i}" for i in range(180)])
    assert knn_correct(features, labels, alone).mean() > 0.95
    assert knn_correct(features, labels, groups).mean() < 0.6


def test_label_of_a_single_source_is_refused():
    with pytest.raises(ValueError, match=r"single source each.*\['b'\]"):
        knn_correct(NOISE[:4], ["a", "a", "b", "b"], ["1", "2", "3", "3"], k=1)


def test_few_sources_still_give_every_sample_a_score():
    labels = np.repeat(["a", "b"], 15)
    groups = np.array([f"source {i}" for i in np.repeat(range(6), 5)])
    features = np.repeat([[0.0, 1], [5, 0]], 15, 0) + 0.1 * RNG.normal(size=(30, 2))
    assert knn_correct(features, labels, groups).mean() == 1


def test_whole_sources_swap_labels():
    groups = np.repeat(["p", "q", "r", "s"], [1, 2, 3, 4])
    labels = np.repeat(["a", "b", "c", "d"], [1, 2, 3, 4])
    dealt = permute_labels(labels, groups, np.random.default_rng(0))
    assert all(len(set(dealt[groups == group])) == 1 for group in set(groups))
    assert set(dealt) == set(labels)
    assert (dealt != labels).any()


def test_labels_within_a_source_are_dealt_out_one_by_one():
    dealt = permute_labels(["a", "b"] * 20, ["p"] * 20 + ["q"] * 20, np.random.default_rng(0))
    assert sorted(dealt) == ["a"] * 20 + ["b"] * 20
    assert (dealt != np.array(["a", "b"] * 20)).any()


def test_permuted_labels_are_the_baseline_that_planted_structure_leaves_and_noise_does_not():
    def mean_silhouette(features):
        return lambda labels: float(silhouette(features, labels).mean())

    for features, significant in ((PLANTED, True), (NOISE, False)):
        null = permutation_null(mean_silhouette(features), LABELS, GROUPS, seed=0, repeats=50)
        assert np.array_equal(null, permutation_null(mean_silhouette(features), LABELS, GROUPS, seed=0, repeats=50))
        assert abs(null.mean()) < 0.1
        assert (permutation_p(mean_silhouette(features)(LABELS), null) < 0.05) == significant
    assert permutation_p(1.0, np.zeros(99)) == 0.01


def test_silhouettes_by_source_are_scikit_learns_with_each_source_left_out():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 10)
    features = rng.standard_normal((30, 5)) + 2 * labels[:, None]
    groups = [f"source-{i // 2:02d}" for i in range(30)]
    scores, sources = silhouette_by_source(features, labels, groups)
    scaled = StandardScaler().fit_transform(features)
    expected, names = jackknife_scores(lambda index: silhouette_score(scaled[index], labels[index]), groups)
    assert sources == names
    np.testing.assert_allclose(scores, expected, atol=1e-9)
    assert np.mean(scores) == pytest.approx(np.mean(silhouette(features, labels)))


def test_a_labels_only_sample_has_silhouette_zero():
    features = np.random.default_rng(0).standard_normal((9, 3))
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2])
    scores, _ = silhouette_by_source(features, labels, [str(i) for i in range(9)])
    assert np.mean(scores) == pytest.approx(np.mean(silhouette(features, labels)))


def test_distances_within_a_cluster_are_small_against_those_between():
    features = np.random.default_rng(0).standard_normal((40, 4))
    labels = np.arange(40) % 2
    assert distance_ratio(features, labels) == pytest.approx(1, abs=0.1)
    assert distance_ratio(features + 20 * labels[:, None], labels) < 0.2
