"""Events for those who are not looking: a verdict or a gate that flipped, a nightly that failed.

An automation turns them into a notification (`flows.automations`).
"""

from __future__ import annotations

from prefect.events import emit_event
from prefect.runtime import deployment, flow_run

FLIPPED = "foresight.verdict.flipped"
NIGHTLY_FAILED = "foresight.nightly.failed"


def flipped(experiment_id: str, lines: list[str]) -> None:
    """Something of an experiment that was decided is decided otherwise now."""
    _emit(FLIPPED, f"foresight.experiment.{experiment_id}", f"{experiment_id}: a verdict flipped", "\n".join(lines))


def nightly_failed(why: str) -> None:
    _emit(NIGHTLY_FAILED, "foresight.nightly", "the nightly failed", why)


def is_nightly() -> bool:
    return deployment.name == "nightly"


def _emit(event: str, resource: str, title: str, text: str) -> None:
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
        payload={"title": title, "text": f"{text}\n{flow_run.ui_url or ''}".strip(), "flow_run": str(flow_run.id)},
    )
