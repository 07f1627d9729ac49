"""What a local call's own process runs."""

from __future__ import annotations

import faulthandler
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foresight.compute import ledger
from foresight.compute.causes import EXIT_DISK_FULL
from foresight.compute.journal import read_journal
from foresight.compute.process import kill_descendants
from foresight.compute.run_step import run_call
from foresight.home import Home

_WAIT_S = 5.0


def work(steps: Sequence[Mapping[str, Any]], home: str, call_id: str, run_id: str, executors: Mapping[str, str]) -> int:
    """Run the call and return the process's exit code. How each step ended is in the journal."""
    faulthandler.enable(2)  # a crash in native code leaves its stack in the log
    place = Home(Path(home))
    run_call(steps, place, call_id, run_id, executors=executors)
    kill_descendants(wait_s=_WAIT_S)
    journal = read_journal(ledger.call_file(place, run_id, call_id, ".journal.jsonl"))
    return 0 if journal.is_over else EXIT_DISK_FULL
