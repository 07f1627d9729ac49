"""From an attempt's output to a record: everything is verified, moved and on disk before the record says so.

The order is what makes a crash harmless. Files are hashed and synced, the record that this one replaces (a `--refresh`)
is withdrawn, the folder of artifacts takes its place by one rename, and the record is written last. Whoever reads goes
by the record, so at no moment does anyone see a part; what a crash leaves before it is replaced by the next attempt.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from foresight.compute import crash_points
from foresight.compute.attempt import OpenAttempt
from foresight.compute.ledger import now
from foresight.compute.provenance import provenance_of
from foresight.compute.step import Step
from foresight.errors import StepFailed
from foresight.files import sha256_file, write_json
from foresight.home import Home
from foresight.results.record import Artifact, Record, StepOutput, Usage


def publish(home: Home, step: Step, attempt: OpenAttempt, output: StepOutput, usage: Usage) -> Record:
    """Write the record. Only for who holds the claim. Raises `StepFailed` if the output is not what it says it is."""
    drafts, final = attempt.artifacts(home), home.step(step.fingerprint) / "artifacts"
    stated = [_verified(home, artifact) for artifact in output.artifacts]
    artifacts = _published(home, drafts, final, stated)
    identity = step.identity
    record = Record(
        fingerprint=step.fingerprint,
        kind=step.kind,
        label=step.label,
        profile=step.profile,
        run_id=attempt.run_id,
        experiment_id=identity.get("experiment"),
        sub_experiment=identity.get("sub_experiment"),
        seed=identity.get("seed"),
        finding=_finding(output),
        finding_template=output.finding_template,
        metrics=output.metrics,
        samples=output.samples,
        notes=output.notes,
        artifacts=artifacts,
        not_measured=output.not_measured,
        read=output.read,
        usage=usage,
        provenance=provenance_of(step),
        identity=dict(identity),
        criteria=step.work.get("criteria"),
        attempt=attempt.number,
        adjustments=attempt.adjustments,
        started_at=attempt.started_at,
        finished_at=now(),
    )
    for artifact in output.artifacts:
        _sync(home.root / artifact.path)
    crash_points.reached("verified")

    path = home.record(step.fingerprint)
    path.unlink(missing_ok=True)
    crash_points.reached("earlier record withdrawn")
    if final.exists():
        shutil.rmtree(final)
    drafts.rename(final)
    _sync(final)
    crash_points.reached("artifacts moved")
    _sync(path.parent)
    crash_points.reached("before record")
    write_json(path, record.model_dump(mode="json"))
    _sync(path.parent)
    crash_points.reached("record written")
    return record


def _verified(home: Home, artifact: Artifact) -> Artifact:
    """The artifact, if the file is there and is what it is said to be."""
    path = home.root / artifact.path
    if not path.resolve().is_relative_to(home.root.resolve()):
        raise _invalid(f"artifact {artifact.name!r} lies outside FORESIGHT_HOME: {artifact.path}")
    if not path.is_file():
        raise _invalid(f"artifact {artifact.name!r} is not there: {artifact.path}")
    size, digest = path.stat().st_size, sha256_file(path)
    if (size, digest) != (artifact.size_bytes, artifact.sha256):
        raise _invalid(
            f"artifact {artifact.name!r} has {size} bytes and hash {digest[:12]}…, and was said to have "
            f"{artifact.size_bytes} and {artifact.sha256[:12]}…: it was changed after it was saved"
        )
    return artifact


def _published(home: Home, drafts: Path, final: Path, stated: list[Artifact]) -> list[Artifact]:
    """What was stated and whatever else lies in the attempt's folder, with the paths that they will have."""
    found = {home.root / artifact.path: artifact for artifact in stated}
    for path in sorted(drafts.rglob("*")):
        if path.is_file() and path not in found:
            name = path.relative_to(drafts).as_posix()
            size, digest = path.stat().st_size, sha256_file(path)
            found[path] = Artifact(name=name, path="", sha256=digest, size_bytes=size)
    return [
        artifact.model_copy(update={"path": _final_path(path, drafts, final).relative_to(home.root).as_posix()})
        for path, artifact in found.items()
    ]


def _final_path(path: Path, drafts: Path, final: Path) -> Path:
    return final / path.relative_to(drafts) if path.is_relative_to(drafts) else path


def _finding(output: StepOutput) -> str:
    try:
        return output.finding_template.format(**output.metrics)
    except (KeyError, IndexError, ValueError) as error:
        raise _invalid(f"the finding's template cannot be filled from the metrics: {error!r}") from error


def _invalid(message: str) -> StepFailed:
    return StepFailed(message, cause="invalid_output", retryable=False)


def _sync(path: Path) -> None:
    """fsync a file, or every file and folder below a folder."""
    for item in _tree(path):
        descriptor = os.open(item, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _tree(path: Path) -> Iterator[Path]:
    if path.is_dir() and path.name == "artifacts":
        yield from (item for item in path.rglob("*") if not item.is_symlink())
    yield path
