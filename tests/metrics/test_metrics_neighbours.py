"""Neighbourhoods: the same spaces share all, unrelated ones what chance gives, and copies wreck nothing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ortho_group
from sklearn.neighbors import NearestNeighbors

from foresight.metrics.distances import distances
from foresight.metrics.neighbours import (
    jaccard,
    leave_one_out,
    neighbour_ranks,
    rank_of_nearest,
    recall,
    same_category_recall,
    uniform_recall,
    without,
)


def cloud(n: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, width))


def ranks(samples: np.ndarray, seed: int = 0) -> np.ndarray:
    return neighbour_ranks(distances(samples), np.random.default_rng(seed))


def test_neighbours_are_scikit_learns():
    samples = cloud(50, 4)
    theirs = NearestNeighbors(n_neighbors=7).fit(samples).kneighbors(return_distance=False)
    ours = np.argsort(ranks(samples), axis=1)[:, :7]
    np.testing.assert_array_equal(ours, theirs)


def test_a_rotated_space_has_the_same_neighbours_and_an_unrelated_one_those_of_chance():
    first = cloud(200, 6)
    turned = ranks(first @ ortho_group.rvs(6, random_state=0))
    assert recall(ranks(first), turned, 10).min() == 1
    assert jaccard(ranks(first), turned, 10).min() == 1
    assert (rank_of_nearest(ranks(first), turned) == 1).all()
    unrelated = ranks(cloud(200, 6, seed=1))
    assert recall(ranks(first), unrelated, 10).mean() == pytest.approx(uniform_recall(200, 10), abs=0.02)
    assert (1 / rank_of_nearest(ranks(first), unrelated)).mean() < 0.1


def test_copies_do_not_wreck_recall():
    """An exact copy is as near as the sample itself: taking out the first would now and then take out the copy."""
    first, other = np.repeat(cloud(60, 5), 2, axis=0), np.repeat(cloud(60, 5, seed=1), 2, axis=0)
    same = recall(ranks(first), ranks(first, seed=1), 1)
    assert same.min() == 1, "the copy is the nearest in both"
    assert recall(ranks(first), ranks(other), 1).min() == 1, "copies lie together in any space"
    everything = neighbour_ranks(np.zeros((80, 80)), np.random.default_rng(0))
    unordered = neighbour_ranks(np.zeros((80, 80)), np.random.default_rng(1))
    assert recall(everything, unordered, 10).mean() == pytest.approx(10 / 79, abs=0.03), "ties fall at random"
    assert (np.diag(everything) >= 80).all()


def test_recall_and_jaccard_by_hand():
    line = np.array([[0.0], [1.0], [3.0], [7.0], [15.0]])
    other = np.array([[0.0], [3.0], [1.0], [7.0], [15.0]])
    np.testing.assert_array_equal(recall(ranks(line), ranks(other), 1), [0, 0, 0, 0, 1])
    np.testing.assert_array_equal(recall(ranks(line), ranks(other), 2), [1, 1, 1, 1, 0.5])
    np.testing.assert_allclose(jaccard(ranks(line), ranks(other), 2), [1, 1, 1, 1, 1 / 3])
    np.testing.assert_array_equal(rank_of_nearest(ranks(line), ranks(other))[0], 2)


@pytest.mark.parametrize(("per_category", "k"), [(12, 10), (6, 10), (1, 10)])
def test_the_category_baseline_is_what_drawing_from_the_category_gives(per_category, k):
    labels = np.arange(60) // per_category
    second = ranks(cloud(60, 4) + 2 * cloud(60, 4, seed=1)[labels])
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(400):
        known = distances(labels[:, None].astype(float) * 1e3) > 0  # 0 within, 1 between: ties everywhere
        drawn.append(recall(neighbour_ranks(known, rng), second, k))
    np.testing.assert_allclose(same_category_recall(second, labels, k), np.mean(drawn, axis=0), atol=0.04)


def test_categories_alone_give_a_recall_far_above_chance():
    labels = np.arange(90) % 9
    first, second = (ranks(20 * cloud(9, 5, seed=s)[labels] + cloud(90, 5, seed=9 + s)) for s in (1, 2))
    found = recall(first, second, 5).mean()
    assert found > 5 * uniform_recall(90, 5)
    assert found == pytest.approx(same_category_recall(second, labels, 5).mean(), abs=0.06)


def test_leaving_one_out_is_as_if_it_had_never_been_there():
    first, second, labels = cloud(30, 4), cloud(30, 4, seed=1), np.arange(30) % 3
    left = leave_one_out(ranks(first), ranks(second), labels, 4)
    for g in (0, 11, 29):
        kept = np.delete(np.arange(30), g)
        np.testing.assert_array_equal(np.argsort(without(ranks(first), g)), np.argsort(ranks(first[kept])))
        assert left["recall"][g] == pytest.approx(recall(ranks(first[kept]), ranks(second[kept]), 4).mean())
        expected = same_category_recall(ranks(second[kept]), labels[kept], 4).mean()
        assert left["same_category"][g] == pytest.approx(expected)
        assert left["uniform"][g] == 4 / 28


def test_a_k_that_leaves_no_choice_is_not_measured():
    first, second = ranks(cloud(11, 3)), ranks(cloud(11, 3, seed=1))
    assert recall(first, second, 10) is None
    assert jaccard(first, second, 10) is None
    assert recall(first, second, 9) is not None
