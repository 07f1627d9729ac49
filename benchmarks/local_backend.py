"""How long a local call takes to start, against a fresh interpreter that imports the same modules.

    python benchmarks/local_backend.py [--calls N]

*to first line*: from `submit` to the executor's first line. *whole call*: from `submit` until the outcome is known,
for a step that does nothing: claim, attempt, record and provenance included.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from foresight.compute.backend import Call
from foresight.compute.executors import StepContext
from foresight.compute.local import PRELOAD, LocalBackend
from foresight.compute.step import Step
from foresight.home import Home
from foresight.results.record import StepOutput, read_record

FRESH = "import importlib; [importlib.import_module(name.partition(':')[0]) for name in {!r}]"


def execute(step: Step, context: StepContext) -> StepOutput:
    """In the worker. The monotonic clock is the machine's."""
    return StepOutput(metrics={"first_line": time.monotonic()})


def fresh_interpreter_s() -> float:
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", FRESH.format(PRELOAD)], check=True)
    return time.monotonic() - started


def call_s(backend: LocalBackend, home: Home, number: int) -> tuple[float, float]:
    """(to first line, whole call) of a step that does nothing."""
    step = Step("sub_experiment", f"nothing {number}", "tiny", {"number": number})
    started = time.monotonic()
    call_id = backend.submit(Call((step,)), run_id="benchmark")
    backend.poll(call_id, 120.0)
    ended = time.monotonic()
    record = read_record(home, step.fingerprint)
    if record is None:
        raise SystemExit(backend.outcome(call_id)[0].error)
    return record.metrics["first_line"] - started, ended - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20)
    n_calls = parser.parse_args().calls
    fresh = [fresh_interpreter_s() for _ in range(3)]
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        executors = {"sub_experiment": "local_backend:execute"}
        with LocalBackend(home, executors=executors) as backend:
            first, *later = [call_s(backend, home, number) for number in range(n_calls + 1)]
    table = Table("", "median (s)", "worst (s)", "fresh / this")
    fresh_s = statistics.median(fresh)
    rows: dict[str, Any] = {
        "fresh interpreter, the same imports": fresh,
        "first call, to first line": [first[0]],
        f"next {n_calls} calls, to first line": [seconds for seconds, _ in later],
        f"next {n_calls} calls, whole call": [seconds for _, seconds in later],
    }
    for name, seconds in rows.items():
        median = statistics.median(seconds)
        table.add_row(name, f"{median:.3f}", f"{max(seconds):.3f}", f"{fresh_s / median:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
