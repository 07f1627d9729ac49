"""The process beside a run that shows it in Weights & Biases (`foresight.wandb_mirror`): started, listened to, ended.

Off unless `FORESIGHT_WANDB` is `online` or `offline`. Whatever becomes of that process, the run goes on: its lines, and
at most one about its own end, are all that the run has of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.utilities.urls import url_for

from foresight.compute.attempt import attempt_numbers
from foresight.compute.planner import StepPlan
from foresight.compute.process import Process
from foresight.errors import UserError
from foresight.files import write_json
from foresight.home import Home
from tasks.calls import is_done

SWITCH = "FORESIGHT_WANDB"
ANSWER_S = 10.0  # that W&B has for an answer
FINISH_S = 30.0
"""That it has, from the end of the run, to take the rest. Then the process ends, and says what was not taken."""

KILL_S = FINISH_S + 10.0
INTERRUPTED_S = 3.0  # instead, when somebody wants the run to end now
SOON_S = 3.0  # what needs no word


def chosen() -> str:
    """`off`, `online` or `offline`. Raises `UserError` on anything else."""
    value = os.environ.get(SWITCH) or "off"
    if value not in ("off", "online", "offline"):
        raise UserError(f"{SWITCH} is {value!r}. Set it to online, offline or off; see docs/tracking.md.")
    return value


class Mirror:
    """Of one run; nothing happens before `begin`, and nothing at all if it is off."""

    def __init__(self, home: Home, run_id: str) -> None:
        self._home, self._run_id, self._mode = home.resolved(), run_id, chosen()
        self._say = get_run_logger()
        self._process: subprocess.Popen[str] | None = None
        self._listener: threading.Thread | None = None

    def begin(self, plan: StepPlan) -> None:
        """Start it, for the seeds that have no record yet."""
        steps = [step for step in plan.seeded.values() if not is_done(step, self._home)]
        if self._mode == "off" or not steps:
            return
        request = self._home.wandb / self._run_id / "request.json"
        above = {s.fingerprint: max(attempt_numbers(self._home, s.fingerprint), default=0) for s in steps}
        write_json(
            request,
            {
                "home": str(self._home.root),
                "run_id": self._run_id,
                "mode": self._mode,
                "link": url_for("flow-run", obj_id=flow_run.id),
                "answer_s": ANSWER_S,
                "finish_s": FINISH_S,
                "steps": [{**s.to_json(), "fingerprint": s.fingerprint, "above": above[s.fingerprint]} for s in steps],
            },
        )
        with request.with_name("wandb.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "foresight.wandb_mirror", str(request)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C is for the run, which then tells it
                env={**os.environ, "WANDB_ERROR_REPORTING": "false"},
            )
        assert self._process.stdout is not None
        self._listener = threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True)
        self._listener.start()

    def end(self, patience_s: float) -> None:
        """Let it pass on the rest, for so long."""
        process, listener = self._process, self._listener
        if process is None or listener is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        status = _status(process, min(SOON_S, patience_s))
        if status is None and patience_s > SOON_S:
            if self._mode == "online":
                self._say.info(f"W&B │ the run is over; the rest is uploaded, for {FINISH_S:.0f} s at most")
            status = _status(process, patience_s - SOON_S)
        if status is None:
            Process.of(process.pid).kill_group()
            status = process.wait()
        listener.join()
        if status != 0:
            log = self._home.wandb / self._run_id / "wandb.log"
            self._say.warning(f"W&B │ its process ended before its time; no result depends on it. See {log}")

    def _listen(self, lines: IO[str]) -> None:
        for line in lines:
            self._say.info(f"W&B │ {line.rstrip()}")


@contextmanager
def of_run(home: Home, run_id: str) -> Iterator[Mirror]:
    """Around the work of a flow run. Raises `UserError` for a setting that is none."""
    mirror = Mirror(home, run_id)
    try:
        yield mirror
    except BaseException:  # Ctrl-C or a cancel too: it may not outlive the run
        mirror.end(INTERRUPTED_S)
        raise
    mirror.end(KILL_S)


def _status(process: subprocess.Popen[str], timeout_s: float) -> int | None:
    """Its exit status; None if it still runs after `timeout_s`."""
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return None
