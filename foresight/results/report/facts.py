"""What a report says, as plain values. Everything is read from runs and records; a results.yaml is never asked, so
that an edited one changes nothing here."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foresight.errors import UserError
from foresight.home import Home
from foresight.metrics.statistics import LARGEST, Estimate, Interval, paired_difference_interval, seed_half_width
from foresight.plan.schema import Experiment, Plan
from foresight.results import caveats, document, published, runs
from foresight.results.assessment import mean
from foresight.results.gates import GateState
from foresight.results.gates import evaluate as evaluate_gate
from foresight.results.pictures import CURVE
from foresight.results.record import Record, Samples
from foresight.results.report.along import RESAMPLES, Step, steps_of
from foresight.results.report.origin import Cost, Source, cost_of, source_of
from foresight.results.runs import Run
from foresight.results.verify import Problem, record_problems

PICTURES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Metric:
    """One metric over its seeds, beside its trivial baselines."""

    name: str
    values: tuple[float, ...]  # one a seed
    baselines: Mapping[str, float] = field(default_factory=dict)  # mean over seeds
    higher_is_better: bool | None = None  # None: nobody said
    sources: int = 0  # distinct, over all seeds; 0 without per-sample scores
    best: str | None = None  # the baseline that we are least ahead of
    difference: Estimate | None = None  # to it, paired; positive = better than it

    @property
    def value(self) -> float:
        return mean(self.values)

    @property
    def against(self) -> str:
        """`ahead`, `level` or `behind` of the best baseline, where the difference has an interval."""
        if not isinstance(self.difference, Interval):
            return ""
        return "ahead" if self.difference.low > 0 else "behind" if self.difference.high < 0 else "level"

    @property
    def mostly_seeds(self) -> bool:
        """Whether the interval of the difference is mostly the spread between seeds."""
        return isinstance(self.difference, Interval) and self.difference.mostly_seeds

    @property
    def is_oracle(self) -> bool:
        return self.name.endswith(caveats.ORACLE)

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds; none where they are equal, rounding apart."""
        if len(self.values) < 2 or max(self.values) - min(self.values) <= 1e-12 * max(map(abs, self.values)):
            return None
        return statistics.stdev(self.values)


@dataclass(frozen=True)
class CriterionFacts:
    row: Mapping[str, Any]  # as results.yaml has it
    baselines: Mapping[str, float]
    oracle: float | None  # the best that could be reached, where the sub-experiment measured it
    beside: published.Beside | None
    caveats: tuple[str, ...]  # to be read beside it
    elsewhere: tuple[tuple[SubFacts, Metric], ...]  # the same score of sub-experiments that do not decide it
    from_seeds: float  # half width of its interval that seeds alone give


@dataclass(frozen=True)
class SubFacts:
    """One sub-experiment."""

    id: str
    aim: str  # empty where the plan at hand does not know it
    entry: Mapping[str, Any]  # as results.yaml has it
    metrics: tuple[Metric, ...]  # with per-sample scores
    others: tuple[Metric, ...]  # without
    repeated: tuple[Metric, ...]  # the same, and only a baseline's mean again or a constant
    pictures: tuple[Path, ...]  # of the first seed
    files: tuple[str, ...]  # its other files, by name
    figures: tuple[published.Beside, ...]
    study: published.Study | None

    @property
    def compared(self) -> list[Metric]:
        """Those with a baseline beside them."""
        return [metric for metric in self.metrics if metric.baselines]

    @property
    def alone(self) -> list[Metric]:
        """With per-sample scores, and no baseline."""
        return [metric for metric in self.metrics if not metric.baselines]

    @property
    def baselines(self) -> list[str]:
        return list(dict.fromkeys(name for metric in self.metrics for name in metric.baselines))


@dataclass(frozen=True)
class ExperimentFacts:
    """All that a report says of one experiment that has run."""

    run: Run  # the newest that is shown
    content: Mapping[str, Any]  # as a results.yaml that nobody edited
    kind: str  # claim, question, pivot; empty where the plan at hand does not know it
    criteria: tuple[CriterionFacts, ...]
    subs: tuple[SubFacts, ...]
    cost: Cost
    source: Source
    published: published.ExperimentFigures | None
    steps: tuple[Step, ...]  # along the extraction points, in the model's order
    problems: tuple[Problem, ...]  # what is not as it was measured

    @property
    def id(self) -> str:
        return self.run.experiment.id

    @property
    def short(self) -> str:
        return self.run.experiment.short


@dataclass(frozen=True)
class ProgrammeFacts:
    """The whole programme: what has run, in the plan's order, and what has not."""

    plan: Plan
    gates: tuple[GateState, ...]
    experiments: tuple[ExperimentFacts, ...]
    absent: tuple[Experiment, ...]  # nothing of them has run here

    def of(self, experiment: Experiment) -> ExperimentFacts | None:
        return next((facts for facts in self.experiments if facts.id == experiment.id), None)


def programme(home: Home, plan: Plan) -> ProgrammeFacts:
    found = [(one, _experiment(home, one.id, one)) for one in plan.experiments]
    return ProgrammeFacts(
        plan,
        tuple(evaluate_gate(home, plan, gate.id) for gate in plan.gates),
        tuple(facts for _, facts in found if facts is not None),
        tuple(one for one, facts in found if facts is None),
    )


