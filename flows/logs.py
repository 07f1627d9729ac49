"""The log of a flow run, for reading: what will run and why, what each step does and finds, the table at the end.

Each line names the step it is about, since `prefect flow-run logs` shows nothing else of where it comes from. What
Prefect says of its own doings is left out, and tokens are blacked out.
"""

from __future__ import annotations

import logging
from io import StringIO

import httpx
from rich.console import Console, RenderableType

from foresight.compute.masking import mask
from foresight.errors import StepFailed, UserError

WIDTH = 120
# Of a cancel and of a Ctrl-C: `flows.cancellation` has said it, or the shell does.
_OF_A_CANCEL = ("Flow run was cancelled.", "Finished in state Running()", "Finished in state Cancelled('stopped by ")
_OWN_DOINGS = ("Finished in state ", "Task run failed with state", "Task run encountered", "Created task run")


class _ForReading(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if record.exc_info and isinstance(record.exc_info[1], (StepFailed, UserError)):
            return False  # the engine's surprise that a flow failed: why it did has been said, in one sentence
        if record.exc_info and isinstance(record.exc_info[1], httpx.TransportError):
            record.exc_info = record.exc_text = (
                None  # the server is gone: its name says so, a hundred lines say no more
            )
        if record.name == "prefect.flow_runs" and text.startswith(_OF_A_CANCEL):
            return False
        # A task that failed has said why, and the flow run says it again with what to do; its state has both.
        if record.name == "prefect.task_runs" and text.startswith(_OWN_DOINGS):
            return False
        masked = mask(text)
        if masked != text:
            record.msg, record.args = masked, None
        return True


_FILTER = _ForReading()


def for_reading() -> None:
    """Idempotent; from the first line of a flow on."""
    for name in ("prefect.flow_runs", "prefect.task_runs", "prefect.engine"):
        logging.getLogger(name).addFilter(_FILTER)


def as_text(shown: RenderableType) -> str:
    """What a terminal would show, without its colours."""
    page = StringIO()
    Console(file=page, width=WIDTH, color_system=None).print(shown)
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines())
