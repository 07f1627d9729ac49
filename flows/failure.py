"""What to say of a call that failed: its cause, the last lines that it wrote, and the next command to type."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from foresight.compute.backend import Call
from foresight.compute.masking import mask
from foresight.compute.step import Step
from foresight.files import read_json
from foresight.home import Home
from foresight.results.record import Attempt

LAST_LINES = 6


def report(call: Call, error: str, home: Home, *, options: str, retry: str) -> str:
    """`options` are those of the shell that the run had; `retry` is the command that goes on from here."""
    lines = [f"{call.label} failed: {error}"]
    for step in call.steps:
        found = last_attempt(home, step)
        if found is None:
            continue
        attempt, folder = found
        lines[0] = f"{step.label} failed in attempt {attempt.number} ({attempt.cause}): {error}"
        log = folder / "log.txt"
        written = log.read_text(errors="replace").splitlines() if log.is_file() else []
        last = [mask(line) for line in written if line.strip(" ^~")][-LAST_LINES:]
        lines += ["its last lines:", *(f"  | {line}" for line in last)] if last else []
        lines.append(f"its whole log and traceback: {folder}")
        if step.kind == "sub_experiment" and attempt.cause in ("exception", "invalid_output"):
            which = f"{step.identity['experiment']} --sub-experiment {step.identity['sub_experiment']}"
            lines.append(f"with a breakpoint: foresight run {which} --profile {step.profile}{options} --in-process")
        break
    lines.append(f"go on from here (what is finished is kept): {retry}")
    return "\n".join(lines)


def last_attempt(home: Home, step: Step) -> tuple[Attempt, Path] | None:
    """The newest attempt at a step that ended without a record, and its folder."""
    if home.record(step.fingerprint).exists():
        return None
    for path in sorted(home.step(step.fingerprint).glob("attempts/*/attempt.json"), key=_number, reverse=True):
        try:
            return Attempt.model_validate(read_json(path)), path.parent
        except (ValidationError, ValueError):
            continue
    return None


def _number(path: Path) -> int:
    return int(path.parent.name) if path.parent.name.isdigit() else 0
