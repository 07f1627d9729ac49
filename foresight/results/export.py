"""Everything that was measured as tidy CSV, for who works with tables: one row a number, one row a score.

A run that found a step recorded shares its record with the run that computed it, so scores are kept once, by
fingerprint, and `metrics.csv` says which run shows which fingerprint. Stub runs have nothing. The columns are described
in `columns.csv` beside them, which is written from `COLUMNS` here.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from foresight.errors import UserError
from foresight.files import write_atomic
from foresight.home import Home
from foresight.results import runs
from foresight.results.record import Record, read_record

COLUMNS: dict[str, dict[str, str]] = {
    "metrics.csv": {
        "run_id": "the run that shows the number",
        "experiment": "short name of the experiment",
        "profile": "tiny, repro, real, or a profile of a plan of one's own",
        "sub_experiment": "id of the sub-experiment",
        "seed": "of split and initialisation",
        "metric": "name of the metric",
        "value": "of this seed",
        "fingerprint": "of the step whose record holds it; joins with samples.csv",
        "computed_by": "the run that computed the step: this one, or an earlier one",
        "stand_in": "1 if a tiny stand-in model played a part: the number says nothing about the real models",
        "device": "cpu, or the GPU class",
        "seconds": "of the step, all its metrics together",
        "cost_usd": "of the step, all its metrics together",
        "git_commit": "of the code that computed it",
        "git_dirty": "1 if that had changes that were not committed",
        "finished_at": "ISO 8601, UTC",
    },
    "samples.csv": {
        "fingerprint": "of the step; joins with metrics.csv",
        "sub_experiment": "id of the sub-experiment",
        "seed": "of split and initialisation",
        "metric": "the metric whose mean over samples these scores are",
        "arm": "ours, or the name of a trivial baseline on the same sample",
        "sample": "number of the sample within the step, from 0; the same for all arms",
        "source": "where the sample comes from: photograph, clip or generator seed; the unit of resampling",
        "score": "of this sample",
        "higher_is_better": "1 or 0",
    },
}


def export(home: Home, folder: Path) -> dict[str, int]:
    """Write the tables into `folder`, which may be new. Returns file name -> number of rows.

    Raises `UserError` if there is nothing to write, or if `folder` is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file. Name a folder, new or old; the tables are written into it.")
    shown = list(_shown(home))
    if not shown:
        raise UserError("There are no results to export yet. `foresight run c1` makes some.")
    records = {record.fingerprint: record for _, record in shown}
    written = {
        "metrics.csv": _write(folder, "metrics.csv", (row for run, record in shown for row in _metrics(run, record))),
        "samples.csv": _write(folder, "samples.csv", (row for record in records.values() for row in _samples(record))),
    }
    described = [(name, column, meaning) for name, columns in COLUMNS.items() for column, meaning in columns.items()]
    write_atomic(folder / "columns.csv", _csv(("file", "column", "meaning"), described))
    return written


def _shown(home: Home) -> Iterator[tuple[runs.Run, Record]]:
    """Every run with each of its finished seeds. A record that cannot be read is left out; `verify` names it."""
    known: dict[str, Record | None] = {}
    for experiment_id in runs.list_experiments(home):
        for run in runs.list_runs(home, experiment_id):
            for sub in run.sub_experiments.values() if not run.stub else ():
                for _, fingerprint in sorted(sub.steps.items()):
                    if fingerprint not in known:
                        known[fingerprint] = _readable(home, fingerprint)
                    if (record := known[fingerprint]) is not None:
                        yield run, record


def _readable(home: Home, fingerprint: str) -> Record | None:
    try:
        return read_record(home, fingerprint)
    except ValueError:
        return None


def _metrics(run: runs.Run, record: Record) -> Iterator[Sequence[Any]]:
    provenance, usage = record.provenance, record.usage
    for name, value in record.metrics.items():
        yield (
            run.run_id,
            run.experiment.short,
            run.profile,
            record.sub_experiment,
            record.seed,
            name,
            value,
            record.fingerprint,
            record.run_id,
            int(any(model.stand_in for model in provenance.models.values())),
            usage.device,
            usage.seconds,
            usage.cost_usd,
            provenance.git_commit or "",
            "" if provenance.git_dirty is None else int(provenance.git_dirty),
            record.finished_at,
        )


def _samples(record: Record) -> Iterator[Sequence[Any]]:
    for one in record.samples:
        for arm, scores in {"ours": one.scores, **one.baselines}.items():
            for index, (source, score) in enumerate(zip(one.groups, scores, strict=True)):
                better, step = int(one.higher_is_better), (record.fingerprint, record.sub_experiment, record.seed)
                yield (*step, one.metric, arm, index, source, score, better)


def _write(folder: Path, name: str, rows: Iterable[Sequence[Any]]) -> int:
    kept = list(rows)
    write_atomic(folder / name, _csv(tuple(COLUMNS[name]), kept))
    return len(kept)


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return stream.getvalue()
