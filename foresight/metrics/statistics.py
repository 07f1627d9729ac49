"""Intervals: how far a score could be from what other sources and other seeds would have given.

The unit of resampling is the *source* ("group"): a photograph, a clip, a generator seed; never a crop or a frame of it.
The model behind every interval is crossed random effects, score = mean + seed + source + rest, where a seed stands for
a split and an initialisation, and the seeds' test sets differ and overlap.

- *Test sampling.* What is estimated is the metric as reported: the mean over samples, then over seeds. Sources differ
  in how many samples and seeds they have a part in, so this is a ratio of sums over sources; each source enters with
  its linearised contribution (Cochran 1977, section 6.3), whose mean is exactly the estimate, and sources are
  resampled: BCa (Efron 1987). Percentiles of so few sources are too narrow, so the level is widened by
  t(n-1) * sqrt(n / (n-1)) (Hesterberg 2015, "expanded percentile"): 98.3 % is asked for at 10 sources.
- *Seeds.* Their variance is estimated by the method of moments for unbalanced crossed effects (Gao and Owen 2017),
  which subtracts what test sampling alone makes seeds differ by, and is cut off at zero. With S seeds it has S-1
  degrees of freedom, hence t(S-1): 12.7 for two seeds, 4.3 for three.
- The two half widths are combined by root-sum-of-squares, each side apart (MOVER, Zou and Donner 2008), which keeps
  BCa's skew and is exact when either part is zero.

Coverage of the nominal 95 %, in per cent, simulated over 10, 20 and 40 sources, normal, gamma(2) and exponential
scores, and a seed effect of 0, 1 and 2 times the residual (700 data sets each where all seeds have the same test set,
400 where each has a third of one pool; `tests/metrics/test_statistics.py` repeats some of it):

    test sets of the seeds      1 seed   2 seeds   3 seeds   5 seeds
    the same      lowest          91.7      92.7      92.3      91.6
                  median          93.6      94.9      96.1      95.9
    a third of    lowest                    86.3      90.5      92.8
    one pool      median                    90.5      94.0      94.8

The highest is 98.1. Two seeds cannot tell their own effect from test sampling well, which is one reason why `high`
confidence asks for three.
One seed says nothing of seeds: its interval is about that seed alone, and its `method` says so.

**Pairwise statistics** (rank correlation of distances, neighbour overlap, CKA, intrinsic dimension, silhouette) are
never resampled with replacement: a duplicate is its own nearest neighbour. `subsample_interval` leaves groups out, and
`jackknife_scores` turns such a statistic into one score a group, so that it travels in a record like any other metric.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from foresight.files import sha256_bytes

LEVEL = 0.95
MINIMUM_GROUPS = 10
RESAMPLES = 9999
LARGEST = 1e100
GRID = 2.0**30
"""Scores are rounded to 1e-9 of their spread before resampling. Sums are then exact: neither the order of the records
nor a constant added to all scores can change which resamples tie with the estimate."""
DRAWS_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Interval:
    """A 95 % interval. `n_groups` sources over all seeds."""

    estimate: float
    low: float
    high: float
    n_groups: int
    n_seeds: int
    method: str
    from_seeds: float = 0.0  # the half width that seeds alone would give; the rest is test sampling

    @property
    def mostly_seeds(self) -> bool:
        """Whether the spread between seeds makes more of it, on both sides, than which sources were tested."""
        widest = max(self.estimate - self.low, self.high - self.estimate)
        return 2 * self.from_seeds**2 > widest**2

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Insufficient:
    """No interval, and why. It has no ends, so that nobody can compare with them."""

    reason: str
    n_groups: int
    n_seeds: int


Estimate = Interval | Insufficient
Seed = tuple[Sequence[float], Sequence[str]]
"""`(scores, groups)` of one seed, both of length n; n may differ between seeds."""


def mean_interval(samples_by_seed: Sequence[Seed], *, resamples: int = RESAMPLES) -> Estimate:
    """The mean over samples and seeds, with an interval that carries seed variance and test sampling both.

    Every seed weighs the same, and so does every sample of a seed; sources are what is resampled. Deterministic: the
    resamples depend on the names of the groups and on nothing else. `Insufficient` under 10 sources. Raises
    `ValueError` if a seed is empty, its lengths differ, or a score is not finite.
    """
    if not samples_by_seed:
        raise ValueError("mean_interval needs the samples of one seed at least")
    names, scores_SG, counts_SG = _per_source(samples_by_seed)
    n_seeds, n_groups = scores_SG.shape
    if n_groups < MINIMUM_GROUPS:
        return Insufficient(f"{_count(n_groups, 'test source')}, {MINIMUM_GROUPS} needed", n_groups, n_seeds)
    if float(np.abs(scores_SG[~np.isnan(scores_SG)]).max()) > LARGEST:
        return Insufficient(f"scores beyond {LARGEST:g}: their squares are not numbers any more", n_groups, n_seeds)
    centre, contributions_G = _contributions(scores_SG, counts_SG)
    below, above = _bca(contributions_G, centre, names, resamples)
    if not (math.isfinite(below) and math.isfinite(above)):
        return Insufficient("the scores are degenerate: the bootstrap of their mean has no interval", n_groups, n_seeds)
    seeds = _seed_half_width(scores_SG)
    return Interval(
        estimate=centre,
        low=centre - math.hypot(below, seeds),
        high=centre + math.hypot(above, seeds),
        n_groups=n_groups,
        n_seeds=n_seeds,
        method="BCa over sources, " + (f"t over {n_seeds} seeds" if n_seeds > 1 else "one seed, of no others"),
        from_seeds=seeds,
    )


def seed_half_width(samples_by_seed: Sequence[Seed]) -> float:
    """How far either way seeds alone widen `mean_interval` of the same samples; 0 for one seed."""
    return _seed_half_width(_per_source(samples_by_seed)[1])


def paired_difference_interval(
    samples_by_seed: Sequence[tuple[Sequence[float], Sequence[float], Sequence[str]]],
    *,
    higher_is_better: bool,
    resamples: int = RESAMPLES,
) -> Estimate:
    """How much better than a baseline on the same samples: positive = better, whichever way is better.

    `samples_by_seed`: for each seed `(scores, baseline scores, groups)`, all of length n. Otherwise as `mean_interval`.
    """
    sign = 1.0 if higher_is_better else -1.0
    differences = [
        (sign * (np.asarray(scores, dtype=float) - np.asarray(baseline, dtype=float)), groups)
        for scores, baseline, groups in samples_by_seed
    ]
    return mean_interval(differences, resamples=resamples)


def pooled_mean(samples_by_seed: Sequence[Seed]) -> float:
    """What `mean_interval` estimates: the mean over seeds of their mean over samples."""
    _, scores_SG, counts_SG = _per_source(samples_by_seed)
    return _contributions(scores_SG, counts_SG)[0]


def subsample_interval(
    statistic: Callable[[np.ndarray], float],
    groups: Sequence[str],
    *,
    fraction: float = 0.8,
    resamples: int = 200,
    seed: int = 0,
) -> Estimate:
    """An interval for a pairwise statistic: groups are left out, never repeated.

    `statistic(indices)` computes it on those samples; `indices` ascend. Subsets of b of the n groups are drawn without
    replacement and their spread is rescaled by sqrt(b / (n - b)) to samples of size n (subsampling, Politis and Romano
    1994, in the form of the delete-d jackknife, Shao and Wu 1989). The spread is taken about the subsets' own mean,
    because such statistics drift with the number of samples. Symmetric, with t(n-1).
    """
    from scipy.special import stdtrit

    names, member = np.unique(np.asarray(groups), return_inverse=True)
    n = len(names)
    if n < MINIMUM_GROUPS:
        return Insufficient(f"{_count(n, 'test source')}, {MINIMUM_GROUPS} needed", n, 1)
    kept = min(n - 1, max(2, round(fraction * n)))
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(resamples):
        chosen = np.zeros(n, dtype=bool)
        chosen[generator.choice(n, kept, replace=False)] = True
        values.append(float(statistic(np.flatnonzero(chosen[member]))))
    estimate = float(statistic(np.arange(len(member))))
    half = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * math.sqrt(kept / (n - kept)) * float(np.std(values, ddof=1))
    if not (math.isfinite(estimate) and math.isfinite(half)):
        return Insufficient("the statistic is not finite on some of the subsamples", n, 1)
    method = f"subsampling {kept} of {n} sources without replacement"
    return Interval(estimate, estimate - half, estimate + half, n, 1, method)


def jackknife_scores(statistic: Callable[[np.ndarray], float], groups: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """One score a group for a statistic that is no mean: `(scores, groups)`, both [groups], for `log_samples`.

    Delete-group jackknife pseudo-values (Tukey 1958) centred on the statistic T: T + (n-1) (mean of T_-g - T_-g). Their
    mean is T and their standard error is the jackknife's, so `mean_interval` applies, and so does the paired difference
    to a baseline's `jackknife_scores`. `statistic(indices)` as in `subsample_interval`; it is called n + 1 times.
    """
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    n = len(names)
    if n < 2:
        raise ValueError("jackknife_scores needs two groups at least: it leaves out one at a time")
    without = np.array([float(statistic(np.flatnonzero(member != g))) for g in range(n)])
    whole = float(statistic(np.arange(len(member))))
    return pseudo_values(whole, without), [str(name) for name in names]


def pseudo_values(whole: float, without_G: np.ndarray) -> np.ndarray:
    """[G]: the scores of `jackknife_scores`, from a statistic and its values with each group left out, found faster."""
    return whole + (len(without_G) - 1) * (np.mean(without_G) - np.asarray(without_G, dtype=np.float64))


def holm(p_values: Sequence[float]) -> list[float]:
    """p values adjusted for being read together (Holm 1979), in the order given, at most 1."""
    order = np.argsort(p_values)
    steps = np.asarray(p_values, dtype=float)[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(p) for p in adjusted]


def _contributions(scores_SG: np.ndarray, counts_SG: np.ndarray) -> tuple[float, np.ndarray]:
    """The pooled mean, and [G] what each source contributes to it: numbers whose mean is the pooled mean.

    With sums a and weights b of the sources (each seed's weights add up to 1/S) the pooled mean is r = sum(a) / sum(b),
    and the linearised contribution is r + G (a - r b). Where all sources weigh the same, it is the source's own mean.
    """
    weights_SG = counts_SG / counts_SG.sum(axis=1, keepdims=True) / len(counts_SG)
    sums_G = np.where(counts_SG > 0, scores_SG * weights_SG, 0.0).sum(axis=0)
    pooled = float(sums_G.sum())
    return pooled, pooled + len(sums_G) * (sums_G - pooled * weights_SG.sum(axis=0))


def _per_source(samples_by_seed: Sequence[Seed]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Sorted group names; [S, G] mean score of each seed and group, NaN where not tested; [S, G] samples in it."""
    names = sorted({str(group) for _, groups in samples_by_seed for group in groups})
    column = {name: index for index, name in enumerate(names)}
    table = np.full((len(samples_by_seed), len(names)), np.nan)
    samples = np.zeros_like(table)
    for row, (scores, groups) in enumerate(samples_by_seed):
        values = np.asarray(scores, dtype=float)
        if values.ndim != 1 or len(values) != len(groups) or len(values) == 0 or not np.isfinite(values).all():
            raise ValueError(
                f"seed {row}: needs as many finite scores as groups, one at least; got {values.shape} and {len(groups)}"
            )
        where = np.array([column[str(group)] for group in groups])
        counts = np.bincount(where, minlength=len(names))
        sums = np.bincount(where, weights=values, minlength=len(names))
        table[row, counts > 0] = sums[counts > 0] / counts[counts > 0]
        samples[row] = counts
    return names, table, samples


def _bca(contributions_G: np.ndarray, centre: float, names: Sequence[str], resamples: int) -> tuple[float, float]:
    """How far the mean of the contributions, `centre`, reaches below and above, at the widened level.

    Efron and Tibshirani 1993, sections 14.3 and 15.4. Draws and numbers are those of `scipy.stats.bootstrap`, to a few
    units in the last place.
    """
    from scipy.special import ndtr, ndtri, stdtrit

    centred_G = contributions_G - centre
    n, scale = len(centred_G), float(np.abs(centred_G).max())
    if scale <= 1e-12 * abs(centre):  # every source scores the same, rounding apart
        return 0.0, 0.0
    rounded_G = np.round(centred_G / scale * GRID)
    means = _resampled_sums(rounded_G, int(sha256_bytes("\n".join(names))[:16], 16), resamples) / n
    mean = rounded_G.sum() / n
    bias = ndtri(((means < mean).sum() + (means <= mean).sum()) / (2 * resamples))
    about_G = rounded_G - mean  # the jackknife's deviations, up to a factor that cancels
    acceleration = (about_G**3).sum() / (about_G**2).sum() ** 1.5 / 6
    widened = ndtr(-math.sqrt(n / (n - 1)) * stdtrit(n - 1, (1 + LEVEL) / 2))
    ends = bias + np.array([1.0, -1.0]) * ndtri(widened)
    low, high = np.quantile(means, ndtr(bias + ends / (1 - acceleration * ends))) * scale / GRID
    return max(0.0, -float(low)), max(0.0, float(high))


def _resampled_sums(values_G: np.ndarray, seed: int, resamples: int) -> np.ndarray:
    """[resamples]: sums of as many values as there are, drawn with replacement."""
    n = len(values_G)
    rows = max(1, DRAWS_AT_ONCE // n)
    if resamples <= rows:
        return _times_drawn(seed, n, resamples) @ values_G
    generator = np.random.default_rng(seed)
    draws = (generator.integers(0, n, (min(rows, resamples - done), n)) for done in range(0, resamples, rows))
    return np.concatenate([values_G[drawn].sum(axis=1) for drawn in draws])


@lru_cache(maxsize=4)
def _times_drawn(seed: int, n: int, resamples: int) -> np.ndarray:
    """[resamples, n]: how often each of n was drawn. Metrics of a sub-experiment share their sources and hence this."""
    drawn = np.random.default_rng(seed).integers(0, n, (resamples, n))
    drawn += n * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * n).reshape(resamples, n).astype(np.float64)


def _seed_half_width(scores_SG: np.ndarray) -> float:
    """t(S-1) times the standard error that seeds add to the pooled mean; 0 for one seed.

    Moment equations of Gao and Owen (2017), on sums of squares about seed, source and grand means. Where no source was
    tested by two seeds, source and residual cannot be told apart and need not be.
    """
    from scipy.special import stdtrit

    tested = ~np.isnan(scores_SG)
    n_seeds, n_groups = scores_SG.shape
    per_seed, per_group, n = tested.sum(axis=1), tested.sum(axis=0), int(tested.sum())
    if n_seeds < 2 or n == n_seeds:  # with one source a seed, the spread of sources is the spread of seeds
        return 0.0
    filled = np.where(tested, scores_SG, 0.0)

    def squares(centre: np.ndarray | float) -> float:
        return float((np.where(tested, scores_SG - centre, 0.0) ** 2).sum())

    about_seeds = squares((filled.sum(axis=1) / per_seed)[:, None])
    about_groups = squares(filled.sum(axis=0) / per_group)
    about_all = squares(filled.sum() / n)
    of_seed, of_group = n - (per_seed**2).sum() / n, n - (per_group**2).sum() / n
    if n == n_groups:
        rest = about_seeds / (n - n_seeds)
        variance = (about_all - rest * (n - 1)) / of_seed
    else:
        equations = np.array(
            [[n - n_groups, 0, n - n_groups], [0, n - n_seeds, n - n_seeds], [of_seed, of_group, n - 1]]
        )
        variance = float(np.linalg.solve(equations, [about_groups, about_seeds, about_all])[0])
    return float(stdtrit(n_seeds - 1, (1 + LEVEL) / 2)) * math.sqrt(max(0.0, variance) / n_seeds)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
