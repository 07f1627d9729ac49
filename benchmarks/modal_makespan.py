"""How long 20 calls of known lengths take on Modal, against their critical path, and where the rest goes.

    python benchmarks/modal_makespan.py [--unit SECONDS] [--runs N]

The calls need each other, four deep (`tests/makespan.py`); their handlers sleep. The shell, the flow, the real client
and Modal's real entrypoint run against the tests' control plane, on loopback, with 20 containers; a Prefect server is
started before. So this is what the orchestration and the start of containers on *this* machine add: a request to Modal
takes longer than one on loopback, and a cold start of its containers comes on top.

*makespan*: of the flow run, from its beginning to its end. *over it*: over the critical path by the handlers' lengths
alone; the second time, by what the calls took with their containers, 20 of which start on one machine here. The rows
below are seconds along the chain of calls that the run's end waited for, a sum with its parts beside it.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from flows.server import OwnServer
from foresight.home import Home

TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(TESTS))

import makespan  # noqa: E402  (of the tests)
from modal_plane.fixture import running_plane  # noqa: E402
from remote import deploy  # noqa: E402

CONTAINERS = 20


def measured(folder: Path, unit_s: float, runs: int) -> list[makespan.Course]:
    server = OwnServer(Home(folder / "prefect"))
    server.start()
    try:
        server.wait()
        with running_plane(folder / "plane", max_containers=CONTAINERS, preload=makespan.PRELOAD) as plane:
            done = deploy(plane.environment, "remote_handlers", str(TESTS))
            if done.returncode != 0:
                raise SystemExit(done.stdout + done.stderr)
            return [
                makespan.run(plane, makespan.TWENTY, folder / f"run-{number}", unit_s, server.url)
                for number in range(runs)
            ]
    finally:
        server.stop()


def shown(courses: list[makespan.Course]) -> Table:
    table = Table("", *(f"run {number + 1}" for number in range(len(courses))))
    table.add_row("critical path, s", *(f"{course.critical_s:.1f}" for course in courses))
    table.add_row("makespan, s", *(f"{course.makespan_s:.1f}" for course in courses))
    table.add_row("over it", *(f"{course.makespan_s / course.critical_s - 1:.1%}" for course in courses))
    beside = (f"{course.makespan_s / course.calls_critical_s - 1:.1%}" for course in courses)
    table.add_row("over it, the containers' own time beside", *beside)
    table.add_section()
    for name in courses[0].overheads():
        cells = []
        for course in courses:
            parts = course.overheads()[name]
            each = f"  ({' '.join(f'{part:.2f}' for part in parts)})" if len(parts) > 1 else ""
            cells.append(f"{sum(parts):.2f}{each}")
        table.add_row(name, *cells)
    table.add_row("the chain", *(" ".join(course.chain) for course in courses))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unit", type=float, default=5.0, help="seconds; the critical path has 20")
    parser.add_argument("--runs", type=int, default=2)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        courses = measured(Path(scratch), chosen.unit, chosen.runs)
    console = Console(width=130)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    console.print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} processors, load {load}, {platform.platform()}")
    console.print(shown(courses))


if __name__ == "__main__":
    main()
