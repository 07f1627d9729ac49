"""The ledger: which calls were started, by which run, so that nothing is started twice and nothing is forgotten.

`ledger/<run-id>/<call-id>.json` is written before the work starts. It outlives the orchestrator: a retry attaches to
the call by its id, a cancel hook in a fresh process finds what to stop, a sweep finds orphans. It is not the truth
about results, which is the record.
"""

from __future__ import annotations

import fcntl
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from foresight.compute.process import Process
from foresight.errors import UserError
from foresight.files import read_json, write_atomic, write_json
from foresight.home import Home

_NOT_RUNS = {"slots"}
_NOT_CALLS = {"run.json"}


class StepEntry(BaseModel):
    """A step of a call."""

    model_config = ConfigDict(frozen=True)

    label: str
    fingerprint: str
    refresh: str | None = Field(default=None, description="The run whose record alone counts, if one is forced.")


class CallEntry(BaseModel):
    """A call, as the orchestrator knows it. What the worker knows of it is in its journal."""

    model_config = ConfigDict(frozen=True)

    call_id: str
    run_id: str
    backend: str = Field(description="`local` or `modal`.")
    steps: tuple[StepEntry, ...]
    state: Literal["submitted", "running", "ended"] = Field(
        default="submitted", description="`submitted` until its process is known. Whether it still lives: `is_alive`."
    )
    process: Process | None = Field(default=None, description="The local worker, leader of its process group.")
    owner: Process | None = Field(default=None, description="The process that submitted it and tidies up after it.")
    submitted_at: str = Field(description="ISO 8601, UTC.")
    ended_at: str | None = None
    device: str = Field(default="cpu", description="`cpu` or a GPU class.")
    usd_per_second: float = Field(default=0.0, description="Of its container. Zero for local work.")
    log_path: str | None = Field(
        default=None, description="Relative to FORESIGHT_HOME; None where a service keeps the log."
    )
    log_cursor: int = Field(
        default=0, description="How much of the log has been shown: bytes; microseconds since 1970 for Modal's."
    )
    link: str | None = Field(default=None, description="Modal's page of the call.")
    deadline_s: float | None = Field(default=None, description="From `submitted_at`; then it is cancelled.")
    foreign: bool = Field(default=False, description="Another home submitted it; this one only waits for it.")

    @property
    def label(self) -> str:
        return self.steps[0].label + (f" +{len(self.steps) - 1}" if len(self.steps) > 1 else "")

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process else None


def is_alive(entry: CallEntry) -> bool:
    """A local call lives as long as its process; a remote one until somebody has seen it end."""
    if entry.state == "ended":
        return False
    if entry.backend != "local":
        return True
    return entry.process is not None and entry.process.is_alive()


def unfollowed(home: Home, run_id: str | None = None) -> list[CallEntry]:
    """Remote calls that nobody has seen end and that no process of this machine follows."""
    return [
        entry
        for entry in list_calls(home, run_id)
        if entry.backend != "local" and is_alive(entry) and not (entry.owner and entry.owner.is_alive())
    ]


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def call_file(home: Home, run_id: str, call_id: str, suffix: str = ".json") -> Path:
    return home.ledger / run_id / f"{call_id}{suffix}"


def write_call(home: Home, entry: CallEntry) -> None:
    """Enter a call. Raises `UserError` for a run id that is no plain file name."""
    for name in (entry.run_id, entry.call_id):
        if not name or name in _NOT_RUNS or name.startswith(".") or "/" in name:
            raise UserError(f"{name!r} cannot be a run or call id: it is used as a file name. Choose another.")
    write_json(call_file(home, entry.run_id, entry.call_id), entry.model_dump(mode="json"))


def update_call(home: Home, run_id: str, call_id: str, **changes: Any) -> CallEntry:
    """Change fields of an entry. Safe beside other threads and processes that change other fields of it."""
    with _locked(home, run_id):
        entry = CallEntry.model_validate({**read_json(call_file(home, run_id, call_id)), **changes})
        write_call(home, entry)
        return entry


def find_call(home: Home, call_id: str) -> CallEntry:
    """The entry of a call whose run is not known. Raises `UserError` if the ledger has no such call."""
    for path in home.ledger.glob(f"*/{call_id}.json"):
        return _read(path)
    raise UserError(f"the ledger has no call {call_id!r}: {home.ledger}. See `foresight status` for those that it has.")


def list_calls(home: Home, run_id: str | None = None) -> list[CallEntry]:
    """The calls of one run, or of all, oldest first."""
    pattern = f"{run_id}/*.json" if run_id else "*/*.json"
    paths = [path for path in home.ledger.glob(pattern) if path.name not in _NOT_CALLS and path.name[0] != "."]
    return sorted(map(_read, paths), key=lambda entry: (entry.submitted_at, entry.call_id))


def open_calls(home: Home, ended: set[Path]) -> list[CallEntry]:
    """The calls that have not been seen to end, newest first.

    `ended` holds the files of those that have, and grows: an entry never opens again, so it need not be read again.
    """
    paths = {path for path in home.ledger.glob("*/*.json") if path.name not in _NOT_CALLS and path.name[0] != "."}
    found = {path: _read(path) for path in paths - ended}
    ended |= {path for path, entry in found.items() if entry.state == "ended"}
    still = [entry for entry in found.values() if entry.state != "ended"]
    return sorted(still, key=lambda entry: (entry.submitted_at, entry.call_id), reverse=True)


def first_submitted(home: Home, run_id: str, fingerprints: Collection[str], since: datetime) -> datetime | None:
    """When the run first submitted a call with one of these steps from `since` on; None if it never did."""
    for entry in list_calls(home, run_id):
        at = datetime.fromisoformat(entry.submitted_at)
        if at >= since and any(step.fingerprint in fingerprints for step in entry.steps):
            return at
    return None


def request_cancel(home: Home, run_id: str, call_id: str | None = None) -> None:
    """Ask for the end of a run, or of one of its calls. Seen by every process that has a part in it. Idempotent."""
    write_atomic(_cancel_file(home, run_id, call_id), now() + "\n")


def cancel_requested(home: Home, run_id: str, call_id: str | None = None) -> bool:
    """Whether a person asked for the end of the run or, if given, of this call."""
    if call_id is not None and _cancel_file(home, run_id, call_id).exists():
        return True
    return _cancel_file(home, run_id, None).exists()


def clear_cancel(home: Home, run_id: str) -> None:
    """Let a cancelled run be retried under its old id."""
    _cancel_file(home, run_id, None).unlink(missing_ok=True)


def _cancel_file(home: Home, run_id: str, call_id: str | None) -> Path:
    return call_file(home, run_id, call_id, ".cancel") if call_id else home.ledger / run_id / "cancel"


def _read(path: Path) -> CallEntry:
    try:
        return CallEntry.model_validate(read_json(path))
    except ValueError as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise UserError(
            f"{path} is no ledger entry of this version: {why}. "
            "Another version of foresight wrote it, or it was damaged. Move it away if that run is over."
        ) from error


@contextmanager
def _locked(home: Home, run_id: str) -> Iterator[None]:
    with (home.ledger / run_id / ".lock").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
