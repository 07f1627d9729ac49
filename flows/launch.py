"""Run a flow from the shell, in this process, and wait for it."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from flows.outcome import Outcome
from flows.server import prefect_api, require_answer
from foresight import collector, interrupts
from foresight.errors import StepFailed
from foresight.home import Home

# What a terminal shows: when, and the words, which name the step. The flow run's page has the rest.
_FORMAT = "%(asctime)s │ %(message)s"


def launch(name: str, parameters: dict[str, Any], home: Home) -> Any:
    """Run `flows.<name>` and return what it returned, the outcome of a failed run too. Raises what it raised."""
    for kind in ("FLOW_RUN", "TASK_RUN"):
        os.environ.setdefault(f"PREFECT_LOGGING_FORMATTERS_STANDARD_{kind}_FMT", _FORMAT)
    os.environ.setdefault("PREFECT_LOGGING_FORMATTERS_STANDARD_DATEFMT", "%H:%M:%S")
    with prefect_api(home) as server:
        with collector.importing():  # while the server starts
            import httpx
            from prefect.events.worker import EventsWorker
            from prefect.exceptions import TerminationSignal
            from prefect.logging.handlers import APILogWorker

            from flows import heartbeat, zombies

            module = importlib.import_module(f"flows.{name}")
        if server is not None:
            server.wait()
        else:
            require_answer()
        for line in zombies.mark_dead(home):
            print(line, file=sys.stderr)
        try:
            with heartbeat.of_our_own(wanted=server is None):
                state = getattr(module, name)(**parameters, return_state=True)
            ended_with = getattr(state.data, "result", state.data)
            if isinstance(ended_with, KeyboardInterrupt):
                raise ended_with
            # A failed run has an outcome too, which `state.result()` takes for a mistake.
            return ended_with if isinstance(ended_with, Outcome) else state.result()
        except TerminationSignal as signalled:
            raise interrupts.Interrupted(signalled.signal) from signalled
        except httpx.TransportError as error:  # after Prefect has tried again for minutes
            raise StepFailed(
                f"The Prefect server does not answer any more ({error}), so the run cannot go on. What is finished is "
                "kept; the same command goes on from there.",
                cause="lost",
                retryable=True,
            ) from error
        finally:
            # Nothing may be lost: the last lines of a run are its verdict.
            APILogWorker.drain_all(timeout=5)
            EventsWorker.drain_all(timeout=5)
