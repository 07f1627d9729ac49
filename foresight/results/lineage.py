"""What a record rests on beside its own features: the files of other sub-experiments that it read.

A sub-experiment that `uses` another one reads what the step of the same seed left, a trained system for instance. Its
identity names that step by fingerprint, and its record names each file that it read by hash: two trainings of one step
need not agree to the last bit on a GPU, and a score belongs to the one that was read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from foresight.errors import StepFailed
from foresight.files import sha256_file
from foresight.home import Home
from foresight.results.record import Record, read_record


def used_file(home: Home, fingerprint: str, sub_experiment: str, name: str) -> tuple[Path, str]:
    """The file `name` that the step of `sub_experiment` left, and its hash, which is that of its record.

    Raises `StepFailed` if the step has no record, left no such file, or the file is not the one that it left.
    """
    record = read_record(home, fingerprint)
    if record is None:
        raise _missing(f"{sub_experiment} has no record, so there is no {name} of it. Run it: `foresight run` does so")
    artifact = next((one for one in record.artifacts if one.name == name), None)
    if artifact is None:
        left = ", ".join(one.name for one in record.artifacts) or "nothing"
        raise _missing(f"{record.label} left no {name}. It left: {left}")
    path = home.root / artifact.path
    if not path.is_file() or sha256_file(path) != artifact.sha256:
        raise _missing(
            f"{name} of {record.label} is {'damaged' if path.is_file() else 'missing'}. The same run again computes it "
            "anew"
        )
    return path, artifact.sha256


def used_by(home: Home, records: Iterable[Record]) -> Iterator[tuple[str, Record | None]]:
    """(sub-experiment, record) of every step that these records use, and that those use, once each.

    None for one whose record is gone or cannot be read.
    """
    waiting, seen = list(records), set[str]()
    while waiting:
        for name, fingerprint in waiting.pop().identity.get("uses", {}).items():
            if fingerprint in seen:
                continue
            seen.add(fingerprint)
            record = readable(home, fingerprint)
            yield name, record
            if record is not None:
                waiting.append(record)


def with_used(home: Home, records: Iterable[Record]) -> list[Record]:
    """The records, and those that they use as far as they are there."""
    own = list(records)
    known = {record.fingerprint for record in own}
    used = [record for _, record in used_by(home, own) if record is not None]
    return [*own, *(record for record in used if record.fingerprint not in known)]


def overtaken(home: Home, record: Record) -> str:
    """What the record read and what is not so any more, since another attempt has taken its place; empty if nothing."""
    for file, sha256 in record.read.items():
        name, _, inside = file.partition("/")
        used = readable(home, record.identity.get("uses", {}).get(name, ""))
        if used is None:
            continue  # computed again before anything reads it
        if sha256 not in [artifact.sha256 for artifact in used.artifacts if artifact.name == inside]:
            return f"it read another {file} than there is now: {name} was computed again since"
    return ""


def readable(home: Home, fingerprint: str) -> Record | None:
    try:
        return read_record(home, fingerprint)
    except ValueError:  # `results verify` names it
        return None


def _missing(message: str) -> StepFailed:
    return StepFailed(f"{message}.", cause="needs", retryable=False)
