"""What has changed between two runs of an experiment: metrics that moved, verdicts that flipped, failures, cost.

Pure functions over what each run has left. A metric has *moved* if the 95 % interval of its difference excludes zero:

    paired       both runs scored the same sources with the same seeds: the difference is taken source by source, which
                 takes out how hard each source is; `paired_difference_interval` over sources and seeds
    unpaired     they share fewer than half of their sources: the two intervals are combined by root-sum-of-squares
    no interval  a side came without per-sample scores, or its record was computed again since: only the values are
                 shown, and nothing is claimed of them

Steps with the same record in both runs have not changed and are only counted. What is compared is what both runs have
ended: a run of one sub-experiment flips no verdict of another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import numpy as np

from foresight.metrics.statistics import (
    LARGEST,
    Estimate,
    Insufficient,
    Interval,
    mean_interval,
    paired_difference_interval,
)
from foresight.results.gates import GateState
from foresight.results.record import Record, Samples
from foresight.results.spending import Spent

Kind = Literal["moved", "within", "no interval", "appeared", "vanished"]
ENDED = ("completed", "failed")
LEVEL_OF_CHANCE = 0.05
SAME = 1e-9
RESAMPLES = 1999
"""A fifth of a verdict's: there are hundreds of differences, and none of them decides anything. With 400 sources one
takes 0.5 ms instead of 20."""


@dataclass(frozen=True)
class Side:
    """One run of one experiment."""

    name: str  # run id
    content: Mapping[str, Any]  # its results.yaml
    records: Mapping[str, Mapping[int, Record]]  # sub-experiment -> seed -> record, as the run saw it
    spent: Spent  # by this very run, as it noted it: its records may have been computed again since
    computed: frozenset[str] = frozenset()  # fingerprints of what this very run computed, as far as they are still its
    git_commit: str = ""

    @property
    def seconds(self) -> float:
        return sum(record.usage.seconds for record in self._own())

    @property
    def cost_usd(self) -> float:
        return sum(record.usage.cost_usd for record in self._own())

    def _own(self) -> list[Record]:
        every = chain.from_iterable(seeds.values() for seeds in self.records.values())
        return [record for record in every if record.fingerprint in self.computed]


@dataclass(frozen=True)
class Change:
    """One metric of one sub-experiment."""

    sub_experiment: str
    metric: str
    kind: Kind
    before: float | None
    after: float | None
    difference: Estimate | None = None  # after - before
    how: str = ""
    higher_is_better: bool | None = None

    @property
    def better(self) -> bool | None:
        """None where nobody said which way is better, or it did not move."""
        if self.kind != "moved" or self.higher_is_better is None or not isinstance(self.difference, Interval):
            return None
        return (self.difference.estimate > 0) == self.higher_is_better


@dataclass(frozen=True)
class Flip:
    """A decision that is another one now."""

    what: str  # `lpips`, `recommendation`, `gate_1_reconstruction`
    before: str
    after: str
    reason: str = ""


@dataclass(frozen=True)
class Comparison:
    experiment_id: str
    before: Side
    after: Side
    changes: tuple[Change, ...]  # what is not the same record
    flips: tuple[Flip, ...]
    failed: Mapping[str, str]  # sub-experiment -> why; failed now and not before
    mended: tuple[str, ...]  # failed before and not now
    same: tuple[str, ...]  # sub-experiments whose records are the same
    caveats: tuple[str, ...]

    @property
    def moved(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.kind == "moved")

    @property
    def tested(self) -> int:
        """How many metrics had an interval of their difference: one in twenty moves by chance alone."""
        return sum(isinstance(change.difference, Interval) for change in self.changes)

    @property
    def is_news(self) -> bool:
        return bool(self.moved or self.flips or self.failed or self.mended)


def compare(before: Side, after: Side) -> Comparison:
    """Both of the same experiment."""
    subs = after.content["results"]["experiments"]
    earlier = before.content["results"]["experiments"]
    both = [sub for sub in subs if _ended(subs[sub]) and _ended(earlier.get(sub, {}))]
    same = tuple(sub for sub in both if _same_records(before, after, sub))
    changes = [change for sub in both if sub not in same for change in _changes(sub, before, after)]
    failed_before = {sub for sub, entry in earlier.items() if entry["status"] == "failed"}
    failed_now = {sub: subs[sub].get("error", "") for sub in subs if subs[sub]["status"] == "failed"}
    return Comparison(
        experiment_id=after.content["experiment_id"],
        before=before,
        after=after,
        changes=tuple(changes),
        flips=_flips(before, after, both),
        failed={sub: why for sub, why in failed_now.items() if sub not in failed_before},
        mended=tuple(sub for sub in both if sub in failed_before and sub not in failed_now),
        same=same,
        caveats=_caveats(before, after),
    )


def gate_flips(before: Sequence[GateState], after: Sequence[GateState]) -> list[Flip]:
    """Gates whose measured verdict, or whether they open, is another one now."""
    earlier = {state.gate: state for state in before}
    flips = []
    for state in after:
        old = earlier.get(state.gate)
        if old is not None and (old.verdict, old.opens) != (state.verdict, state.opens):
            flips.append(Flip(state.gate, _gate(old), _gate(state), state.reason))
    return flips


def _gate(state: GateState) -> str:
    return state.verdict + (" (opened by decision)" if state.opens and state.verdict in ("fail", "pending") else "")


def _flips(before: Side, after: Side, both: Sequence[str]) -> tuple[Flip, ...]:
    old = {criterion["name"]: criterion for criterion in before.content["criteria"]}
    flips = [
        Flip(criterion["name"], old[criterion["name"]]["verdict"], criterion["verdict"], criterion["reason"])
        for criterion in after.content["criteria"]
        if criterion["sub_experiment"] in both
        and criterion["name"] in old
        and old[criterion["name"]]["verdict"] != criterion["verdict"]
    ]
    needed = {criterion["sub_experiment"] for criterion in after.content["criteria"]}
    was, now = before.content["recommendation"], after.content["recommendation"]
    if needed <= set(both) and was != now:
        flips.append(Flip("recommendation", was, now))
    return tuple(flips)


def _caveats(before: Side, after: Side) -> tuple[str, ...]:
    found = []
    if before.content["profile"] != after.content["profile"]:
        found.append(f"the profiles differ: {before.content['profile']} and {after.content['profile']}")
    if before.content["plan_hash"] != after.content["plan_hash"]:
        found.append("the plans differ: criteria, handlers or needs were changed in between")
    if after.content["stand_ins"]:
        found.append("measured on stand-ins: says whether the code works, nothing about the real models")
    return tuple(found)


def _changes(sub: str, before: Side, after: Side) -> list[Change]:
    old = before.content["results"]["experiments"][sub]["metrics"]
    new = after.content["results"]["experiments"][sub]["metrics"]
    changes = []
    for metric in dict.fromkeys([*new, *old]):
        if metric not in old:
            changes.append(Change(sub, metric, "appeared", None, new[metric]))
        elif metric not in new:
            changes.append(Change(sub, metric, "vanished", old[metric], None))
        else:
            change = _change(sub, metric, old[metric], new[metric], before, after)
            if change is not None:
                changes.append(change)
    return changes


def _change(sub: str, metric: str, was: float, now: float, before: Side, after: Side) -> Change | None:
    """None where a value without an interval is the same."""
    earlier, later = _samples(before, sub, metric), _samples(after, sub, metric)
    if not earlier or not later:
        if abs(now - was) <= SAME * max(1.0, abs(was)):
            return None
        return Change(sub, metric, "no interval", was, now, how="no per-sample scores on one side")
    difference, how = difference_of(earlier, later)
    moved = isinstance(difference, Interval) and difference.excludes_zero
    kind: Kind = "moved" if moved else "within" if isinstance(difference, Interval) else "no interval"
    return Change(sub, metric, kind, was, now, difference, how, next(iter(later.values())).higher_is_better)


def difference_of(before: Mapping[int, Samples], after: Mapping[int, Samples]) -> tuple[Estimate, str]:
    """After minus before with its interval, and how it was taken. Both by seed."""
    seeds = sorted(set(before) & set(after))
    pairs = [_paired(before[seed], after[seed]) for seed in seeds]
    if seeds and all(pair is not None for pair in pairs):
        triples = [pair for pair in pairs if pair is not None]
        estimate = paired_difference_interval(triples, higher_is_better=True, resamples=RESAMPLES)
        return estimate, f"paired by source, {len(seeds)} seed{'s' if len(seeds) > 1 else ''}"
    old = mean_interval([(one.scores, one.groups) for one in before.values()], resamples=RESAMPLES)
    new = mean_interval([(one.scores, one.groups) for one in after.values()], resamples=RESAMPLES)
    if isinstance(old, Insufficient) or isinstance(new, Insufficient):
        return next(one for one in (new, old) if isinstance(one, Insufficient)), "unpaired"
    centre = new.estimate - old.estimate
    below = float(np.hypot(new.estimate - new.low, old.high - old.estimate))
    above = float(np.hypot(new.high - new.estimate, old.estimate - old.low))
    n = min(new.n_groups, old.n_groups)
    combined = Interval(centre, centre - below, centre + above, n, min(new.n_seeds, old.n_seeds), "two samples")
    return combined, "unpaired: the runs share too few sources"


def _paired(before: Samples, after: Samples) -> tuple[list[float], list[float], list[str]] | None:
    """Scores of the same sources: sample by sample where the samples are the same, else the mean of each source.

    None if fewer than half of the sources are shared.
    """
    if max(map(abs, (*before.scores, *after.scores))) > LARGEST:
        return None
    if before.groups == after.groups:
        return after.scores, before.scores, after.groups
    old, new = _by_source(before), _by_source(after)
    shared = sorted(set(old) & set(new))
    if 2 * len(shared) < max(len(old), len(new)):
        return None
    return [new[source] for source in shared], [old[source] for source in shared], shared


def _by_source(samples: Samples) -> dict[str, float]:
    scores: dict[str, list[float]] = {}
    for group, score in zip(samples.groups, samples.scores, strict=True):
        scores.setdefault(group, []).append(score)
    return {group: float(np.mean(own)) for group, own in scores.items()}


def _samples(side: Side, sub: str, metric: str) -> dict[int, Samples]:
    """By seed; nothing unless every seed that the run has speaks for itself."""
    records = side.records.get(sub, {})
    found = {seed: one for seed, record in records.items() for one in record.samples if one.metric == metric}
    return found if len(found) == len(records) == len(_fingerprints(side, sub)) else {}


def _fingerprints(side: Side, sub: str) -> Mapping[str, str]:
    return side.content["results"]["experiments"][sub].get("records", {})


def _same_records(before: Side, after: Side, sub: str) -> bool:
    ours = _fingerprints(after, sub)
    return bool(ours) and ours == _fingerprints(before, sub) and _whole(before, sub)


def _whole(side: Side, sub: str) -> bool:
    """Whether its records still are those it saw: one that was computed again since has the same fingerprint."""
    return len(side.records.get(sub, {})) == len(_fingerprints(side, sub))


def _ended(entry: Mapping[str, Any]) -> bool:
    return entry.get("status") in ENDED
