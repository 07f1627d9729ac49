"""Results come home: records, pictures, logs and failed attempts, from the volume of results to FORESIGHT_HOME.

Incrementally (what is here with the right hash is not fetched), verified by hash, and in the order that makes a crash
harmless: files first, the record last. Features stay on the volume; `elsewhere` says so at home.
"""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path, PurePosixPath

import modal
from filelock import FileLock

from foresight import elsewhere
from foresight.compute.fingerprint import fingerprint_of
from foresight.compute.modal_names import RESULTS
from foresight.errors import StepFailed
from foresight.files import read_json, sha256_bytes, sha256_file, write_atomic
from foresight.home import Home
from foresight.results.record import Artifact, Record

AT_ONCE = 8  # files of one step that are fetched side by side


def results() -> modal.Volume:
    """The volume of results. Every new handle asks Modal once more what it is, so a run uses one."""
    return modal.Volume.from_name(RESULTS)


def read(volume: modal.Volume, path: str) -> bytes | None:
    """A file of the volume, or None if there is none."""
    try:
        return b"".join(volume.read_file(path))
    except (FileNotFoundError, modal.exception.NotFoundError):
        return None


def remote_record(volume: modal.Volume, fingerprint: str) -> tuple[Record, bytes] | None:
    """The record on the volume, with its bytes. Raises `StepFailed` if what lies there is no record of that step."""
    content = read(volume, f"steps/{fingerprint}/record.json")
    if content is None:
        return None
    try:
        record = Record.model_validate_json(content)
    except ValueError as error:
        raise _damaged(f"steps/{fingerprint}/record.json", str(error).splitlines()[0]) from error
    if record.fingerprint != fingerprint or fingerprint_of(record.identity) != fingerprint:
        raise _damaged(f"steps/{fingerprint}/record.json", "it is the record of another step")
    return record, content


def bring_home(home: Home, volume: modal.Volume, record: Record, content: bytes) -> None:
    """The record, whose bytes are `content`, and its artifacts, but features. Raises `StepFailed` on a wrong hash."""
    folder = home.step(record.fingerprint)
    folder.mkdir(parents=True, exist_ok=True)
    own = f"steps/{record.fingerprint}/artifacts/"
    coming = [artifact for artifact in record.artifacts if artifact.path.startswith(own)]
    with FileLock(folder / ".home.lock"):
        path = home.record(record.fingerprint)
        if path.exists() and path.read_bytes() == content and all(_is_here(home, artifact) for artifact in coming):
            return
        part = folder / f"artifacts.part.{os.getpid()}"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        targets = [part / PurePosixPath(artifact.path).relative_to(own) for artifact in coming]
        for artifact, target in zip(coming, targets, strict=True):
            if ".." in target.parts:
                raise _damaged(artifact.path, "it points outside of the step's folder")
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(partial(_fetch, home, volume), coming, targets))  # raises what one of them raised
        final = folder / "artifacts"
        path.unlink(missing_ok=True)
        shutil.rmtree(final, ignore_errors=True)
        part.rename(final)
        staying = [artifact.path for artifact in record.artifacts if artifact not in coming]
        elsewhere.note(home, record.fingerprint, sha256_bytes(content), staying)
        write_atomic(path, content)


def bring_attempts(home: Home, volume: modal.Volume, fingerprint: str) -> None:
    """Logs, curves and causes of the attempts at a step. One that is here and closed is not looked at again."""
    root = f"steps/{fingerprint}/attempts"
    try:
        entries = volume.listdir(root, recursive=True)
    except (FileNotFoundError, modal.exception.NotFoundError):
        return
    files = {PurePosixPath(entry.path.lstrip("/")): entry.size for entry in entries if entry.type.name == "FILE"}
    for path, size in sorted(files.items(), key=lambda file: file[0].name == "attempt.json"):  # which closes it: last
        number, *rest = path.relative_to(root).parts
        here = home.root / path
        closed = (home.step(fingerprint) / "attempts" / number / "attempt.json").exists()
        if closed or len(rest) != 1 or rest[0] == "claim.lock":
            continue
        if not here.exists() or here.stat().st_size != size:
            content = read(volume, str(path))
            if content is not None:
                write_atomic(here, content)


def fetch_features(home: Home, fingerprint: str) -> None:
    """The features of an extraction, whole and verified by its record. Raises `StepFailed` if they are not there."""
    volume = results()
    found = remote_record(volume, fingerprint)
    if found is None:
        raise StepFailed(f"the volume has no record of {fingerprint[:12]}…", cause="needs", retryable=False)
    for artifact in found[0].artifacts:
        if not _is_here(home, artifact):
            _fetch(home, volume, artifact, home.root / artifact.path)


def _fetch(home: Home, volume: modal.Volume, artifact: Artifact, target: Path) -> None:
    """Into `target`, from here if it is here with that hash, else from the volume."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if _is_here(home, artifact):
        if target != home.root / artifact.path:
            shutil.copy2(home.root / artifact.path, target)
        return
    content = read(volume, artifact.path)
    if content is None:
        raise _damaged(artifact.path, "it is missing, though the record names it")
    if (len(content), sha256_bytes(content)) != (artifact.size_bytes, artifact.sha256):
        raise _damaged(artifact.path, "its hash is not the one that the record names")
    write_atomic(target, content)


def _is_here(home: Home, artifact: Artifact) -> bool:
    path = home.root / artifact.path
    return path.is_file() and path.stat().st_size == artifact.size_bytes and sha256_file(path) == artifact.sha256


def _damaged(path: str, why: str) -> StepFailed:
    return StepFailed(
        f"{path} on the volume {RESULTS} is damaged: {why}. "
        f"`modal volume rm -r {RESULTS} {PurePosixPath(path).parent}` and run again: that step is recomputed.",
        cause="invalid_output",
        retryable=False,
    )


def open_attempts(home: Home, fingerprint: str, call_id: str) -> list[dict]:
    """What is at home as begun by that call and not ended."""
    found = []
    for path in sorted(home.step(fingerprint).glob("attempts/*/started.json")):
        content = read_json(path)
        if content["call_id"] == call_id and not path.with_name("attempt.json").exists():
            found.append(content)
    return found
