"""Distances compared: with scipy, with a naive loop, and on spaces whose likeness is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import procrustes as scipy_procrustes
from scipy.stats import kendalltau, ortho_group, rankdata, spearmanr

from foresight.metrics.distances import (
    Ranking,
    distances,
    kendall,
    label_distances,
    mantel,
    partial_spearman,
    procrustes,
    rank_matrix,
    spearman,
)


def cloud(n: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, width))


def pairs(matrix: np.ndarray) -> np.ndarray:
    return matrix[np.triu_indices(len(matrix), 1)]


@pytest.fixture
def two():
    """Two spaces that have something in common, with ties: two samples of each are copies."""
    first = cloud(40, 6)
    second = np.hstack([first[:, :3], cloud(40, 5, seed=1)])
    first[7], second[7] = first[3], second[3]
    return distances(first), distances(second)


def test_it_agrees_with_scipy_ties_and_all(two):
    first, second = two
    assert spearman(Ranking.of(first), Ranking.of(second)) == pytest.approx(
        spearmanr(pairs(first), pairs(second)).statistic, abs=1e-12
    )
    np.testing.assert_allclose(pairs(rank_matrix(Ranking.of(first))), rankdata(pairs(first)))


@pytest.mark.parametrize("left_out", [0, 3, 39])
def test_leaving_a_sample_out_is_as_if_it_had_never_been_there(two, left_out):
    kept = np.delete(np.arange(40), left_out)
    first, second = (space[np.ix_(kept, kept)] for space in two)
    found = spearman(*(Ranking.of(space) for space in two), without=left_out)
    assert found == pytest.approx(spearmanr(pairs(first), pairs(second)).statistic, abs=1e-12)


def test_the_partial_correlation_is_that_of_what_the_category_leaves(two):
    given = label_distances(np.arange(40) % 4)
    a, b, c = (rankdata(pairs(matrix)) for matrix in (*two, given))
    design = np.column_stack([np.ones_like(c), c])
    left = [values - design @ np.linalg.lstsq(design, values, rcond=None)[0] for values in (a, b)]
    found = partial_spearman(*(Ranking.of(matrix) for matrix in (*two, given)))
    assert found == pytest.approx(np.corrcoef(*left)[0, 1], abs=1e-10)


def test_what_only_the_category_explains_is_gone_once_it_is_given():
    labels = np.repeat(np.arange(5), 12)
    spaces = [Ranking.of(distances(5 * np.eye(8)[labels] + cloud(60, 8, seed=seed))) for seed in (1, 2)]
    given = Ranking.of(label_distances(labels))
    assert spearman(*spaces) > 0.3
    assert abs(partial_spearman(*spaces, given)) < 0.1


def test_mantel_is_what_a_naive_loop_finds(two):
    first, second = two
    found = mantel(first, second, np.random.default_rng(5), permutations=99)
    observed = np.corrcoef(pairs(first), pairs(second))[0, 1]
    generator, reached = np.random.default_rng(5), 0
    for _ in range(99):
        order = generator.permutation(40)
        reached += np.corrcoef(pairs(first), pairs(second[np.ix_(order, order)]))[0, 1] >= observed
    assert found.correlation == pytest.approx(observed)
    assert found.p == pytest.approx((1 + reached) / 100)


def test_mantel_finds_what_is_there_and_nothing_else():
    first = cloud(50, 6)
    related, unrelated = (distances(space) for space in (first + 0.5 * cloud(50, 6, seed=1), cloud(50, 6, seed=2)))
    assert mantel(distances(first), related, np.random.default_rng(0)).p == 0.001
    assert mantel(distances(first), unrelated, np.random.default_rng(0)).p > 0.05


def test_kendall_of_all_pairs_is_scipys(two):
    assert kendall(*two, np.random.default_rng(0)) == pytest.approx(kendalltau(*map(pairs, two)).statistic)


def test_procrustes_is_scipys_at_equal_widths():
    first, second = cloud(30, 5), cloud(30, 5) @ np.diag([1, 2, 3, 4, 5]) + cloud(30, 5, seed=1)
    assert procrustes(first, second) == pytest.approx(scipy_procrustes(first, second)[2], abs=1e-9)
    wider = np.hstack([second, np.zeros((30, 3))])
    assert procrustes(first, wider) == pytest.approx(procrustes(first, second), abs=1e-9)


def test_a_rotation_changes_nothing():
    first = cloud(40, 6)
    turned = 3 * first @ ortho_group.rvs(6, random_state=0) + 7
    assert procrustes(first, turned) == pytest.approx(0, abs=1e-9)
    assert spearman(Ranking.of(distances(first)), Ranking.of(distances(turned))) == pytest.approx(1, abs=1e-6)
    assert procrustes(first, cloud(40, 6, seed=9)) > 0.5


def test_what_is_undefined_is_none():
    flat = np.zeros((6, 6))
    assert spearman(Ranking.of(distances(cloud(6, 3))), Ranking.of(flat)) is None
    assert spearman(Ranking.of(distances(cloud(3, 3))), Ranking.of(distances(cloud(3, 2)))) is None
    assert mantel(flat, distances(cloud(6, 3)), np.random.default_rng(0)) is None
    assert kendall(flat, distances(cloud(6, 3)), np.random.default_rng(0)) is None
    assert procrustes(np.ones((6, 3)), cloud(6, 3)) is None
    same = Ranking.of(label_distances(np.arange(6) % 2))
    assert partial_spearman(same, Ranking.of(distances(cloud(6, 3))), same) is None
