"""Intrinsic dimension: what was planted is found, and others who know how find the same."""

from __future__ import annotations

import numpy as np
import pytest
import skdim

from foresight.metrics.dimension import Cloud, effective_rank, likelihood_dimension, pca_dimension, twonn_dimension


def embedded(n: int, d: int, width: int, seed: int = 0, noise: float = 0.0) -> np.ndarray:
    """n samples of a d-dimensional Gaussian, rotated into `width` dimensions."""
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.standard_normal((width, d)))
    return rng.standard_normal((n, d)) @ basis.T + noise * rng.standard_normal((n, width))


def test_ten_dimensions_are_found_in_three_and_a_half_thousand():
    cloud = Cloud.of(embedded(1500, 10, 3584, noise=1e-6))
    assert pca_dimension(cloud) == 10
    assert effective_rank(cloud) == pytest.approx(10, abs=0.5)
    assert likelihood_dimension(cloud) == pytest.approx(10, abs=1.5)  # low by a tenth, as it is for any Gaussian
    assert twonn_dimension(cloud) == pytest.approx(10, abs=1.5)


@pytest.mark.parametrize("d", [2, 5])
def test_a_few_hundred_samples_are_enough_for_few_dimensions(d):
    cloud = Cloud.of(embedded(300, d, 50))
    assert likelihood_dimension(cloud) == pytest.approx(d, rel=0.15)
    assert twonn_dimension(cloud) == pytest.approx(d, rel=0.25)


def test_it_agrees_with_scikit_dimension():
    samples = embedded(200, 6, 40, seed=3, noise=0.05)
    cloud = Cloud.of(samples)
    for k in (5, 10, 20):
        theirs = skdim.id.MLE().fit(samples, n_neighbors=k, comb="mle").dimension_
        assert likelihood_dimension(cloud, k) == pytest.approx(theirs, rel=1e-6), k
    assert twonn_dimension(cloud) == pytest.approx(skdim.id.TwoNN().fit(samples).dimension_, rel=1e-6)


def test_the_spectrum_is_that_of_the_covariance():
    samples = embedded(60, 4, 9, seed=1, noise=0.3)
    values = np.linalg.eigvalsh(np.cov(samples.T))[::-1]
    np.testing.assert_allclose(Cloud.of(samples).spectrum()[:9], values / values.sum(), atol=1e-9)


def test_copies_change_nothing():
    samples = embedded(150, 5, 30)
    once, doubled = Cloud.of(samples), Cloud.of(np.vstack([samples, samples[:60]]))
    assert len(doubled) == 150
    np.testing.assert_array_equal(doubled.index, np.arange(150))
    assert twonn_dimension(doubled) == twonn_dimension(once)
    assert likelihood_dimension(doubled) == likelihood_dimension(once)


def test_a_part_is_what_its_samples_alone_would_be():
    samples = embedded(80, 4, 12)
    part = np.arange(10, 70)
    whole = Cloud.of(samples).part(part)
    assert likelihood_dimension(whole, 5) == pytest.approx(likelihood_dimension(Cloud.of(samples[part]), 5))
    assert effective_rank(whole) == pytest.approx(effective_rank(Cloud.of(samples[part])))


def test_what_cannot_be_measured_is_none_and_not_a_number():
    few = Cloud.of(embedded(9, 3, 5))
    assert [f(few) for f in (pca_dimension, effective_rank, likelihood_dimension, twonn_dimension)] == [None] * 4
    assert likelihood_dimension(Cloud.of(embedded(30, 3, 5)), k=29) is None
    corners = Cloud.of(np.eye(20))  # every sample is equally far from every other
    assert likelihood_dimension(corners) is None
    assert twonn_dimension(corners) is None
