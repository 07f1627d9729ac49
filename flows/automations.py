"""What the Prefect server does by itself: mark flow runs whose heartbeats stop, and tell people what happened.

    python -m flows.automations                        installs both on the server that PREFECT_API_URL names
    python -m flows.automations --notify slack/team    and sends notifications through that block

Installing is idempotent: an automation of the same name is replaced.
"""

from __future__ import annotations

import argparse
import sys
from datetime import timedelta
from typing import Any

from prefect.automations import Automation, EventTrigger
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import Posture
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings

from flows import heartbeat
from flows.server import require_answer
from foresight.errors import UserError
from tasks.news import FLIPPED, NIGHTLY, NIGHTLY_FAILED

ZOMBIES = "foresight: mark flow runs whose heartbeats stopped"
NOTIFY = "foresight: notify about flipped verdicts and failed nightlies"
NOTIFY_CRASH = "foresight: notify about a nightly that crashed"
BEATS = 4  # a window of fewer than three crashes healthy runs whose beat was late


def zombies(heartbeat_s: int) -> Automation:
    """Crash a flow run that has sent a heartbeat and then neither another one nor its end for four beats."""
    ends = {
        f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed", "Paused", "Suspended")
    }
    return Automation(
        name=ZOMBIES,
        description=f"No heartbeat for {BEATS} x {heartbeat_s} s: its process or its machine is gone. Retry it.",
        trigger=EventTrigger(
            after={heartbeat.EVENT},
            expect={heartbeat.EVENT, *ends},
            match={"prefect.resource.id": ["prefect.flow-run.*"]},  # type: ignore[arg-type]
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=BEATS * heartbeat_s),
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message="its heartbeats stopped; retry it")],
    )


def notifications(block: str) -> list[Automation]:
    """Through a notification block, named `type/name` as in `prefect block ls`: what the flows say, and a nightly that
    was killed and so could say nothing."""
    kind, _, name = block.partition("/")
    with get_client(sync_client=True) as client:
        try:
            document = client.read_block_document_by_name(name, kind).id
        except ObjectNotFound as error:
            raise UserError(
                f"The server has no block '{block}'. Make it in the UI (Blocks); `prefect block ls` lists them."
            ) from error
    said = SendNotification(
        block_document_id=document, subject="Foresight: {{ event.payload.title }}", body="{{ event.payload.text }}"
    )
    died = SendNotification(
        block_document_id=document,
        subject="Foresight: the nightly crashed",
        body="{{ flow_run.name }}: {{ flow_run.state.message }}\n{{ flow_run|ui_url }}",
    )
    tag = {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{NIGHTLY}"}
    return [
        Automation(name=NOTIFY, trigger=_at_once({FLIPPED, NIGHTLY_FAILED}), actions=[said]),
        Automation(
            name=NOTIFY_CRASH, trigger=_at_once({"prefect.flow-run.Crashed"}, match_related=tag), actions=[died]
        ),
    ]


def _at_once(expect: set[str], **match: Any) -> EventTrigger:
    return EventTrigger(expect=expect, posture=Posture.Reactive, threshold=1, within=timedelta(seconds=0), **match)


def install(automations: list[Automation]) -> None:
    with get_client(sync_client=True) as client:
        for automation in automations:
            _replace(client, automation)


def _replace(client: SyncPrefectClient, automation: Automation) -> None:
    for old in client.read_automations_by_name(automation.name):
        client.delete_automation(old.id)
    automation.create()


def main() -> None:
    parser = argparse.ArgumentParser(description="Install the automations on the Prefect server.")
    parser.add_argument("--notify", metavar="TYPE/NAME", help="a notification block, e.g. slack-webhook/team")
    block = parser.parse_args().notify
    heartbeat_s = get_current_settings().flows.heartbeat_frequency or 180
    try:
        require_answer()
        install([zombies(heartbeat_s), *(notifications(block) if block else [])])
    except UserError as error:
        print(f"foresight: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"installed: {ZOMBIES} ({BEATS} x {heartbeat_s} s)" + (f"; notifications through {block}" if block else ""))


if __name__ == "__main__":
    main()