def experiment(home: Home, name: str, plan: Plan) -> ExperimentFacts:
    """By id or short name. Raises `UserError` if nothing of it has run here."""
    experiment_id = runs.find_experiment(home, name) or plan.experiment(name).id
    known = next((one for one in plan.experiments if one.id == experiment_id), None)
    facts = _experiment(home, experiment_id, known)
    if facts is None:
        raise UserError(f"{experiment_id} has no results here. `foresight run {name}` makes some.")
    return facts


def _experiment(home: Home, experiment_id: str, plan: Experiment | None) -> ExperimentFacts | None:
    all_runs = runs.list_runs(home, experiment_id)
    built = document.of_experiment(home, all_runs)
    if built is None:
        return None
    content = built.content
    entries = content["results"]["experiments"]
    records = built.records
    besides = published.beside(content)
    figures = published.of(experiment_id)
    aims = {sub.id: sub.aim for sub in plan.sub_experiments} if plan else {}
    subs = []
    for sub_id, entry in entries.items():
        metrics, others = _metrics(entry, records[sub_id])
        first = [path for path in entry["artifacts"] if "/seed-" not in path]
        subs.append(
            SubFacts(
                id=sub_id,
                aim=aims.get(sub_id, ""),
                entry=entry,
                metrics=metrics,
                others=tuple(one for one in others if not _repeats(one, metrics)),
                repeated=tuple(one for one in others if _repeats(one, metrics)),
                pictures=tuple(
                    built.artifacts[path]
                    for path in sorted(first, key=lambda path: CURVE in path)
                    if path.endswith(PICTURES)
                ),
                files=tuple(path for path in first if not path.endswith(PICTURES)),
                figures=tuple(one for one in besides if one.sub_experiment == sub_id),
                study=figures.sub_experiments.get(sub_id) if figures else None,
            )
        )
    return ExperimentFacts(
        run=next(run for run in all_runs if run.run_id == content["run_id"]),
        content=content,
        kind=plan.kind if plan else "",
        criteria=tuple(_criterion(row, subs, records[row["sub_experiment"]]) for row in content["criteria"]),
        subs=tuple(subs),
        cost=cost_of(home, records),
        source=source_of(home, [record for of in records.values() for record in of]),
        published=figures,
        steps=tuple(steps_of(content, records)),
        problems=tuple(
            problem for of in records.values() for record in of for problem in record_problems(home, record, all_runs)
        ),
    )


def _metrics(entry: Mapping[str, Any], records: list[Record]) -> tuple[tuple[Metric, ...], tuple[Metric, ...]]:
    """Those with per-sample scores, and the others; each as the records have them."""
    with_samples, without = [], []
    for name in sorted(entry["metrics"], key=_natural):
        values = tuple(record.metrics[name] for record in records if name in record.metrics)
        samples = [one for record in records for one in record.samples if one.metric == name]
        if not samples:
            without.append(Metric(name, values))
            continue
        names = dict.fromkeys(baseline for one in samples for baseline in one.baselines)
        best, difference = _against_the_best(samples, list(names))
        with_samples.append(
            Metric(
                name,
                values,
                {
                    baseline: mean(mean(one.baselines[baseline]) for one in samples if baseline in one.baselines)
                    for baseline in names
                },
                samples[0].higher_is_better,
                len({group for one in samples for group in one.groups}),
                best,
                difference,
            )
        )
    return tuple(with_samples), tuple(without)


def _against_the_best(samples: list[Samples], names: list[str]) -> tuple[str | None, Estimate | None]:
    """The baseline that we are least ahead of, sample by sample, and how far; of those that every seed has."""
    higher, found = samples[0].higher_is_better, []
    for name in names:
        if all(name in one.baselines for one in samples):
            triples = [(one.scores, one.baselines[name], one.groups) for one in samples]
            found.append((mean(mean(ours) - mean(theirs) for ours, theirs, _ in triples), name, triples))
    if not found:
        return None, None
    ahead, best, triples = min(found, key=lambda one: one[0] if higher else -one[0])
    if abs(ahead) > LARGEST:
        return best, None
    return best, paired_difference_interval(triples, higher_is_better=higher, resamples=RESAMPLES)


def _repeats(metric: Metric, compared: Iterable[Metric]) -> bool:
    """Whether it says no more than a baseline's mean, or is the same count in all seeds."""
    means = [value for one in compared for value in one.baselines.values()]
    constant = len(set(metric.values)) == 1 and metric.value == int(metric.value) and metric.value > 1
    return constant or any(math.isclose(metric.value, value, rel_tol=1e-6, abs_tol=1e-9) for value in means)


def _natural(name: str) -> list[tuple[int, str]]:
    """`pictures_8` before `pictures_16`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _criterion(row: Mapping[str, Any], subs: Iterable[SubFacts], records: Iterable[Record]) -> CriterionFacts:
    name, by_id = row["metric"], {sub.id: sub for sub in subs}
    sub = by_id[row["sub_experiment"]]
    metric = next((one for one in sub.metrics if one.name == name), None)
    samples = [one for record in records for one in record.samples if one.metric == name]
    return CriterionFacts(
        row=row,
        baselines=metric.baselines if metric else {},
        oracle=caveats.oracle_of(row, sub.entry),
        beside=next((one for one in sub.figures if one.figure.ours == name), None),
        caveats=tuple(caveats.of(row, sub.entry)),
        elsewhere=tuple((one, of) for one in by_id.values() if one is not sub for of in one.metrics if of.name == name),
        from_seeds=seed_half_width([(one.scores, one.groups) for one in samples])
        if isinstance(row["interval"], Mapping)
        else 0.0,
    )
