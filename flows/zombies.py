"""Flow runs whose process is gone: found, and said so, so that none stays `Running` for ever.

A flow run writes down its process when it begins, in `prefect/alive/<flow-run-id>.json`, and takes that away when it
ends. Whoever comes next on this machine and finds a file whose process is dead (a shell run that was killed with -9, a
lost power supply) marks the flow run as crashed. A worker does the same for its own children
within seconds, and the heartbeat automation (`flows.automations`) for machines that are gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, WorkPoolFilter
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Crashed, Scheduled

from foresight.compute.process import Process
from foresight.files import read_json, write_json
from foresight.home import Home
from foresight.results import view

MESSAGE = "its process is gone (killed, or the machine was lost). Retry it: what is finished is kept"


@contextmanager
def written_down(home: Home) -> Iterator[None]:
    """Around the work of a flow run. What other flow runs left when they died is marked first, and not itself, which is
    this one's earlier attempt if it is retried."""
    for line in mark_dead(home, besides=str(flow_run.id)):
        get_run_logger().warning(line)
    path = _folder(home) / f"{flow_run.id}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"process": vars(Process.current())})
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def mark_dead(home: Home, *, besides: str = "") -> list[str]:
    """Mark every flow run whose process is gone as crashed, but for the one of that id. One line each; one that another
    server knows is left."""
    view.end_killed(home)
    dead = [path for path in sorted(_folder(home).glob("*.json")) if path.stem != besides and _is_dead(path)]
    if not dead:
        return []
    with get_client(sync_client=True) as client:
        return [line for path in dead if (line := _mark(client, home, path))]


def reschedule_pending(pool: str) -> int:
    """Flow runs that a worker had taken and not started when it ended. Only for who knows that no worker is left."""
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(
            flow_run_filter=FlowRunFilter.model_validate({"state": {"type": {"any_": ["PENDING"]}}}),
            work_pool_filter=WorkPoolFilter.model_validate({"name": {"any_": [pool]}}),
        )
        for run in found:
            client.set_flow_run_state(run.id, Scheduled(), force=True)
    return len(found)


def _mark(client: SyncPrefectClient, home: Home, path: Path) -> str:
    if not _is_dead(path):  # once more: the server was slow to answer, and somebody retries it meanwhile
        return ""
    try:
        run = client.read_flow_run(path.stem)  # type: ignore[arg-type]  # it takes the text of an id as well
    except ObjectNotFound:
        return ""
    said = ""
    if run.state is None or not run.state.is_final():
        client.set_flow_run_state(run.id, Crashed(message=MESSAGE), force=True)
        said = f"flow run {run.name} was marked as crashed: {MESSAGE}"
    path.unlink(missing_ok=True)
    return said


def _is_dead(path: Path) -> bool:
    """Whether its process is gone; not if it has ended meanwhile, or is of another machine: that is for the heartbeats
    to tell. Nobody can tell whose a damaged file was."""
    try:
        return Process(**read_json(path)["process"]).is_gone()
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False


def _folder(home: Home) -> Path:
    return home.prefect / "alive"
