"""What runs have left of a sub-experiment: which seeds have a record, which failed, which are still to come.

A seed counts as finished if its record can be read and is the one that the run meant: of this experiment, this
sub-experiment, this seed and this profile. Whatever is not becomes a failure with its reason, never a gap.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from foresight.home import Home
from foresight.results.assessment import Evidence
from foresight.results.record import Record, read_record
from foresight.results.runs import Run, SubRun, explain

ENDED = ("completed", "failed", "stub")
NOTHING = SubRun()


@dataclass(frozen=True)
class Entry:
    """One sub-experiment of the view: the run it is taken from, and what that run has left."""

    run: Run
    sub: SubRun
    evidence: Evidence


def entry_of(home: Home, sub_id: str, runs: Sequence[Run]) -> Entry:
    """The newest run that ended it; failing that, one that began it, one that skipped it, the newest."""
    found = [(run, run.sub_experiments.get(sub_id, NOTHING)) for run in reversed(runs)]
    for wanted in (_has_ended, _was_begun, _was_skipped):
        for run, sub in found:
            if wanted(sub):
                return Entry(run, sub, _evidence(home, run, sub_id, sub))
    return Entry(*found[0], Evidence())


def _has_ended(sub: SubRun) -> bool:
    return sub.status in ENDED


def _was_begun(sub: SubRun) -> bool:
    return sub.status == "running" or sub.was_cut_short


def _was_skipped(sub: SubRun) -> bool:
    return sub.status == "skipped"


def _evidence(home: Home, run: Run, sub_id: str, sub: SubRun) -> Evidence:
    """Which seeds have a record, which failed, which are still to come. A stub run has nothing, whatever lies there."""
    if run.stub or sub.status == "skipped":
        return Evidence()
    failed = {seed: _of_seed(why, seed) for seed, why in sub.failed_seeds.items()}
    records, unfinished = {}, set()
    for seed in sorted({*run.seeds, *sub.steps}):
        if seed in failed:
            continue
        record, trouble = _record(home, run, sub_id, sub, seed)
        if record is not None:
            records[seed] = record
        elif sub.status in ENDED:
            failed[seed] = _of_seed(sub.error, seed) or trouble
        else:
            unfinished.add(seed)
    return Evidence(records, failed, frozenset(unfinished))


def _of_seed(why: str, seed: int) -> str:
    """A step's error without the step's label, where it stands beside its sub-experiment and seed."""
    return re.sub(rf"^\S+ seed {seed}:? (is )?", lambda label: "it is " if label[1] else "", why)


def _record(home: Home, run: Run, sub_id: str, sub: SubRun, seed: int) -> tuple[Record | None, str]:
    """The record of a seed, or why there is none that counts."""
    fingerprint = sub.steps.get(seed)
    if fingerprint is None:
        return None, "no step of it was planned"
    try:
        record = read_record(home, fingerprint)
        for artifact in record.artifacts if record else []:
            _inside(artifact.name)
    except ValueError as error:
        return None, f"its record cannot be read ({explain(error)})"
    if record is None:
        return None, "its record is gone"
    meant = (run.experiment.id, sub_id, seed)
    if (record.experiment_id, record.sub_experiment, record.seed) != meant:
        return None, f"its record is of {record.experiment_id}/{record.sub_experiment} seed {record.seed}"
    if record.profile != run.profile:
        return None, f"its record is of profile {record.profile}"
    if sub.status != "completed" and run.options.get("refresh") and record.run_id != run.run_id:
        return None, "it was to be computed again and was not"
    return record, ""


def _inside(name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"artifact {name!r} does not name a file inside the artifacts folder")
