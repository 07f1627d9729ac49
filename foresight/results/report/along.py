"""Along the extraction points: what becomes of a score from one point to the next, which is where it is lost, if it is.

Each step is a paired difference over the same samples, source by source, with its interval: two points have not to be
compared by eye, and what moves by no more than other sources or seeds would make it move is not called a loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from foresight.metrics.statistics import LARGEST, Estimate, Interval, paired_difference_interval
from foresight.results import points
from foresight.results.record import Record
from foresight.results.report.numbers import listed

RESAMPLES = 999  # of a difference that decides nothing; a verdict has ten times as many

MOVES = (
    (("lost",), "loses", "lose"),
    (("gained",), "gains", "gain"),
    (("no change seen", ""), "does not move beyond its interval", "do not move beyond their intervals"),
)


@dataclass(frozen=True)
class Step:
    """From one extraction point to the next: what becomes of one score."""

    series: points.Series
    before: str
    after: str
    values: tuple[float, float]
    gain: Estimate | None  # paired, positive = better after; None where the two are not of the same samples

    @property
    def word(self) -> str:
        """`lost`, `gained`, or `no change seen` where the interval leaves it open; empty without an interval."""
        if not isinstance(self.gain, Interval):
            return ""
        return "lost" if self.gain.high < 0 else "gained" if self.gain.low > 0 else "no change seen"


def steps_of(content: Mapping[str, Any], records: Mapping[str, list[Record]]) -> list[Step]:
    """Every score along the points of its series, one step after the other; by the model's order, not the series'."""
    found = []
    for series in points.across(content):
        metrics = content["results"]["experiments"][series.sub_experiment]["metrics"]
        for (before, first), (after, second) in pairwise(series.at.items()):
            gain = _gain(records[series.sub_experiment], first, second, higher=series.higher_is_better)
            found.append(Step(series, before, after, (metrics[first], metrics[second]), gain))
    return sorted(found, key=lambda step: (points.place(step.before), points.place(step.after)))


def _gain(records: list[Record], before: str, after: str, *, higher: bool) -> Estimate | None:
    triples = []
    for record in records:
        named = {one.metric: one for one in record.samples}
        first, second = named.get(before), named.get(after)
        if first is None or second is None or first.groups != second.groups:
            return None
        triples.append((second.scores, first.scores, first.groups))
    if not triples or max(abs(score) for of in triples for scores in of[:2] for score in scores) > LARGEST:
        return None
    return paired_difference_interval(triples, higher_is_better=higher, resamples=RESAMPLES)


def between(step: Step) -> str:
    """`X2 → X3, the merger`."""
    return f"{step.before} \u2192 {step.after}" + (f", {name(step)}" if name(step) else "")


def name(step: Step) -> str:
    """`the merger`; empty where there is no word for it."""
    return points.step_name(step.before, step.after)


def where(steps: Iterable[Step]) -> list[str]:
    """One line a step between extraction points: which of the scores fall there and which rise."""
    lines: list[str] = []
    by_name: dict[str, list[Step]] = {}
    for step in steps:
        by_name.setdefault(between(step), []).append(step)
    for between_points, of in by_name.items():
        said = []
        for words, one, several in MOVES:
            those = [step for step in of if step.word in words]
            if those:
                said.append(f"{_names(those, of)} {one if len(those) == 1 else several}")
        lines.append(f"{between_points}: {'; '.join(said)}.")
    return lines


def _names(those: Sequence[Step], of: Sequence[Step]) -> str:
    """`lpips and ssim (e1_3)`: how one was read only where the same score, read otherwise, fares otherwise."""
    by_sub: dict[str, list[str]] = {}
    for step in those:
        own = step.series
        readings = [
            one for one in of if (one.series.sub_experiment, one.series.metric) == (own.sub_experiment, own.metric)
        ]
        differs = own.how and any(one.word != step.word for one in readings)
        by_sub.setdefault(own.sub_experiment, []).append(f"{own.metric} {own.how}" if differs else own.metric)
    return ", ".join(f"{listed(list(dict.fromkeys(names)))} ({sub_id})" for sub_id, names in by_sub.items())


def called(series: points.Series) -> str:
    """`bbox_iou at one width (e_q2_2)`."""
    return f"{series.metric}{' ' if series.how else ''}{series.how} ({series.sub_experiment})"
