"""What can go, to make room: features that no result reads any more, and what failed attempts left behind.

Never what a verdict rests on. Records, their artifacts, runs and views are never touched. Features are kept if a record
reads them that is shown of any experiment in any profile; a failed attempt keeps its `attempt.json`, which says why it
failed and what it cost, and loses its log and its half-made files once its step is finished.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from foresight.compute import ledger
from foresight.compute.claim import is_claimed
from foresight.errors import UserError
from foresight.features.store import MANIFEST
from foresight.home import Home
from foresight.results import document, runs
from foresight.results.lineage import with_used
from foresight.results.record import read_record

WITHDRAWN = "record.pruned.json"


@dataclass(frozen=True)
class Item:
    """Something that nothing needs."""

    path: str  # relative to FORESIGHT_HOME
    what: str
    size_bytes: int


def find(home: Home) -> list[Item]:
    """All that could go, largest first. Raises `UserError` while something runs, since it may be what needs it."""
    alive = sorted({call.run_id for call in ledger.list_calls(home) if ledger.is_alive(call)})
    if alive:
        raise UserError(f"{', '.join(alive)} is running and may read what looks unneeded. Prune when it has ended.")
    return sorted([*_features(home), *_attempts(home)], key=lambda item: (-item.size_bytes, item.path))


def remove(home: Home, items: list[Item]) -> None:
    """Delete them. A pruned extraction is withdrawn first, so that no record ever names files that are gone."""
    for item in items:
        path = home.root / item.path
        if path.parent == home.features:
            record = home.record(path.name)
            if record.is_file():
                record.replace(record.with_name(WITHDRAWN))
            shutil.rmtree(path)
            continue
        for inside in path.iterdir():
            if inside.name == "attempt.json":
                continue
            if inside.is_dir() and not inside.is_symlink():
                shutil.rmtree(inside)
            else:
                inside.unlink()


def _features(home: Home) -> Iterator[Item]:
    """Whole extractions that no shown record reads. What one that died left is kept: the next goes on there."""
    needed = _needed(home)
    for manifest in home.features.glob(f"*/{MANIFEST}"):
        folder = manifest.parent
        if folder.name not in needed and not is_claimed(home, folder.name):
            yield Item(
                _inside(home, folder), f"features that no result reads{_label(home, folder.name)}", _size(folder)
            )


def _needed(home: Home) -> set[str]:
    """Features that are read by a record of any experiment's newest results, in every profile that has run."""
    needed: set[str] = set()
    for experiment_id in runs.list_experiments(home):
        all_runs = runs.list_runs(home, experiment_id)
        for level in {run.level for run in all_runs}:
            built = document.of_experiment(home, all_runs, profile=level)
            for entry in built.content["results"]["experiments"].values() if built else ():
                shown = [read_record(home, fingerprint) for fingerprint in entry.get("records", {}).values()]
                for record in with_used(home, filter(None, shown)):
                    needed |= set(record.identity.get("features", {}).values())
    return needed


def _attempts(home: Home) -> Iterator[Item]:
    """What failed attempts of steps that are finished by now left, their `attempt.json` apart."""
    for failed in home.steps.glob("*/attempts/*/attempt.json"):
        folder = failed.parent
        fingerprint = folder.parent.parent.name
        size = _size(folder) - failed.stat().st_size
        if size > 0 and home.record(fingerprint).is_file() and not is_claimed(home, fingerprint):
            yield Item(_inside(home, folder), f"log and files of a failed attempt{_label(home, fingerprint)}", size)


def _label(home: Home, fingerprint: str) -> str:
    try:
        record = read_record(home, fingerprint)
    except ValueError:  # damaged; `results verify` names it
        return ""
    return f": {record.label}" if record else ""


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _inside(home: Home, path: Path) -> str:
    return path.relative_to(home.root).as_posix()
