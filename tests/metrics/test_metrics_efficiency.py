"""Parameter efficiency: a ratio with an interval of both errors together, and void where it means nothing."""

from __future__ import annotations

import numpy as np
import pytest

from foresight.metrics.efficiency import efficiency_scores, why_void
from foresight.metrics.statistics import Interval, mean_interval

N = 60
GROUPS = [f"source-{i // 2}" for i in range(N)]
RNG = np.random.default_rng(0)
HARD = RNG.uniform(0.1, 0.5, N)  # how hard each picture is, for everyone
TRIVIAL = {"mean_latent": 2.5 * HARD + 0.2, "blank_image": 3 * HARD + 0.2}
ORACLE = 0.1 * HARD


def near(errors: np.ndarray) -> np.ndarray:
    return errors + np.random.default_rng(1).normal(0, 0.004, N)


def test_it_is_a_ratio_of_means_in_which_hard_pictures_weigh_as_they_do():
    small, large = 1.25 * HARD, HARD
    scores, sources = efficiency_scores(small, large, GROUPS)
    assert scores.mean() == pytest.approx(0.75)
    assert sources == sorted(set(GROUPS))
    assert efficiency_scores(large, large, GROUPS)[0] == pytest.approx(1.0)
    assert efficiency_scores(near(1.25 * HARD), large, GROUPS)[0].mean() == pytest.approx(
        1 - (near(1.25 * HARD).mean() - large.mean()) / large.mean()
    )


def test_its_interval_resamples_both_at_once():
    """As the percentiles of the ratio over resampled sources; how hard the pictures are cancels."""
    small, large = near(1.25 * HARD), near(HARD)[::-1][::-1]
    found = mean_interval([tuple(map(list, efficiency_scores(small, large, GROUPS)))])
    assert isinstance(found, Interval)
    rng, ratios = np.random.default_rng(2), []
    for _ in range(2000):
        chosen = rng.integers(0, N // 2, N // 2)
        index = np.concatenate([2 * chosen, 2 * chosen + 1])
        ratios.append(2 - small[index].mean() / large[index].mean())
    low, high = np.quantile(ratios, [0.025, 0.975])
    assert (found.low, found.high) == (pytest.approx(low, abs=0.003), pytest.approx(high, abs=0.003))
    assert found.high - found.low < 0.04 < 1.96 * HARD.std() / N**0.5 / HARD.mean()


def test_there_is_one_where_the_reference_is_ahead_however_little():
    assert why_void(near(1.25 * HARD), HARD, TRIVIAL, ORACLE, GROUPS) == ""
    assert why_void(near(HARD + 0.01), HARD, TRIVIAL, ORACLE, GROUPS) == "", "a hundredth on the same pictures"


def test_equal_adapters_have_none():
    why = why_void(near(HARD), HARD, TRIVIAL, ORACLE, GROUPS)
    assert why.startswith("the large adapter (0.")
    assert "level with the small one" in why
    assert "either more weights do not help here or they were not used" in why


def test_nor_do_two_that_have_nothing_left_to_learn():
    why = why_void(near(ORACLE + 0.01), ORACLE + 0.01, TRIVIAL, ORACLE, GROUPS)
    assert "both are nearly where the decoder itself is" in why
    assert "ask for no more weights than the small one has" in why


def test_nor_does_a_reference_that_is_behind_the_small_one():
    assert "is behind the small one" in why_void(HARD, near(1.2 * HARD), TRIVIAL, ORACLE, GROUPS)


def test_nor_one_that_does_as_well_as_what_needs_no_features():
    why = why_void(near(3 * HARD), near(2.5 * HARD + 0.2), TRIVIAL, ORACLE, GROUPS)
    assert "level with 'mean_latent'" in why


def test_nor_one_of_too_few_sources():
    few = slice(0, 16)
    trivial = {name: of[few] for name, of in TRIVIAL.items()}
    why = why_void(1.25 * HARD[few], HARD[few], trivial, ORACLE[few], GROUPS[few])
    assert "too few sources" in why
