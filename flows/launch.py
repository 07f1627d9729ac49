"""Run a flow from the shell, in this process, and wait for it."""

from __future__ import annotations

import importlib
import logging
import os
from typing import Any

from flows.outcome import Outcome
from flows.server import prefect_api
from foresight.home import Home

# What a terminal shows: when, what, and the words. The flow run's page has the rest.
_FORMAT = "%(asctime)s │ {name} │ %(message)s"


def _says_something(record: logging.LogRecord) -> bool:
    """Not that a task has completed, when it has just said what it found, nor twice that it has failed."""
    return not record.getMessage().startswith(("Finished in state Completed(", "Task run failed with state"))


def launch(name: str, parameters: dict[str, Any], home: Home) -> Any:
    """Run `flows.<name>` and return what it returned, the outcome of a failed run too. Raises what it raised."""
    flow_run, task_run = _FORMAT.format(name="run"), _FORMAT.format(name="%(task_run_name)-22s")
    os.environ.setdefault("PREFECT_LOGGING_FORMATTERS_STANDARD_FLOW_RUN_FMT", flow_run)
    os.environ.setdefault("PREFECT_LOGGING_FORMATTERS_STANDARD_TASK_RUN_FMT", task_run)
    os.environ.setdefault("PREFECT_LOGGING_FORMATTERS_STANDARD_DATEFMT", "%H:%M:%S")
    with prefect_api(home) as server:
        if server is not None:
            server.wait()
        module = importlib.import_module(f"flows.{name}")
        from prefect.events.worker import EventsWorker
        from prefect.exceptions import TerminationSignal
        from prefect.logging.handlers import APILogWorker

        logging.getLogger("prefect.task_runs").addFilter(_says_something)
        try:
            state = getattr(module, name)(**parameters, return_state=True)
            ended_with = getattr(state.data, "result", state.data)
            # A failed run has an outcome too, which `state.result()` takes for a mistake.
            return ended_with if isinstance(ended_with, Outcome) else state.result()
        except TerminationSignal as signalled:
            raise KeyboardInterrupt from signalled
        finally:
            # Nothing may be lost: the last lines of a run are its verdict.
            APILogWorker.drain_all(timeout=5)
            EventsWorker.drain_all(timeout=5)
