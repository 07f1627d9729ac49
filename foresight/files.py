"""Files that are whole or absent: every write goes to a temporary name beside its target and is renamed over it.

JSON is strict: keys sorted, no NaN, no infinity, so that equal content has equal bytes and a hash of the bytes is a
hash of the content.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def written_atomically(path: Path) -> Iterator[IO[bytes]]:
    """A stream whose content is at `path` once the block has ended well: a reader, or a crash, sees the old file or
    the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write `content` to `path`, the whole of it or nothing."""
    with written_atomically(path) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


def canonical_json(value: Any) -> str:
    """One line, sorted keys, strict. Raises `ValueError` on NaN or infinity and `TypeError` on what JSON lacks."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def write_json(path: Path, value: Any) -> None:
    """Pretty, sorted, strict JSON, written atomically."""
    write_atomic(path, json.dumps(value, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def write_data(path: Path, value: Any) -> None:
    """Sorted, strict JSON with one line for each entry of the outermost object or list, written atomically.

    For artifacts full of numbers: a line for each of those is no easier to read and costs ten times as much.
    """

    def text(part: Any) -> str:
        return json.dumps(part, sort_keys=True, allow_nan=False, ensure_ascii=False)

    if isinstance(value, dict) and value:
        lines = ",\n".join(f" {text(key)}: {text(value[key])}" for key in sorted(value))
        write_atomic(path, f"{{\n{lines}\n}}\n")
    elif isinstance(value, list) and value:
        lines = ",\n".join(f" {text(entry)}" for entry in value)
        write_atomic(path, f"[\n{lines}\n]\n")
    else:
        write_atomic(path, text(value) + "\n")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def sha256_bytes(data: bytes | str) -> str:
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def sha256_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_if_there(path: Path) -> str | None:
    """None if there is no such file, for what another process may be replacing just now."""
    try:
        return sha256_file(path)
    except FileNotFoundError:
        return None
