"""Whether everything on disk still is what was measured: records, artifacts, feature shards, runs, views.

Each check is a function from the home to problems. A problem names a file, says what is wrong with it and what to do.
Nothing is repaired here: a damaged step is computed again by the next run that needs it, a view by its next rebuild.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from foresight.compute.fingerprint import fingerprint_of
from foresight.elsewhere import left_elsewhere
from foresight.errors import UserError
from foresight.features.store import open_features
from foresight.files import sha256_file, sha256_if_there
from foresight.home import Home
from foresight.plan.loader import PACKAGED_PLAN, load_plan
from foresight.results import document, gates, runs, view
from foresight.results.assessment import DECIDING, changed_since
from foresight.results.lineage import overtaken, readable
from foresight.results.record import Record, read_record
from foresight.results.runs import Run
from foresight.yaml_text import parse_yaml

AGAIN = "Run the experiment again: this step alone is recomputed."
REBUILD = "Run the experiment again to have it rewritten from the records; nothing is recomputed for that."
MOVED = "Restore the criterion, or run the experiment again with --refresh: numbers come after criteria."
MOST_EDITS = 8


@dataclass(frozen=True)
class Problem:
    path: str  # relative to FORESIGHT_HOME
    what: str
    remedy: str  # empty where `what` says it


def verify(home: Home) -> list[Problem]:
    """Every problem there is, by file."""
    all_runs, problems = _runs(home)
    problems += _records(home, all_runs)
    problems += _shards(home)
    problems += _views(home, all_runs)
    problems += _criteria(home, all_runs)
    try:
        gates.read_overrides(home)
    except UserError as error:
        problems.append(_problem(home, home.results / "gates.json", str(error)))
    return sorted(problems, key=lambda problem: (problem.path, problem.what))


def _runs(home: Home) -> tuple[list[Run], list[Problem]]:
    """The runs that can be believed. Reading one checks its criteria against their hash from before the first step."""
    found, problems = [], []
    for path in sorted(home.results.glob("*/runs/*/run.json")):
        try:
            found.append(runs.read_run(home, path.parent.parent.parent.name, path.parent.name))
        except UserError as error:
            problems.append(_problem(home, path, str(error)))
    return found, problems


def _records(home: Home, all_runs: list[Run]) -> Iterator[Problem]:
    for path in sorted(home.steps.glob("*/record.json")):
        try:
            record = read_record(home, path.parent.name)
        except ValueError as error:
            yield _problem(home, path, f"not a record: {runs.explain(error)}", AGAIN)
            continue
        if record is not None:
            yield from record_problems(home, record, all_runs)
    for run in all_runs:
        for sub_id, sub in run.sub_experiments.items():
            for seed, fingerprint in sub.steps.items():
                if sub.status == "completed" and not run.stub and not home.record(fingerprint).is_file():
                    what = (
                        f"missing, though run {run.run_id} finished {run.experiment.short}/{sub_id} seed {seed} with it"
                    )
                    yield _problem(home, home.record(fingerprint), what, AGAIN)


def record_problems(home: Home, record: Record, all_runs: Sequence[Run]) -> Iterator[Problem]:
    """What is wrong with one record and its artifacts, given the runs that may have read it."""
    path = home.record(record.fingerprint)
    if fingerprint_of(record.identity) != record.fingerprint:
        yield _problem(home, path, "its identity does not have the hash that it is filed under", AGAIN)
    seen = sha256_if_there(path)
    if seen and (run := runs.read_otherwise(all_runs, record.fingerprint, seen, record.finished_at)):
        what = f"was changed after run {run.run_id} had read it"
        yield _problem(home, path, what, "Restore it, or delete it and run the experiment again.")
    if what := overtaken(home, record):
        yield _problem(home, path, what, "Run the experiment again: it is computed anew.")
    elsewhere = left_elsewhere(home, record.fingerprint)
    for artifact in record.artifacts:
        if artifact.path in elsewhere:
            continue
        file = home.root / artifact.path
        if not file.is_file():
            yield _problem(home, file, f"missing, though {record.label} made it", AGAIN)
        elif file.stat().st_size != artifact.size_bytes or sha256_file(file) != artifact.sha256:
            yield _problem(home, file, f"not the file that {record.label} made: its hash differs", AGAIN)


def _shards(home: Home) -> Iterator[Problem]:
    for path in sorted(home.features.glob("*/manifest.json")):
        try:
            open_features(home, path.parent.name, verify=True)
        except UserError as error:
            yield _problem(home, path.parent, str(error))
        except ValueError as error:
            yield _problem(home, path, f"not a manifest of features: {runs.explain(error)}", AGAIN)


def _views(home: Home, all_runs: list[Run]) -> Iterator[Problem]:
    """Every results.yaml against the schema, and against what the records say now.

    One that is behind its runs (one goes on, or was killed) is not compared: the next rebuild writes it anew.
    """
    for folder in sorted(path for path in home.results.glob("*") if path.is_dir()):
        own = sorted(
            (run for run in all_runs if run.experiment.id == folder.name), key=lambda r: (r.started_at, r.run_id)
        )
        readable = len(own) == len(list(folder.glob("runs/*/run.json")))
        behind = any(run.has_run and view.is_stale(home, run, folder) for run in own)
        built = document.of_experiment(home, own) if readable and not behind else None
        yield from _view(home, folder, built, all(_records_unchanged(home, run) for run in own))
        if readable and not any(run.has_run for run in own) and (folder / "results.yaml").is_file():
            yield _problem(home, folder / "results.yaml", "written by hand: no run stands behind it", "Delete it.")
        for run in own:
            if not view.is_stale(home, run):
                intact = _records_unchanged(home, run)
                own_folder = runs.folder(home, folder.name, run.run_id)
                yield from _view(home, own_folder, document.of_run(home, run) if intact else None, intact)


def _criteria(home: Home, all_runs: list[Run]) -> Iterator[Problem]:
    """Whether runs judge by what their numbers were measured against, and the newest by what the plan says today."""
    for run in all_runs:
        path = runs.folder(home, run.experiment.id, run.run_id) / "run.json"
        for criterion in run.experiment.criteria:
            sub = run.sub_experiments.get(criterion.sub_experiment)
            found = [record for fp in sub.steps.values() if (record := readable(home, fp))] if sub else []
            if moved := changed_since(criterion, found):
                what = f"judges {criterion.name} by a criterion that was moved after it was measured: {moved}"
                yield _problem(home, path, what, MOVED)
    newest = {run.experiment.id: run for run in sorted(all_runs, key=lambda run: run.started_at) if not run.stub}
    for run in newest.values():
        yield from _against_plan(run)


def _against_plan(run: Run) -> Iterator[Problem]:
    """Where the plan that the run was of says something else today. A plan that is gone is not compared."""
    path = Path(run.options.get("plan") or PACKAGED_PLAN)
    if not path.is_file():
        return
    try:
        plan = load_plan(path)
    except UserError as error:
        yield Problem(str(path), f"the plan of run {run.run_id} cannot be read any more: {error}", "Mend it.")
        return
    now = next((one for one in plan.experiments if one.id == run.experiment.id), None)
    if now is None:
        return
    judged = {one.name: one for one in run.experiment.criteria}
    for criterion in now.criteria:
        then = judged.pop(criterion.name, None)
        where = f"{run.experiment.short} {criterion.name}"
        if then is None:
            yield Problem(str(path), f"{where} is a criterion now and was none in run {run.run_id}", MOVED)
            continue
        for name in DECIDING:
            here, before = getattr(criterion, name), getattr(then, name)
            if here != before:
                yield Problem(str(path), f"{where}: {name} is {here} now and was {before} in run {run.run_id}", MOVED)
    for name in judged:
        what = f"{run.experiment.short} {name} is no criterion now and was one in run {run.run_id}"
        yield Problem(str(path), what, MOVED)


def _records_unchanged(home: Home, run: Run) -> bool:
    """Whether the run's records still are those it saw; if not, its results.yaml is a document of its time."""
    return all(sha256_if_there(home.record(fingerprint)) == seen for fingerprint, seen in run.record_sha256.items())


