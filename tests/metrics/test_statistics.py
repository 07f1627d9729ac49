"""Intervals say how often they are right: coverage is measured on data whose truth is known."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from foresight.files import sha256_bytes
from foresight.metrics.statistics import (
    Insufficient,
    Interval,
    holm,
    jackknife_scores,
    mean_interval,
    paired_difference_interval,
    pooled_mean,
    seed_half_width,
    subsample_interval,
)

DATA_SETS = 400
RESAMPLES = 999


def centred(kind: str, generator: np.random.Generator, size: int) -> np.ndarray:
    """Draws of mean 0 and standard deviation 1."""
    if kind == "normal":
        return generator.standard_normal(size)
    if kind == "gamma":  # skewness 1.4
        return (generator.gamma(2.0, size=size) - 2) / math.sqrt(2)
    return generator.exponential(size=size) - 1  # skewness 2


def draw(
    generator: np.random.Generator, sources: int, seeds: int, kind: str, seed_effect: float, shared: bool
) -> list[tuple[np.ndarray, list[str]]]:
    """Crossed effects with mean 0. `shared`: all seeds test the same sources; else each a third of a pool."""
    pool = centred(kind, generator, sources if shared else 3 * sources)
    samples = []
    for _ in range(seeds):
        chosen = np.arange(sources) if shared else generator.choice(len(pool), sources, replace=False)
        scores = pool[chosen] + seed_effect * generator.standard_normal() + 0.5 * centred(kind, generator, sources)
        samples.append((scores, [f"source-{index}" for index in chosen]))
    return samples


@pytest.mark.parametrize(
    ("sources", "seeds", "kind", "seed_effect", "shared"),
    [
        (10, 1, "normal", 0.0, True),
        (10, 1, "gamma", 0.0, True),
        (40, 1, "exponential", 0.0, True),
        (12, 2, "normal", 0.5, True),
        (10, 3, "gamma", 0.0, True),
        (20, 3, "gamma", 0.5, True),
        (20, 3, "gamma", 0.0, False),
        (20, 3, "normal", 0.5, False),
        (40, 5, "exponential", 0.3, False),
        (20, 5, "gamma", 1.0, True),
    ],
)
def test_95_percent_intervals_hold_the_truth_92_to_98_times_in_100(sources, seeds, kind, seed_effect, shared):
    generator = np.random.default_rng(1)
    held = 0
    for _ in range(DATA_SETS):
        interval = mean_interval(draw(generator, sources, seeds, kind, seed_effect, shared), resamples=RESAMPLES)
        assert isinstance(interval, Interval)
        held += interval.low <= 0 <= interval.high
    assert 0.92 <= held / DATA_SETS <= 0.98


def test_the_estimate_is_the_metric_as_reported_and_holds_where_sources_differ_in_size():
    """Sources of 1 to 12 samples, tested by seeds unevenly: the mean over samples, then seeds, is what is covered."""
    generator = np.random.default_rng(2)
    held = 0
    for _ in range(DATA_SETS):
        samples = []
        effects = generator.standard_normal(40)
        for _ in range(3):
            chosen = generator.choice(40, 14, replace=False)
            groups = np.repeat(chosen, 1 + chosen % 12)
            scores = effects[groups] + 0.5 * generator.standard_normal(len(groups))
            samples.append((scores, [f"source-{index}" for index in groups]))
        interval = mean_interval(samples, resamples=RESAMPLES)
        assert isinstance(interval, Interval)
        assert interval.estimate == pytest.approx(np.mean([scores.mean() for scores, _ in samples]), abs=1e-12)
        held += interval.low <= 0 <= interval.high
    assert 0.92 <= held / DATA_SETS <= 0.98


def test_a_seed_effect_widens_the_interval_and_test_sampling_alone_does_not():
    """Without a seed effect, 3 seeds on other test sets are worth their number of sources, not less."""

    def half_widths(seeds: int, seed_effect: float) -> float:
        generator = np.random.default_rng(2)
        intervals = [
            mean_interval(draw(generator, 30, seeds, "normal", seed_effect, False), resamples=RESAMPLES)
            for _ in range(60)
        ]
        return float(np.mean([(one.high - one.low) / 2 for one in intervals if isinstance(one, Interval)]))

    alone, three, noisy = half_widths(1, 0.0), half_widths(3, 0.0), half_widths(3, 1.0)
    assert three < 0.9 * alone
    assert noisy > 1.8 * three


def test_an_interval_knows_how_much_of_it_comes_from_the_seeds():
    """Three seeds a tenth apart on sources that hardly differ, and three that agree: only the first is mostly seeds."""
    names = [f"source-{i}" for i in range(20)]
    scores = np.random.default_rng(0).normal(0.5, 0.01, 20)
    apart = [(scores + shift, names) for shift in (-0.1, 0.0, 0.1)]
    found = mean_interval(apart)
    assert isinstance(found, Interval)
    assert found.mostly_seeds
    assert found.from_seeds == seed_half_width(apart) == pytest.approx(4.303 * 0.1 / np.sqrt(3), rel=0.01)
    assert found.high - found.estimate == pytest.approx(found.from_seeds, rel=0.01)
    agree = mean_interval([(scores, names)] * 3)
    assert isinstance(agree, Interval)
    assert agree.from_seeds == pytest.approx(0, abs=1e-9)
    assert not agree.mostly_seeds


def test_seeds_with_nothing_in_common_are_worth_all_their_sources():
    """The spread between their means is test sampling, which is not counted again as seed variance."""
    generator = np.random.default_rng(10)
    widths = []
    for _ in range(100):
        scores = generator.normal(size=(3, 20))
        names = [f"source-{index}" for index in range(60)]
        apart = mean_interval(
            [(scores[seed], names[20 * seed : 20 * seed + 20]) for seed in range(3)], resamples=RESAMPLES
        )
        together = mean_interval([(scores.ravel(), names)], resamples=RESAMPLES)
        assert isinstance(apart, Interval)
        assert isinstance(together, Interval)
        widths.append((apart.high - apart.low) / (together.high - together.low))
    assert np.median(widths) < 1.1


def test_under_ten_sources_there_is_no_interval_however_many_samples_and_seeds():
    groups = [f"photo-{index % 9}" for index in range(900)]
    found = mean_interval([(np.linspace(0, 1, 900), groups)] * 5)
    assert found == Insufficient("9 test sources, 10 needed", 9, 5)
    assert not hasattr(found, "low")


def test_crops_of_one_photograph_count_once():
    """Repeating every sample five times adds nothing that was not known."""
    generator = np.random.default_rng(3)
    scores, groups = generator.normal(size=15), [f"photo-{index:02d}" for index in range(15)]
    once = mean_interval([(scores, groups)])
    often = mean_interval([(np.repeat(scores, 5), np.repeat(groups, 5).tolist())])
    assert isinstance(once, Interval)
    assert isinstance(often, Interval)
    assert often.n_groups == 15
    assert (often.low, often.high) == pytest.approx((once.low, once.high))


def test_the_interval_is_the_same_every_time_in_any_order_and_moves_with_the_scores():
    generator = np.random.default_rng(4)
    samples = draw(generator, 20, 3, "gamma", 0.5, False)
    shuffled = []
    for scores, groups in samples[::-1]:
        order = generator.permutation(len(scores))
        shuffled.append((scores[order], [groups[index] for index in order]))
    first, again = mean_interval(samples), mean_interval(shuffled)
    moved = mean_interval([(scores + 0.37, groups) for scores, groups in samples])
    assert isinstance(first, Interval)
    assert isinstance(again, Interval)
    assert isinstance(moved, Interval)
    assert (again.low, again.high) == pytest.approx((first.low, first.high), abs=1e-12)
    assert (moved.low - 0.37, moved.high - 0.37) == pytest.approx((first.low, first.high), abs=1e-9)


@pytest.mark.parametrize("n", [10, 30, 300])
def test_the_ends_are_those_of_scipy(n):
    """The same draws through `scipy.stats.bootstrap`, which takes a second to import and draws anew for each metric."""
    names = [f"source-{index:03}" for index in range(n)]
    drawn = np.random.default_rng(9).exponential(size=(3, n))
    for scores in np.round(drawn * 2**20) / 2**20:  # sums are exact, so that what ties here ties there
        found = mean_interval([(scores, names)])
        widened = stats.norm.cdf(math.sqrt(n / (n - 1)) * stats.t.ppf(0.975, n - 1))
        draws = np.random.default_rng(int(sha256_bytes("\n".join(names))[:16], 16))
        ends = stats.bootstrap((scores,), np.mean, confidence_level=2 * widened - 1, method="BCa", rng=draws, batch=500)
        assert isinstance(found, Interval)
        assert (found.low, found.high) == pytest.approx(tuple(ends.confidence_interval), rel=1e-7)


def test_skewed_scores_get_a_skewed_interval():
    scores = np.random.default_rng(5).exponential(size=30)
    found = mean_interval([(scores, [str(index) for index in range(30)])])
    assert isinstance(found, Interval)
    assert found.high - found.estimate > 1.15 * (found.estimate - found.low)


def test_sources_that_all_score_the_same_give_a_point():
    found = mean_interval([([0.35] * 12, [str(index) for index in range(12)])] * 3)
    assert isinstance(found, Interval)
    assert (found.low, found.high) == (found.estimate, found.estimate)


def test_a_paired_difference_sees_what_the_two_means_alone_would_hide():
    generator = np.random.default_rng(6)
    difficulty = generator.normal(0, 1, 20)
    ours, theirs = difficulty - 0.1 + generator.normal(0, 0.05, 20), difficulty
    groups = [str(index) for index in range(20)]
    paired = paired_difference_interval([(ours, theirs, groups)], higher_is_better=False)
    alone = mean_interval([(ours, groups)])
    assert isinstance(paired, Interval)
    assert isinstance(alone, Interval)
    assert 0 < paired.low < 0.1 < paired.high < 0.2
    assert alone.low < 0 < alone.high
    worse = paired_difference_interval([(ours, theirs, groups)], higher_is_better=True)
    assert isinstance(worse, Interval)
    assert worse.high < 0


@settings(max_examples=60)
@given(st.data())
def test_any_layout_of_seeds_and_sources_gives_ends_in_order_or_says_why_not(data):
    numbers = st.floats(-1e150, 1e150, allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, 1.0, 0.1])
    samples = []
    for _ in range(data.draw(st.integers(1, 4))):
        scores = data.draw(st.lists(numbers, min_size=1, max_size=15))
        names = st.integers(0, 25).map(str)
        samples.append((scores, data.draw(st.lists(names, min_size=len(scores), max_size=len(scores)))))
    found = mean_interval(samples, resamples=199)
    if isinstance(found, Interval):
        assert found.low <= found.estimate <= found.high
        assert math.isfinite(found.low)
        assert math.isfinite(found.high)
        assert found.estimate == pooled_mean(samples)
    else:
        assert found.reason


@pytest.mark.parametrize("samples", [[], [([], [])], [([1.0], ["a", "b"])], [([math.nan], ["a"])]])
def test_what_is_no_sample_is_refused(samples):
    with pytest.raises(ValueError, match="seed"):
        mean_interval(samples)


def gini_difference(values: np.ndarray) -> float:
    """Mean |a - b| over pairs: 2 / sqrt(pi) for standard normal values."""
    return float(np.abs(values[:, None] - values[None]).sum() / (len(values) * (len(values) - 1)))


def test_subsampling_covers_a_known_pairwise_statistic():
    generator = np.random.default_rng(7)
    held = 0
    for _ in range(300):
        values = generator.standard_normal(25)
        found = subsample_interval(
            lambda index, v=values: gini_difference(v[index]), [str(i) for i in range(25)], resamples=100
        )
        assert isinstance(found, Interval)
        held += found.low <= 2 / math.sqrt(math.pi) <= found.high
    assert 0.92 <= held / 300 <= 0.98


def test_subsampling_survives_where_resampling_with_replacement_collapses():
    """Distance to the nearest neighbour: a duplicate is a neighbour at distance zero."""
    generator = np.random.default_rng(8)
    values = np.sort(generator.uniform(size=30))

    def nearest(index: np.ndarray) -> float:
        points = np.sort(values[index])
        gaps = [after - before for before, after in pairwise(points)]
        return float(np.median(gaps))

    found = subsample_interval(nearest, [str(index) for index in range(30)])
    assert isinstance(found, Interval)
    assert found.low <= found.estimate <= found.high
    duplicated = [nearest(generator.integers(0, 30, 30)) for _ in range(200)]
    assert np.median(duplicated) < 0.7 * found.estimate


def test_subsampling_leaves_out_whole_sources_and_repeats_none():
    groups = [f"photo-{index // 3}" for index in range(36)]
    seen = []

    def statistic(index: np.ndarray) -> float:
        seen.append(index)
        return float(index.mean())

    subsample_interval(statistic, groups, resamples=20)
    for index in seen:
        assert len(set(index.tolist())) == len(index)
        kept = {groups[one] for one in index}
        assert len(index) == 3 * len(kept)
    assert isinstance(subsample_interval(statistic, groups[:27]), Insufficient)


def test_jackknife_scores_make_a_correlation_a_metric_like_any_other():
    """Their mean is the statistic, and the interval of their mean covers the true correlation."""
    generator = np.random.default_rng(9)
    truth, held = 0.6, 0
    groups = [f"s{index:02d}" for index in range(30)]
    for _ in range(300):
        x = generator.standard_normal(30)
        y = truth * x + math.sqrt(1 - truth**2) * generator.standard_normal(30)
        scores, names = jackknife_scores(lambda i, x=x, y=y: float(np.corrcoef(x[i], y[i])[0, 1]), groups)
        assert scores.mean() == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-9)
        assert names == groups
        found = mean_interval([(scores, names)], resamples=RESAMPLES)
        assert isinstance(found, Interval)
        held += found.low <= truth <= found.high
    assert 0.91 <= held / 300 <= 0.98


def test_jackknife_scores_of_a_mean_are_the_group_means():
    values = np.array([1.0, 2.0, 4.0, 9.0])
    scores, names = jackknife_scores(lambda index: float(values[index].mean()), ["b", "a", "d", "c"])
    assert names == ["a", "b", "c", "d"]
    assert scores.tolist() == pytest.approx([2.0, 1.0, 9.0, 4.0])
    with pytest.raises(ValueError, match="two groups"):
        jackknife_scores(lambda index: 0.0, ["a", "a"])


def test_holm_adjusts_for_what_is_read_together():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # Holm's own arithmetic, by hand
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
