"""An attempt at a step: its own folder, so that what fails leaves everything and mixes with nothing.

`steps/<fingerprint>/attempts/<n>/` holds `artifacts/`, `metrics.jsonl`, `log.txt` and, if it failed, `attempt.json`
with the cause. `started.json` is there while it runs, and after a crash until somebody closes it: the call's owner,
who saw how the process ended, or the next worker that gets the claim, to whom it is only *lost*.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from foresight.compute.ledger import now
from foresight.files import read_json, write_json
from foresight.home import Home
from foresight.results.record import Attempt, Cause, read_record


class OpenAttempt(BaseModel):
    """An attempt under way."""

    model_config = ConfigDict(frozen=True)

    fingerprint: str
    number: int = Field(description="From 1.")
    call_id: str
    run_id: str
    started_at: str = Field(description="ISO 8601, UTC.")
    usd_per_second: float
    device: str = Field(default="cpu", description="`cpu` or a GPU class.")
    adjustments: list[str] = Field(default_factory=list, description="As in the record.")
    log_path: str = Field(description="The call's log, relative to FORESIGHT_HOME unless it lies outside.")
    log_offset: int = Field(description="Bytes in the call's log when it began.")

    def folder(self, home: Home) -> Path:
        return home.step(self.fingerprint) / "attempts" / str(self.number)

    def artifacts(self, home: Home) -> Path:
        return self.folder(home) / "artifacts"


def open_attempt(
    home: Home,
    fingerprint: str,
    *,
    call_id: str,
    run_id: str,
    usd_per_second: float,
    device: str = "cpu",
    adjustments: Sequence[str] = (),
    log_path: str,
    log_offset: int,
    above: int = 0,
) -> OpenAttempt:
    """Number it, above those that are here and `above`, and make its folder. Only for who holds the claim."""
    attempt = OpenAttempt(
        fingerprint=fingerprint,
        number=max([above, *attempt_numbers(home, fingerprint)]) + 1,
        call_id=call_id,
        run_id=run_id,
        started_at=now(),
        usd_per_second=usd_per_second,
        device=device,
        adjustments=list(adjustments),
        log_path=log_path,
        log_offset=log_offset,
    )
    attempt.artifacts(home).mkdir(parents=True)
    write_json(attempt.folder(home) / "started.json", attempt.model_dump(mode="json"))
    return attempt


def close_finished(home: Home, attempt: OpenAttempt, log_end: int | None = None) -> None:
    """The record of it is written; keep its log."""
    _keep_log(home, attempt, log_end)
    (attempt.folder(home) / "started.json").unlink(missing_ok=True)


def close_failed(
    home: Home,
    attempt: OpenAttempt,
    *,
    cause: Cause,
    error: str,
    traceback: str = "",
    seconds: float,
    log_end: int | None = None,
) -> None:
    """Say why it did not finish. `log_end` is where its part of the call's log ends, if not at the end of the log."""
    _keep_log(home, attempt, log_end)
    failed = Attempt(
        fingerprint=attempt.fingerprint,
        number=attempt.number,
        call_id=attempt.call_id,
        run_id=attempt.run_id,
        device=attempt.device,
        adjustments=attempt.adjustments,
        cause=cause,
        error=error,
        traceback=traceback,
        seconds=seconds,
        cost_usd=seconds * attempt.usd_per_second,
        started_at=attempt.started_at,
        finished_at=now(),
    )
    write_json(attempt.folder(home) / "attempt.json", failed.model_dump(mode="json"))
    (attempt.folder(home) / "started.json").unlink(missing_ok=True)


def close_lost(home: Home, fingerprint: str) -> None:
    """Close what a dead worker left open. Only for who holds the claim: that it is free is what says they are dead."""
    record = read_record(home, fingerprint)
    for number in attempt_numbers(home, fingerprint):
        folder = home.step(fingerprint) / "attempts" / str(number)
        if not (folder / "started.json").exists():
            continue
        attempt = OpenAttempt.model_validate(read_json(folder / "started.json"))
        if record is not None and record.attempt == number:
            close_finished(home, attempt)
        elif (folder / "attempt.json").exists():
            (folder / "started.json").unlink()
        else:
            error = "its process vanished, and nobody was left to see how (power, a killed run, a lost machine)"
            close_failed(home, attempt, cause="lost", error=error, seconds=_seconds_seen(home, attempt))


def out_of_memory(home: Home, fingerprint: str, run_id: str) -> list[str]:
    """Errors of the attempts of a run at a step that ran out of memory, oldest first."""
    paths = [home.step(fingerprint) / "attempts" / str(n) / "attempt.json" for n in attempt_numbers(home, fingerprint)]
    failed = [Attempt.model_validate(read_json(path)) for path in paths if path.exists()]
    return [each.error for each in failed if each.cause == "out_of_memory" and each.run_id == run_id]


def attempt_numbers(home: Home, fingerprint: str) -> list[int]:
    """Those that are here, in order."""
    folder = home.step(fingerprint) / "attempts"
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdigit())


def _keep_log(home: Home, attempt: OpenAttempt, log_end: int | None) -> None:
    """Copy the attempt's part of the call's log, which a run's clean-up may take away, into its own folder."""
    source = home.root / attempt.log_path
    if not source.exists():
        return
    end = source.stat().st_size if log_end is None else log_end
    with source.open("rb") as log, (attempt.folder(home) / "log.txt").open("wb") as kept:
        log.seek(attempt.log_offset)
        left = max(0, end - attempt.log_offset)
        while left and (block := log.read(min(left, 1 << 20))):
            kept.write(block)
            left -= len(block)
        shutil.copymode(source, kept.name)


def _seconds_seen(home: Home, attempt: OpenAttempt) -> float:
    """At least so long it ran: until it last wrote something."""
    files = [home.root / attempt.log_path, *attempt.folder(home).rglob("*")]
    last = max((path.stat().st_mtime for path in files if path.is_file()), default=0.0)
    return max(0.0, last - datetime.fromisoformat(attempt.started_at).timestamp())
