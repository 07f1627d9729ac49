"""Everything that was measured as tidy CSV, for who works with tables: one row a number, one row a score.

A run that found a step recorded shares its record with the run that computed it, so scores are kept once, by
fingerprint, and `metrics.csv` says which run shows which fingerprint. Stub runs have nothing. The columns are described
in `columns.csv` beside them, which is written from `COLUMNS` here.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from foresight.errors import UserError
from foresight.files import write_atomic, written_atomically
from foresight.home import Home
from foresight.results import document, runs
from foresight.results.lineage import readable, with_used
from foresight.results.record import Record

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
        "git_dirty": "1 if that, or the code of a sub-experiment that it uses, had changes that were not committed",
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
    shown = _shown(home)
    first = next(shown, None)
    if first is None:
        raise UserError("There are no results to export yet. `foresight run c1` makes some.")
    rows: list[Sequence[Any]] = []
    exported: set[str] = set()
    n_samples = 0
    with written_atomically(folder / "samples.csv") as samples:  # records come and go one by one: scores are gigabytes
        samples.write(_csv([tuple(COLUMNS["samples.csv"])]).encode())
        for run, record in chain([first], shown):
            rows += _metrics(home, run, record)
            if record.fingerprint not in exported:
                exported.add(record.fingerprint)
                for lines in _samples(record):
                    samples.write("".join(lines).encode())
                    n_samples += len(lines)
    write_atomic(folder / "metrics.csv", _csv([tuple(COLUMNS["metrics.csv"]), *rows]))
    described = [(name, column, meaning) for name, columns in COLUMNS.items() for column, meaning in columns.items()]
    write_atomic(folder / "columns.csv", _csv([("file", "column", "meaning"), *described]))
    return {"metrics.csv": len(rows), "samples.csv": n_samples}


def _shown(home: Home) -> Iterator[tuple[runs.Run, Record]]:
    """Every run with each of its finished seeds; a record has its samples where it is shown for the first time. One
    that cannot be read is left out; `verify` names it."""
    known: dict[str, Record | None] = {}
    for experiment_id in runs.list_experiments(home):
        for run in runs.list_runs(home, experiment_id):
            for sub in run.sub_experiments.values() if not run.stub else ():
                for _, fingerprint in sorted(sub.steps.items()):
                    record = known[fingerprint] if fingerprint in known else readable(home, fingerprint)
                    known[fingerprint] = record and record.model_copy(update={"samples": []})
                    if record is not None:
                        yield run, record


def _metrics(home: Home, run: runs.Run, record: Record) -> Iterator[Sequence[Any]]:
    provenance, usage = record.provenance, record.usage
    all_of = with_used(home, [record])
    dirty = [one.provenance.git_dirty for one in all_of if one.provenance.git_dirty is not None]
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
            int(bool(document.stand_ins(all_of))),
            usage.device,
            usage.seconds,
            usage.cost_usd,
            provenance.git_commit or "",
            int(any(dirty)) if dirty else "",
            record.finished_at,
        )


def _samples(record: Record) -> Iterator[list[str]]:
    """The lines of one metric of one arm at a time. There are millions: what they share is put into CSV once."""
    for one in record.samples:
        end = f",{int(one.higher_is_better)}\n"
        sources = [_csv([(source, "")]).removesuffix(",\n") for source in one.groups]
        for arm, scores in {"ours": one.scores, **one.baselines}.items():
            shared = (record.fingerprint, record.sub_experiment, record.seed, one.metric, arm, "")
            begin = _csv([shared]).removesuffix("\n")
            yield [
                f"{begin}{index},{source},{score!r}{end}"
                for index, (source, score) in enumerate(zip(sources, scores, strict=True))
            ]


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()
