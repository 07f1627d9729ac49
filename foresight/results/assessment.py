"""From records and criteria to verdicts. Pure functions: no files, no clock, no order of arrival.

The rules are those of research-program.md section 7. Each criterion is read from its one designated sub-experiment and
metric, and judged on an interval over sources and seeds and on the paired difference to the best trivial baseline:

    not measured  the designated sub-experiment has not finished every seed, or left no such metric, because it failed
                  or because its own rules make it void (`runner.not_measured`)
    not met       the better end of the interval is worse than acceptable, or the best trivial baseline does as well
    met           the worse end of the interval is at acceptable or better, and better than the best baseline
    marginal      anything else

`met` is earned, never assumed. Where the evidence has a hole (no per-sample scores, fewer than 10 test sources, no
baseline, one that some seeds lack, a seed that failed) the verdict is marginal at best and the reason names the hole;
it is not `not met` either, because giving up a claim on missing evidence would be as wrong as keeping it. Nor is a
criterion met that was another when its numbers were made: a threshold is fixed before, or it is no threshold.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from foresight.metrics.statistics import (
    LARGEST,
    Estimate,
    Insufficient,
    Interval,
    mean_interval,
    paired_difference_interval,
    pooled_mean,
)
from foresight.plan.schema import Criterion
from foresight.results.findings import number
from foresight.results.record import Record, Samples

Verdict = Literal["met", "marginal", "not met", "not measured"]
Recommendation = Literal["proceed", "pivot", "investigate", "pending"]
Confidence = Literal["high", "medium", "low"]

VOID = "void: "  # how the reason begins of a metric that was left unmeasured by rule
SEEDS_FOR_HIGH_CONFIDENCE = 3
TOLERANCE = 1e-9  # the mean of twenty scores of 0.35 is 0.35000000000000003, which is at 0.35
SAMPLES_TOLERANCE = 1e-6
DECIDING = ("metric", "direction", "target", "acceptable", "failure", "arm")


@dataclass(frozen=True)
class Evidence:
    """What one sub-experiment has left, all of one plan and profile. A seed is in exactly one of the three."""

    records: Mapping[int, Record] = field(default_factory=dict)
    failed: Mapping[int, str] = field(default_factory=dict)  # seed -> why, one line
    unfinished: frozenset[int] = frozenset()


@dataclass(frozen=True)
class CriterionVerdict:
    """One criterion, all that it was judged on, and why."""

    criterion: Criterion
    verdict: Verdict
    reason: str  # one sentence
    value: float | None = None  # mean over seeds, as in the sub-experiment's metrics; None = not measured
    interval: Estimate | None = None  # None = no per-sample scores
    baseline: str | None = None  # the best trivial one
    baseline_value: float | None = None
    difference: Estimate | None = None  # paired; positive = better than the baseline
    n: int = 0  # test sources
    n_seeds: int = 0
    tried: bool = False  # not measured although it ran

    @property
    def at_or_beyond_failure(self) -> bool:
        return self.value is not None and _as_good(self.criterion.failure, self.value, self.criterion.direction)


@dataclass(frozen=True)
class Assessment:
    criteria: tuple[CriterionVerdict, ...]
    recommendation: Recommendation
    confidence: Confidence
    success_criteria_met: bool


def assess(criteria: Sequence[Criterion], evidence: Mapping[str, Evidence]) -> Assessment:
    """Judge an experiment. `evidence` by sub-experiment id; a missing entry has not run.

    One criterion `not met` decides the experiment, since no other can mend it: pivot, even while others are not
    measured. Then what is not measured: investigate where it was tried and failed, else pending. Then marginal:
    investigate.
    """
    verdicts = tuple(judge(criterion, evidence.get(criterion.sub_experiment, Evidence())) for criterion in criteria)
    said = {verdict.verdict for verdict in verdicts}
    recommendation: Recommendation
    if "not met" in said:
        recommendation = "pivot"
    elif "not measured" in said or not verdicts:
        recommendation = "investigate" if any(verdict.tried for verdict in verdicts) else "pending"
    else:
        recommendation = "investigate" if "marginal" in said else "proceed"
    return Assessment(verdicts, recommendation, _confidence(verdicts), said == {"met"})


def judge(criterion: Criterion, evidence: Evidence) -> CriterionVerdict:
    """The verdict on one criterion from its designated sub-experiment."""
    metric = criterion.metric
    found = {seed: _value(evidence.records[seed], metric) for seed in sorted(evidence.records)}
    values = {seed: value for seed, value in found.items() if value is not None}
    silent = {seed: _without(metric, evidence.records[seed]) for seed in found if seed not in values}
    lost = {**evidence.failed, **silent}
    seeds = len(values) + len(lost) + len(evidence.unfinished)
    if evidence.unfinished or not values:
        reason = _why_not_measured(criterion.sub_experiment, len(values), seeds, lost)
        return CriterionVerdict(criterion, "not measured", reason, tried=bool(lost))

    logged = [_samples(evidence.records[seed], metric) for seed in values]
    samples = [one for one in logged if one is not None]
    measured = _measure(criterion, mean(values.values()), samples if len(samples) == len(values) else [])
    verdict: Verdict
    if any(
        abs(value - mean(one.scores)) > SAMPLES_TOLERANCE * max(1.0, abs(value))
        for value, one in zip(values.values(), logged, strict=True)
        if one is not None
    ):
        verdict, reason = "marginal", "the metric is not the mean of its per-sample scores, so they do not speak for it"
    else:
        verdict, reason = _decide(criterion, measured)
    if lost:
        seed, why = min(lost.items())
        failed = "" if why.startswith(VOID) else "failed: "
        reason += f"; {len(values)} of {seeds} seeds only, seed {seed} {failed}{why}"
        verdict = "marginal" if verdict == "met" else verdict
    if moved := changed_since(criterion, [evidence.records[seed] for seed in values]):
        reason += f"; {moved}"
        verdict = "marginal" if verdict == "met" else verdict
    return CriterionVerdict(criterion, verdict, reason, n_seeds=len(values), **vars(measured))


def changed_since(criterion: Criterion, records: Iterable[Record]) -> str:
    """What of the criterion is not as it was when the first of the records that saw another was made; empty if nothing.

    A record that does not say by what it was judged is not held against it.
    """
    for record in records:
        if record.criteria is None:
            continue
        then = next((one for one in record.criteria if one.name == criterion.name), None)
        if then is None:
            return f"it was no criterion when {record.label} was measured"
        for field_name in DECIDING:
            before, now = getattr(then, field_name), getattr(criterion, field_name)
            if before != now:
                said = number(before) if isinstance(before, float) else f"'{before}'"
                return f"its {field_name} was {said} when {record.label} was measured"
    return ""


@dataclass(frozen=True)
class _Measured:
    value: float
    interval: Estimate | None = None
    baseline: str | None = None
    baseline_value: float | None = None
    difference: Estimate | None = None
    n: int = 0


def _measure(criterion: Criterion, value: float, samples: Sequence[Samples]) -> _Measured:
    """Interval, best baseline and the difference to it; nothing of it where a seed came without per-sample scores.

    The best baseline is the one that we are least ahead of, sample by sample. Which way is better is the plan's word.
    Where a seed lacks a baseline that another has, the best of all seeds is not known, and so is no difference to it.
    """
    if not samples:
        return _Measured(value)
    interval = mean_interval([(one.scores, one.groups) for one in samples])
    names = sorted({name for one in samples for name in one.baselines})
    columns = [scores for one in samples for scores in (one.scores, *one.baselines.values())]
    if not names or max(abs(score) for scores in columns for score in scores) > LARGEST:
        return _Measured(value, interval, n=interval.n_groups)

    higher = criterion.direction == "higher"
    triples = {
        name: [(one.scores, one.baselines[name], one.groups) for one in samples if name in one.baselines]
        for name in names
    }

    def ahead(name: str) -> float:
        ours = pooled_mean([(scores, groups) for scores, _, groups in triples[name]])
        theirs = pooled_mean([(baseline, groups) for _, baseline, groups in triples[name]])
        return ours - theirs if higher else theirs - ours

    best = min(names, key=ahead)
    lacking = next((name for name in names if len(triples[name]) < len(samples)), None)
    return _Measured(
        value=value,
        interval=interval,
        baseline=best,
        baseline_value=mean(mean(baseline) for _, baseline, _ in triples[best]),
        difference=paired_difference_interval(triples[best], higher_is_better=higher)
        if lacking is None
        else Insufficient(
            f"'{lacking}' stands beside {len(triples[lacking])} of {len(samples)} seeds only",
            interval.n_groups,
            len(samples),
        ),
        n=interval.n_groups,
    )


def _decide(criterion: Criterion, measured: _Measured) -> tuple[Verdict, str]:
    """The rules, in the order in which they speak."""
    interval, difference, direction = measured.interval, measured.difference, criterion.direction
    acceptable = f"acceptable ({number(criterion.acceptable)})"
    if interval is None:
        return "marginal", "no per-sample scores, so no interval"
    if isinstance(interval, Insufficient):
        return "marginal", f"insufficient for an interval: {interval.reason}"
    ends = _ends(interval)
    if not (_as_good(measured.value, interval.low, "higher") and _as_good(measured.value, interval.high, "lower")):
        return "marginal", f"the metric lies outside {ends}, the interval of the mean of its own scores"
    worse, better = (interval.low, interval.high) if direction == "higher" else (interval.high, interval.low)
    if not _as_good(better, criterion.acceptable, direction):
        return "not met", f"even the better end of {ends} is worse than {acceptable}"
    if difference is None:
        return "marginal", "no trivial baseline beside it"
    if isinstance(difference, Insufficient):
        return "marginal", f"insufficient for a comparison with '{measured.baseline}': {difference.reason}"
    if difference.low <= 0:
        does = "is better" if difference.high < 0 else "does as well"
        return "not met", f"'{measured.baseline}' {does}: the advantage over it is {_ends(difference)}"
    if not _as_good(worse, criterion.acceptable, direction):
        return "marginal", f"{acceptable} lies inside {ends}"
    return "met", f"all of {ends} is at {acceptable} or better, and better than '{measured.baseline}'"


def _why_not_measured(sub: str, finished: int, seeds: int, lost: Mapping[int, str]) -> str:
    if lost:
        seed, why = min(lost.items())
        failed = sum(not reason.startswith(VOID) for reason in lost.values())
        how = "was tried and failed" if failed else f"left it unmeasured in {len(lost)} of {seeds} seeds"
        return f"{sub} {how}: seed {seed}, {why}"
    return f"{sub}: {finished} of {seeds} seeds have finished" if seeds else f"{sub} has not run"


def _confidence(verdicts: Sequence[CriterionVerdict]) -> Confidence:
    """high: every criterion has interval, baseline and 3 seeds; medium: fewer seeds; low: anything else is missing."""
    whole = all(isinstance(v.interval, Interval) and isinstance(v.difference, Interval) for v in verdicts)
    if not verdicts or not whole:
        return "low"
    return "high" if all(verdict.n_seeds >= SEEDS_FOR_HIGH_CONFIDENCE for verdict in verdicts) else "medium"


def _without(metric: str, record: Record) -> str:
    if why := record.not_measured.get(metric):
        return f"{VOID}{why.removeprefix(VOID)}"
    return f"it reported no '{metric}', only {', '.join(sorted(record.metrics)) or 'nothing'}"


def _value(record: Record, metric: str) -> float | None:
    if metric in record.metrics:
        return record.metrics[metric]
    samples = _samples(record, metric)
    return mean(samples.scores) if samples else None


def _samples(record: Record, metric: str) -> Samples | None:
    return next((samples for samples in record.samples if samples.metric == metric), None)


def _as_good(value: float, than: float, direction: str) -> bool:
    """`value` is at `than` or better, rounding apart."""
    slack = TOLERANCE * max(1.0, abs(than))
    return value >= than - slack if direction == "higher" else value <= than + slack


def mean(values: Iterable[float]) -> float:
    """Without overflow: a handler may report 1e308, and an assessment never crashes on what a record may hold."""
    numbers = list(values)
    largest = max(map(abs, numbers))
    if largest > LARGEST:
        return largest * (math.fsum(value / largest for value in numbers) / len(numbers))
    return statistics.fmean(numbers)


def _ends(interval: Interval) -> str:
    return f"[{number(interval.low)}, {number(interval.high)}]"
