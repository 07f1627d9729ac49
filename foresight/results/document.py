"""results.yaml as a value: what an experiment has shown, in the format that the team already uses, extended.

Built from runs and records and from nothing else; nothing is written here. What is missing or damaged is said in its
entry, never left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from foresight.files import canonical_json
from foresight.home import Home
from foresight.metrics.statistics import Estimate, Interval
from foresight.results.assessment import CriterionVerdict, Evidence, assess, mean
from foresight.results.evidence import Entry, entry_of
from foresight.results.findings import pool_findings
from foresight.results.lineage import with_used
from foresight.results.record import Record
from foresight.results.runs import Outline, Run, SubRun

SCHEMA = Path(__file__).with_name("results_schema.json")


@dataclass(frozen=True)
class Document:
    """The content of a results.yaml, what it was made from, and the files that must lie beside it."""

    content: dict[str, Any]
    artifacts: dict[str, Path] = field(default_factory=dict)  # path in it -> where it is now
    records: dict[str, list[Record]] = field(default_factory=dict)  # sub-experiment -> by seed


def of_run(home: Home, run: Run) -> Document:
    """What this run alone has shown."""
    return _document(home, run.experiment, [run])


def of_experiment(
    home: Home, runs: Sequence[Run], *, profile: str | None = None, plan_hash: str | None = None
) -> Document | None:
    """What the experiment has shown so far, or None if nothing was begun.

    Of the highest profile that has run (or of `profile`), and of the plan that its newest run was of (or of
    `plan_hash`). Each sub-experiment is taken from the newest of these runs that ended it, so that running one again,
    or a run that was killed, hides no result. `runs` oldest first.
    """
    begun = [
        run
        for run in runs
        if run.has_run
        and (profile is None or run.level == profile)
        and (plan_hash is None or run.plan_hash == plan_hash)
    ]
    if not begun:
        return None
    level = max(begun, key=lambda run: run.rank).level
    newest = [run for run in begun if run.level == level][-1]
    chosen = [run for run in begun if run.level == level and run.plan_hash == newest.plan_hash]
    return _document(home, newest.experiment, chosen)


def validate(content: Mapping[str, Any]) -> list[str]:
    """What is wrong with a results.yaml, one line each; nothing if it is valid by the schema of the package."""
    try:
        canonical_json(content)
    except (TypeError, ValueError) as error:
        return [f"not plain JSON with finite numbers: {error}"]
    errors = sorted(_validator().iter_errors(content), key=lambda error: [str(part) for part in error.absolute_path])
    return [
        f"{'/'.join(str(part) for part in error.absolute_path) or 'top level'}: {error.message}" for error in errors
    ]


@cache
def _validator() -> Any:
    import jsonschema  # a quarter of a second that `--help` must not pay

    return jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))


def _document(home: Home, outline: Outline, runs: Sequence[Run]) -> Document:
    newest = runs[-1]
    entries = {sub.id: entry_of(home, sub.id, runs) for sub in outline.sub_experiments}
    assessment = assess(outline.criteria, {sub_id: entry.evidence for sub_id, entry in entries.items()})
    artifacts: dict[str, Path] = {}
    experiments = {}
    for sub in outline.sub_experiments:
        found = _artifacts(home, sub.id, entries[sub.id].evidence)
        experiments[sub.id] = _sub_experiment(home, sub.title, entries[sub.id], found)
        artifacts |= {path: source for path, source in found.items() if source.is_file()}
    by_sub = {
        sub_id: [entry.evidence.records[s] for s in sorted(entry.evidence.records)] for sub_id, entry in entries.items()
    }
    records = [record for of in by_sub.values() for record in of]
    content = {
        "experiment_id": outline.id,
        "status": "stub" if newest.stub else _status(entry["status"] for entry in experiments.values()),
        "success_criteria": {f"{criterion.name}_threshold": criterion.acceptable for criterion in outline.criteria},
        "results": {"experiments": experiments},
        "assessment": {
            "success_criteria_met": assessment.success_criteria_met,
            **{f"{verdict.criterion.name}_achieved": verdict.value for verdict in assessment.criteria},
            "confidence": assessment.confidence,
        },
        "recommendation": assessment.recommendation,
        "title": outline.title,
        "question": outline.question,
        "profile": newest.level,
        "stand_ins": stand_ins(with_used(home, records)),
        "run_id": newest.run_id,
        "plan_hash": newest.plan_hash,
        "criteria_hash": newest.criteria_hash,
        "criteria": [_criterion(verdict) for verdict in assessment.criteria],
    }
    return Document(_tidy(content), artifacts, by_sub)


def _artifacts(home: Home, sub_id: str, evidence: Evidence) -> dict[str, Path]:
    """Path beside results.yaml -> source. The first seed's files come first, those of the others in `seed-<n>/`."""
    first = min(evidence.records, default=None)
    return {
        f"artifacts/{sub_id}/{'' if seed == first else f'seed-{seed}/'}{artifact.name}": home.root / artifact.path
        for seed, record in sorted(evidence.records.items())
        for artifact in record.artifacts
    }


