"""What a report says, as plain values. Everything is read from runs and records; a results.yaml is never asked, so
that an edited one changes nothing here."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foresight.errors import UserError
from foresight.home import Home
from foresight.plan.schema import Experiment, Plan
from foresight.results import document, published, runs
from foresight.results.assessment import mean
from foresight.results.gates import GateState
from foresight.results.gates import evaluate as evaluate_gate
from foresight.results.record import Attempt, Provenance, Record, read_record
from foresight.results.runs import Run
from foresight.results.verify import Problem, record_problems

PICTURES = (".png", ".jpg", ".jpeg")
CURVE = "learning_curve"  # how a probe was trained is looked at after what it does


@dataclass(frozen=True)
class Metric:
    """One metric over its seeds, beside its trivial baselines."""

    name: str
    values: tuple[float, ...]  # one a seed
    baselines: Mapping[str, float] = field(default_factory=dict)  # mean over seeds
    higher_is_better: bool | None = None  # None: nobody said
    sources: int = 0  # distinct, over all seeds; 0 without per-sample scores

    @property
    def value(self) -> float:
        return mean(self.values)

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class CriterionFacts:
    row: Mapping[str, Any]  # as results.yaml has it
    baselines: Mapping[str, float]
    beside: published.Beside | None


@dataclass(frozen=True)
class SubFacts:
    """One sub-experiment."""

    id: str
    aim: str  # empty where the plan at hand does not know it
    entry: Mapping[str, Any]  # as results.yaml has it
    metrics: tuple[Metric, ...]  # with per-sample scores
    others: tuple[Metric, ...]  # without
    pictures: tuple[Path, ...]  # of the first seed
    files: tuple[str, ...]  # its other files, by name
    figures: tuple[published.Beside, ...]
    study: published.Study | None

    @property
    def baselines(self) -> list[str]:
        return list(dict.fromkeys(name for metric in self.metrics for name in metric.baselines))


@dataclass(frozen=True)
class Spent:
    """What one thing took."""

    what: str
    device: str
    seconds: float
    peak_bytes: int
    usd: float
    steps: int


@dataclass(frozen=True)
class Cost:
    extractions: tuple[Spent, ...]
    sub_experiments: tuple[Spent, ...]
    failed: Spent | None  # attempts that did not finish

    @property
    def rows(self) -> list[Spent]:
        return [*self.extractions, *self.sub_experiments, *([self.failed] if self.failed else [])]

    @property
    def seconds(self) -> float:
        return sum(row.seconds for row in self.rows)

    @property
    def usd(self) -> float:
        return sum(row.usd for row in self.rows)


@dataclass(frozen=True)
class Source:
    """What produced the numbers, over all records; a list where they differ."""

    commits: list[str]
    dirty: bool
    locks: list[str]
    python: list[str]
    platforms: list[str]
    versions: dict[str, str]
    models: list[tuple[str, str, str, str, bool]]  # role, id, revision, weights, stand-in
    data: dict[str, str]


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
                others=others,
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
        criteria=tuple(_criterion(row, subs) for row in content["criteria"]),
        subs=tuple(subs),
        cost=_cost(home, records),
        source=_source(home, [record for of in records.values() for record in of]),
        published=figures,
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
            )
        )
    return tuple(with_samples), tuple(without)


def _natural(name: str) -> list[tuple[int, str]]:
    """`pictures_8` before `pictures_16`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _criterion(row: Mapping[str, Any], subs: Iterable[SubFacts]) -> CriterionFacts:
    sub = next((one for one in subs if one.id == row["sub_experiment"]), None)
    metric = next((one for one in sub.metrics if one.name == row["metric"]), None) if sub else None
    beside = next((one for one in sub.figures if one.figure.ours == row["metric"]), None) if sub else None
    return CriterionFacts(row, metric.baselines if metric else {}, beside)


def _cost(home: Home, records: Mapping[str, list[Record]]) -> Cost:
    """Of every step that a number here rests on, and of the attempts at them that did not finish.

    An extraction is counted once here, and again in the report of another experiment that reads it too.
    """
    fingerprints = dict.fromkeys(
        fingerprint
        for of in records.values()
        for record in of
        for fingerprint in record.identity.get("features", {}).values()
    )
    extractions = [record for fp in fingerprints if (record := _readable(home, fp)) is not None]
    by_model: dict[str, list[Record]] = {}
    for record in extractions:
        for model in record.provenance.models.values():
            by_model.setdefault(model.id, []).append(record)
    every = [*extractions, *(record for of in records.values() for record in of)]
    return Cost(
        tuple(_spent(f"features of {model}", of) for model, of in by_model.items()),
        tuple(_spent(sub_id, of) for sub_id, of in records.items() if of),
        _failed(home, [record.fingerprint for record in every]),
    )


def _spent(what: str, records: list[Record]) -> Spent:
    return Spent(
        what=what,
        device=", ".join(sorted({record.usage.device for record in records})),
        seconds=sum(record.usage.seconds for record in records),
        peak_bytes=max(record.usage.peak_memory_bytes for record in records),
        usd=sum(record.usage.cost_usd for record in records),
        steps=len(records),
    )


def _failed(home: Home, fingerprints: list[str]) -> Spent | None:
    attempts = []
    for fingerprint in fingerprints:
        for path in sorted(home.step(fingerprint).glob("attempts/*/attempt.json")):
            attempts.append(Attempt.model_validate_json(path.read_text()))
    if not attempts:
        return None
    seconds, usd = sum(one.seconds for one in attempts), sum(one.cost_usd for one in attempts)
    return Spent("attempts that did not finish", "", seconds, 0, usd, len(attempts))


def _readable(home: Home, fingerprint: str) -> Record | None:
    try:
        return read_record(home, fingerprint)
    except ValueError:  # `results verify` names it; what it cost is not known any more
        return None


def _source(home: Home, records: list[Record]) -> Source:
    all_of: list[Provenance] = [record.provenance for record in records]
    versions: dict[str, set[str]] = {}
    for one in all_of:
        for library, version in one.versions.items():
            versions.setdefault(library, set()).add(version)
    features = {fp for record in records for fp in record.identity.get("features", {}).values()}
    extracted = [record.provenance for fp in sorted(features) if (record := _readable(home, fp)) is not None]
    models = {
        (role, model.id, model.revision, model.weights_sha256, model.stand_in)
        for one in (*all_of, *extracted)
        for role, model in one.models.items()
    }
    return Source(
        commits=sorted({one.git_commit for one in all_of if one.git_commit}),
        dirty=any(one.git_dirty for one in all_of),
        locks=sorted({one.lock_sha256 for one in all_of if one.lock_sha256}),
        python=sorted({one.python for one in all_of}),
        platforms=sorted({one.platform for one in all_of}),
        versions={library: " and ".join(sorted(found)) for library, found in sorted(versions.items())},
        models=sorted(models),
        data={name: sha256 for one in all_of for name, sha256 in sorted(one.data.items())},
    )
