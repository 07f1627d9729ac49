"""Events for those who are not looking: a verdict or a gate that flipped, a nightly that failed.

An automation turns them into a notification (`flows.automations`).
"""

from __future__ import annotations

from collections.abc import Sequence

from prefect.events import emit_event
from prefect.runtime import deployment, flow_run
from prefect.utilities.urls import url_for

FLIPPED = "foresight.verdict.flipped"
NIGHTLY_FAILED = "foresight.nightly.failed"
NIGHTLY = "nightly"  # the name of its deployment


def flipped(what: str, lines: Sequence[str]) -> None:
    """Something that was decided is decided otherwise now. `what`: an experiment's id, or `gates`."""
    _emit(FLIPPED, f"foresight.verdict.{what}", f"{what}: a verdict flipped", "\n".join(lines))


def if_nightly_failed(why: str) -> None:
    """Nothing where the run is no nightly: whoever started it by hand is looking."""
    if deployment.name == NIGHTLY:
        _emit(NIGHTLY_FAILED, "foresight.nightly", "the nightly failed", why)


def _emit(event: str, resource: str, title: str, text: str) -> None:
    page = url_for("flow-run", obj_id=flow_run.id)  # `flow_run.ui_url` is a page that Prefect 3 does not have
    emit_event(
        event=event,
        resource={"prefect.resource.id": resource},
        related=[
            {
                "prefect.resource.id": f"prefect.flow-run.{flow_run.id}",
                "prefect.resource.role": "flow-run",
                "prefect.resource.name": flow_run.name or "",
            }
        ],
        payload={"title": title, "text": f"{text}\n{page or ''}".strip(), "flow_run": str(flow_run.id)},
    )
