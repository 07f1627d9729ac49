"""What Prefect runs in a fresh process once a cancelled flow run's own is dead.

The run itself cancels its calls within a second or two. This is the last resort, for a run that was killed before it
could: the ledger knows its calls on Modal. It is not the only path either, since Prefect does not promise to call it.
"""

from __future__ import annotations

from typing import Any

from foresight.compute import ledger
from foresight.home import Home


def stop_remote_calls(flow: Any, flow_run: Any, state: Any) -> None:
    """Stop what still runs on Modal for the flow run. Prefect passes all three by name."""
    home = Home.from_environment()
    for folder in home.ledger.glob(f"*-{str(flow_run.id)[:6]}"):  # a run id ends so: `pipeline.current_run_id`
        ledger.request_cancel(home, folder.name)
        left = [call for call in ledger.unfollowed(home, folder.name) if not call.foreign]
        if left:
            from foresight.compute.modal_sweep import stop_all  # the client takes a second to import

            stop_all(home, left)
