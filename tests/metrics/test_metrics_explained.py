"""R2 about train's mean, and its scores by source."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import r2_score

from foresight.metrics.explained import Explained, centred_cosine
from foresight.metrics.statistics import Interval, mean_interval


@pytest.fixture
def samples():
    rng = np.random.default_rng(0)
    true = rng.standard_normal((40, 7)) * [1, 2, 3, 1, 1, 5, 1] + 3
    return true, true + 0.5 * rng.standard_normal((40, 7)), true.mean(0)


def test_with_the_tests_own_mean_it_is_scikit_learns(samples):
    true, predicted, mean = samples
    found = Explained.of(true, predicted, mean).r2
    weights = true.var(0)
    assert found == pytest.approx(np.average(r2_score(true, predicted, multioutput="raw_values"), weights=weights))


def test_predicting_trains_mean_scores_zero_wherever_the_test_lies(samples):
    true, predicted, mean = samples
    train_mean = mean + 2
    assert Explained.of(true, np.tile(train_mean, (40, 1)), train_mean).r2 == 0
    assert Explained.of(true, true, train_mean).r2 == 1
    assert Explained.of(true, predicted - 9, train_mean).r2 < 0


def test_the_scores_of_sources_average_to_it_and_have_an_interval(samples):
    explained = Explained.of(*samples)
    scores, sources = explained.scores([f"source-{i // 2}" for i in range(40)])
    assert len(sources) == 20
    assert np.mean(scores) == pytest.approx(explained.r2)
    interval = mean_interval([(scores, sources)])
    assert isinstance(interval, Interval)
    assert 0 < interval.low < explained.r2 < interval.high < 1


def test_the_cosine_is_about_trains_mean(samples):
    true, predicted, mean = samples
    assert centred_cosine(true, true, mean) == pytest.approx(np.ones(40))
    assert centred_cosine(true, 2 * mean - true, mean) == pytest.approx(-np.ones(40))
    assert (centred_cosine(true, np.tile(mean, (40, 1)), mean) == 0).all()
    assert centred_cosine(true + 1000, predicted + 1000, mean + 1000) == pytest.approx(
        centred_cosine(true, predicted, mean)
    )


def test_what_is_undefined_raises(samples):
    true, predicted, mean = samples
    with pytest.raises(ValueError, match="undefined"):
        Explained.of(np.tile(mean, (40, 1)), predicted, mean)
    with pytest.raises(ValueError, match="R2 of"):
        Explained.of(true, predicted[:5], mean)
