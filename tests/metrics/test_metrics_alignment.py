"""Debiased CKA: as its definition says, 1 for the same space, about 0 for unrelated ones at any width."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ortho_group

from foresight.metrics.alignment import Gram, cka, cka_null, cka_without, hsic
from foresight.metrics.statistics import Interval, mean_interval, pseudo_values
from foresight.metrics.structure import permutation_p


def cloud(n: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, width))


def brute_force_hsic(x: np.ndarray, y: np.ndarray) -> float:
    """Song et al. 2012, equation 4: the U-statistic, over all ordered quadruples of different samples."""
    k, l, n = x @ x.T, y @ y.T, len(x)  # noqa: E741
    total, count = 0.0, 0
    for i in range(n):
        for j in range(n):
            for q in range(n):
                for r in range(n):
                    if len({i, j, q, r}) == 4:
                        total += k[i, j] * (l[i, j] + l[q, r] - 2 * l[i, q])
                        count += 1
    return total / count


def test_it_is_the_u_statistic_by_brute_force():
    x, y = cloud(9, 4), cloud(9, 6, seed=1)
    y[:, :2] += x[:, :2]
    xx, yy, xy = brute_force_hsic(x, x), brute_force_hsic(y, y), brute_force_hsic(x, y)
    assert cka(Gram.of(x), Gram.of(y)) == pytest.approx(xy / np.sqrt(xx * yy), abs=1e-10)


def test_the_same_space_turned_scaled_and_shifted_has_cka_one():
    x = cloud(60, 20)
    assert cka(Gram.of(x), Gram.of(x)) == pytest.approx(1)
    assert cka(Gram.of(x), Gram.of(4 * x @ ortho_group.rvs(20, random_state=0) - 9)) == pytest.approx(1)


def test_unrelated_spaces_have_cka_around_zero_and_an_interval_that_says_so():
    """At 3,584 and 6,272 dimensions and 100 samples, where the plain estimator gives over .9."""
    x, y = cloud(100, 3584), cloud(100, 6272, seed=1)
    value, left = cka(Gram.of(x), Gram.of(y)), cka_without(Gram.of(x), Gram.of(y))
    names = [f"source-{i}" for i in range(100)]
    interval = mean_interval([(pseudo_values(value, left), names)])
    assert isinstance(interval, Interval)
    assert interval.low < 0 < interval.high
    assert max(abs(interval.low), interval.high) < 0.2
    centred = [space - space.mean(0) for space in (x, y)]
    k, l = (space @ space.T for space in centred)  # noqa: E741
    assert np.sum(k * l) / np.sqrt(np.sum(k * k) * np.sum(l * l)) > 0.9


def test_unrelated_spaces_average_to_zero():
    values = [cka(Gram.of(cloud(40, 200, seed=s)), Gram.of(cloud(40, 300, seed=1000 + s))) for s in range(60)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(60)


@pytest.mark.parametrize("left_out", [0, 17, 29])
def test_leaving_a_sample_out_is_as_if_it_had_never_been_there(left_out):
    x, y = cloud(30, 8), cloud(30, 5, seed=1)
    y[:, :3] += x[:, :3]
    kept = np.delete(np.arange(30), left_out)
    # the same scale, but not the same centre: the estimator does not mind a shift
    assert cka_without(Gram.of(x), Gram.of(y))[left_out] == pytest.approx(cka(Gram.of(x[kept]), Gram.of(y[kept])))


def test_the_null_is_what_permuting_samples_gives():
    x, y = cloud(40, 10), cloud(40, 12, seed=1)
    null = cka_null(Gram.of(x), Gram.of(y), np.random.default_rng(3), 20)
    generator = np.random.default_rng(3)
    naive = [cka(Gram.of(x), Gram.of(y[generator.permutation(40)])) for _ in range(20)]
    np.testing.assert_allclose(null, naive, atol=1e-10)
    related = Gram.of(x + 0.5 * cloud(40, 10, seed=2))
    null = cka_null(Gram.of(x), related, np.random.default_rng(0))
    assert permutation_p(cka(Gram.of(x), related), null) == 0.001


def test_labels_are_a_space_too():
    labels = np.arange(45) % 9
    clustered = 30 * np.eye(9)[labels] + cloud(45, 9)
    assert cka(Gram.of_labels(labels), Gram.of(clustered)) > 0.9
    assert abs(cka(Gram.of_labels(labels), Gram.of(cloud(45, 9)))) < 0.2


def test_a_space_without_structure_has_no_cka():
    flat = Gram.of(np.ones((12, 4)))
    assert cka(flat, Gram.of(cloud(12, 4))) is None
    assert cka_without(flat, Gram.of(cloud(12, 4))) is None
    assert cka_null(flat, Gram.of(cloud(12, 4)), np.random.default_rng(0), 3) is None
    assert hsic(flat, flat) == 0
    with pytest.raises(ValueError, match="5 samples"):
        Gram.of(cloud(4, 3))
