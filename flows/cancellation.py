"""A person's cancel: heard by the run itself, which stops its calls and says so before it ends.

Then Prefect's worker runs the hook below and sets the state. The hook is the last resort, for a run that was killed
before it could stop anything: the ledger knows its calls on Modal. It is not the only path either, since Prefect does
not promise to call it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import httpx
from prefect.client.orchestration import get_client
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from foresight.compute import ledger
from foresight.compute.request import Job
from foresight.home import Home

MESSAGE = "cancelled; what was finished is kept"


def is_wanted() -> bool:
    """Whether a person has asked Prefect to cancel this flow run. A server that cannot be reached has asked nothing."""
    try:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(flow_run.id).state
    except httpx.HTTPError as error:
        _say_once(f"the Prefect server does not answer ({type(error).__name__}); steps go on, and it is asked again")
        return False
    return state is not None and (state.is_cancelling() or state.is_cancelled())


@cache
def _say_once(line: str) -> None:
    get_run_logger().warning(line)


def left_undone(job: Job) -> str:
    """What to tell at the end of a run that was cancelled in the middle."""
    return f"{MESSAGE}; `{job.request.command()}` goes on from there."


def tell(home: Home, run_id: str) -> None:
    """Say that it was cancelled, and what of it is not known to have stopped."""
    left = [call.label for call in ledger.list_calls(home, run_id) if ledger.is_alive(call)]
    if left:
        get_run_logger().warning(f"cancelled; not known to have stopped yet: {', '.join(left)}")
    else:
        get_run_logger().warning(f"{MESSAGE}. Go on from here: prefect flow-run retry {flow_run.id}")


def stop_remote_calls(flow: Any, flow_run: Any, state: Any) -> None:
    """Stop what still runs on Modal for the flow run. Prefect passes all three by name."""
    home = Home.from_environment()
    for folder in home.ledger.glob(f"*-{str(flow_run.id)[:6]}"):  # a run id ends so: `pipeline.current_run_id`
        ledger.request_cancel(home, folder.name)
        left = [call for call in ledger.unfollowed(home, folder.name) if not call.foreign]
        if left:
            from foresight.compute.modal_sweep import stop_all  # the client takes a second to import

            stop_all(home, left)