def _view(home: Home, folder: Path, built: document.Document | None, intact: bool) -> Iterator[Problem]:
    """`built`: what it should say, if that is known. `intact`: the records are those that it was built from."""
    path, because = folder / "results.yaml", "edited by hand" if intact else "not what the records say now"
    if not path.is_file():
        return
    try:
        content = parse_yaml(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        yield _problem(home, path, f"not YAML: {str(error).splitlines()[0]}", REBUILD)
        return
    for line in document.validate(content):
        yield _problem(home, path, f"against the schema: {line}", REBUILD)
    if built is None:
        return
    edits = list(_differences(content, built.content, ""))
    for edit in edits[:MOST_EDITS]:
        yield _problem(home, path, f"{because}: {edit}", REBUILD)
    if len(edits) > MOST_EDITS:
        yield _problem(home, path, f"{because}: {len(edits) - MOST_EDITS} more places", REBUILD)
    if not edits and path.read_text() != view.dump(built.content):
        yield _problem(home, path, "edited by hand: its layout or its comments", REBUILD)
    for inside, source in built.artifacts.items():
        file = folder / inside
        if not file.is_file():
            yield _problem(home, file, "missing beside its results.yaml", REBUILD)
        elif not file.samefile(source) and sha256_file(file) != sha256_file(source):
            yield _problem(home, file, "not the file that the step made", REBUILD)


def _differences(here: Any, there: Any, place: str) -> Iterator[str]:
    """Where two documents differ, deepest place first named: `assessment/confidence is high, by the records low`."""
    if isinstance(here, dict) and isinstance(there, dict):
        for key in dict.fromkeys([*here, *there]):
            inner = f"{place}/{key}" if place else str(key)
            if key not in there:
                yield f"{inner} was added"
            elif key not in here:
                yield f"{inner} was removed"
            else:
                yield from _differences(here[key], there[key], inner)
    elif isinstance(here, list) and isinstance(there, list) and len(here) == len(there):
        for index, (one, other) in enumerate(zip(here, there, strict=True)):
            yield from _differences(one, other, f"{place}/{index}")
    elif (type(here), here) != (type(there), there):
        yield f"{place} is {_short(here)}, by the records {_short(there)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _problem(home: Home, path: Path, what: str, remedy: str = "") -> Problem:
    return Problem(str(path.relative_to(home.root)), what, remedy)