def _sub_experiment(home: Home, title: str, entry: Entry, found: Mapping[str, Path]) -> dict[str, Any]:
    evidence, sub = entry.evidence, entry.sub
    records = [evidence.records[seed] for seed in sorted(evidence.records)]
    status = sub.status
    if entry.run.stub and status == "completed":
        status = "stub"
    elif status == "completed" and evidence.failed:
        status = "failed"
    missing = sorted(path for path, source in found.items() if not source.is_file())
    result: dict[str, Any] = {
        "status": status,
        "finding": pool_findings(
            [(record.finding_template or _literal(record.finding), record.metrics) for record in records]
        ),
        "metrics": _means([record.metrics for record in records]),
        "artifacts": [path for path in found if path not in missing],
    }
    if status == "failed":
        result["error"] = _error(sub, evidence)
    notes = [sub.note] if sub.note else []
    if entry.run.options.get("by_hand"):
        notes.append("Run by hand: its handler is not the plan's, and its code cannot be found again.")
    notes += list(dict.fromkeys(note for record in records for note in record.notes))
    notes += [f"{path} is missing from the store" for path in missing]
    result |= {"title": title, "run_id": entry.run.run_id, "seeds": sorted(evidence.records), "notes": notes}
    if records:
        result["records"] = {str(seed): record.fingerprint for seed, record in sorted(evidence.records.items())}
        result["computed_by"] = sorted({record.run_id for record in records if record.run_id})
        result["provenance"] = _provenance(records, with_used(home, records))
        result["usage"] = {
            "seconds": sum(record.usage.seconds for record in records),
            "cost_usd": sum(record.usage.cost_usd for record in records),
        }
    return result


def _error(sub: SubRun, evidence: Evidence) -> str:
    """Each reason once, with the seeds that it holds for, unless it failed as a whole."""
    if all(why == sub.error for why in evidence.failed.values()):
        return " ".join(sub.error.split()) or "it failed and left no message"
    seeds: dict[str, list[int]] = {}
    for seed, why in sorted(evidence.failed.items()):
        seeds.setdefault(" ".join(why.split()), []).append(seed)
    lines = [f"seed{'s' if len(of) > 1 else ''} {', '.join(map(str, of))}: {why}" for why, of in seeds.items()]
    return "; ".join(lines)


def _means(metrics: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Over the seeds that have the metric."""
    names = dict.fromkeys(name for one in metrics for name in one)
    return {name: mean([one[name] for one in metrics if name in one]) for name in names}


def stand_ins(records: Iterable[Record]) -> list[str]:
    """Ids of the stand-in models that had a part in these records."""
    return sorted({model.id for record in records for model in record.provenance.models.values() if model.stand_in})


def _provenance(records: Sequence[Record], with_those_used: Sequence[Record]) -> dict[str, Any]:
    """What produced them; the code also of what they use, a checkpoint for instance."""
    all_of = [record.provenance for record in records]
    code_of = [record.provenance for record in with_those_used]
    models = {role: f"{model.id}@{model.revision}" for one in all_of for role, model in sorted(one.models.items())}
    return {
        "git_commits": sorted({one.git_commit for one in code_of if one.git_commit}),
        "git_dirty": any(one.git_dirty for one in code_of),
        "devices": sorted({record.usage.device for record in records}),
        "models": models,
        "data": {name: sha256 for one in all_of for name, sha256 in sorted(one.data.items())},
    }


def _status(statuses: Iterable[str]) -> str:
    """`in_progress` while anything is under way or still to come; a failure is final once nothing is under way."""
    found = set(statuses)
    if "running" in found or found <= {"pending", "skipped"}:
        return "in_progress"
    if "failed" in found:
        return "failed"
    return "in_progress" if "pending" in found else "completed"


def _criterion(verdict: CriterionVerdict) -> dict[str, Any]:
    criterion = verdict.criterion
    return {
        "name": criterion.name,
        "verdict": verdict.verdict,
        "reason": verdict.reason,
        "value": verdict.value,
        "interval": _range(verdict.interval),
        "direction": criterion.direction,
        "target": criterion.target,
        "acceptable": criterion.acceptable,
        "failure": criterion.failure,
        "unit": criterion.unit,
        "baseline": None if verdict.baseline is None else {"name": verdict.baseline, "value": verdict.baseline_value},
        "difference": _range(verdict.difference),
        "n": verdict.n,
        "seeds": verdict.n_seeds,
        "sub_experiment": criterion.sub_experiment,
        "metric": criterion.metric,
        "arm": criterion.arm,
    }


def _range(estimate: Estimate | None) -> dict[str, Any] | str | None:
    if estimate is None:
        return None
    if isinstance(estimate, Interval):
        return {"estimate": estimate.estimate, "low": estimate.low, "high": estimate.high, "method": estimate.method}
    return f"insufficient: {estimate.reason}"


def _tidy(value: Any) -> Any:
    """Floats to 12 significant digits: 0.21 for 0.21000000000000005, and nothing that was measured is lost."""
    if isinstance(value, float):
        return float(f"{value:.12g}")
    if isinstance(value, dict):
        return {key: _tidy(item) for key, item in value.items()}
    return [_tidy(item) for item in value] if isinstance(value, list) else value


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
