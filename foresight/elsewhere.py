"""What a record names and this machine does not have, since it lies on a volume of Modal's.

Records, pictures and logs come home; features and models, which are large, stay where they were made. Two things at
home say so. `steps/<fingerprint>/elsewhere.json` beside a record that came from there names the artifacts that did not
come with it, if any; it names the record by its hash, so that it says nothing about another one that takes the record's
place. And
`remote/models/`, `remote/datasets/` hold the manifests, only those, of what was prepared on the volumes: enough to plan
with, and nothing that could be taken for weights or pixels.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from foresight.files import read_json, sha256_file, write_json
from foresight.home import Home

if TYPE_CHECKING:
    from foresight.results.record import Record

VOLUME = "foresight-results"


def planned_from(home: Home, compute: str) -> Home:
    """Where the manifests of models and data lie that a plan is made from, for steps that run on `compute`."""
    if compute == "local":
        return home
    remote = home.root / "remote"
    return replace(home, models_at=remote / "models", datasets_at=remote / "datasets")


def note(home: Home, fingerprint: str, record_sha256: str, paths: list[str]) -> None:
    """Note what did not come with the record of that hash, which may be about to be written."""
    write_json(_file(home, fingerprint), {"record_sha256": record_sha256, "volume": VOLUME, "paths": sorted(paths)})


def left_elsewhere(home: Home, fingerprint: str) -> frozenset[str]:
    """Paths of the artifacts that the record here names and that lie on the volume."""
    return frozenset(_noted(home, fingerprint) or ())


def is_where(record: Record, home: Home, compute: str) -> bool:
    """Whether a step that runs on `compute` finds this record's artifacts there."""
    if compute != "local":
        return _noted(home, record.fingerprint) is not None
    return all((home.root / artifact.path).is_file() for artifact in record.artifacts)


def _noted(home: Home, fingerprint: str) -> list[str] | None:
    """What stayed on the volume of the record that is here; None if it is not one that came from there."""
    try:
        content = read_json(_file(home, fingerprint))
        is_of_this = content["record_sha256"] == sha256_file(home.record(fingerprint))
    except FileNotFoundError:
        return None
    return content["paths"] if is_of_this else None


def _file(home: Home, fingerprint: str) -> Path:
    return home.step(fingerprint) / "elsewhere.json"
