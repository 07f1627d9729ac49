"""Every hour: flow runs of this machine whose process is gone, and calls on Modal that no run follows any more.

Marks the former as crashed. Of the latter it stops only what a person cancelled or what is past its deadline; it brings
home what has ended and tells of the rest.
"""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.logging import get_run_logger
from prefect.states import Completed, State

from flows import forms, zombies
from foresight.compute import ledger
from foresight.home import Home


@flow(name="sweep-orphans", version=forms.version())
def sweep_orphans() -> list[dict[str, str]] | State:
    """One row a call: what became of it, its run, its link. What goes on can be attached to by the same run again."""
    home = Home.from_environment()
    for line in zombies.mark_dead(home):
        get_run_logger().warning(line)
    if not any(call.backend == "modal" for call in ledger.list_calls(home)):
        return Completed(message="nothing was ever submitted to Modal from here", data=[])
    from foresight.compute.modal_sweep import sweep  # the client takes a second to import

    rows = [_row(each) for each in sweep(home)]
    for row in rows:
        say = get_run_logger().warning if row["what"].startswith("goes on") else get_run_logger().info
        say(f"{row['call']} of run {row['run']}: {row['what']}: {row['link']}")
    if rows:
        create_table_artifact(rows, key="orphans", description="Calls on Modal that no run followed")
    return rows


def _row(swept: Any) -> dict[str, str]:
    entry = swept.entry
    what = swept.what
    if what == "goes on":
        what = f"goes on (`foresight cancel {entry.run_id}` stops it; the same run again attaches to it)"
    who = {"call": entry.label, "run": entry.run_id}
    return {**who, "what": what, "since": entry.submitted_at, "link": entry.link or ""}
