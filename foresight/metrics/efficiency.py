"""Parameter efficiency: how much worse is a small adapter than a large one, as a share of the large one's error.

    efficiency = 1 - (L_small - L_large) / L_large        L: mean error over held-out pictures, less is better

A ratio of means: sources are resampled for both at once, so what a hard picture does to one it does to the other. It
travels in a record as jackknife pseudo-values, one a source, whose mean is the ratio itself.

It compares with a reference, and is *void* where there is none: where the large adapter is not ahead of what needs no
features at all, or not ahead of the small one. The second is by the paired difference over sources, which is what
"beats the upper bound of the small one" can mean for scores of the same pictures: how hard they are cancels. Two equal
adapters would have an efficiency of 1 whatever they could do, two that learned nothing as well, and a reference
that was badly trained more than 1; so would a task that the small one has exhausted, which is said as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from foresight.metrics.statistics import Interval, jackknife_scores, paired_difference_interval

EXHAUSTED = 0.1  # of the way from what needs no features to the oracle


def efficiency_scores(small_N: np.ndarray, large_N: np.ndarray, groups: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """One score a source, with its name; their mean is the efficiency."""
    return jackknife_scores(lambda index: float(2.0 - small_N[index].mean() / large_N[index].mean()), groups)


def why_void(
    small_N: np.ndarray,
    large_N: np.ndarray,
    trivial: Mapping[str, np.ndarray],
    oracle_N: np.ndarray,
    groups: Sequence[str],
) -> str:
    """Why there is no efficiency, in a sentence without full stop; empty if there is one."""
    name = min(trivial, key=lambda one: float(trivial[one].mean()))
    means = {
        "small": small_N.mean(),
        "large": large_N.mean(),
        "oracle": oracle_N.mean(),
        "trivial": trivial[name].mean(),
    }
    if (word := _standing(large_N, trivial[name], groups)) != "ahead of":
        return (
            f"the large adapter ({means['large']:.3f}) is {word} '{name}' ({means['trivial']:.3f}), which needs "
            "no features, so that there is nothing to be nearly as good as"
        )
    word = _standing(large_N, small_N, groups)
    if word == "ahead of":
        return ""
    said = f"the large adapter ({means['large']:.3f}) is {word} the small one ({means['small']:.3f})"
    if word == "behind":
        return f"{said}, so that it is no reference: it was not trained as well"
    if word == "level with" and means["large"] - means["oracle"] < EXHAUSTED * (means["trivial"] - means["oracle"]):
        return (
            f"{said}, and both are nearly where the decoder itself is ({means['oracle']:.3f}): these pictures ask for "
            "no more weights than the small one has, and what does not tell the two apart cannot say how near they are"
        )
    return (
        f"{said}: either more weights do not help here or they were not used, and what does not tell the two apart "
        "cannot say how near they are"
    )


def _standing(error_N: np.ndarray, other_N: np.ndarray, groups: Sequence[str]) -> str:
    found = paired_difference_interval([(error_N.tolist(), other_N.tolist(), list(groups))], higher_is_better=False)
    if not isinstance(found, Interval):
        return "not told apart (too few sources) from"
    return ("ahead of" if found.low > 0 else "behind") if found.excludes_zero else "level with"
