"""What the orchestration itself costs, on a graph of 19 steps that do nothing: wall time and processor time a step.

    python benchmarks/orchestration.py                    ours, and Metaflow and Dagster in an environment of their own
    python benchmarks/orchestration.py --others ENV       an environment that has both already
    python benchmarks/orchestration.py --others none      ours alone

All run in one go on one machine, two steps at a time, each step in a process of its own. Ours: a plan of 19
sub-experiments through Prefect, with records, claims, hashes and artifacts; its server is started before and counted
apart. Theirs: start, 16 in parallel, join, end. *again*: the same command a second time.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from flows.server import OwnServer
from foresight.home import Home

STEPS = 19
VERSIONS = ("metaflow==2.19.39", "dagster==1.13.29")
CHECKOUT = Path(__file__).parents[1]

HANDLER = """
def nothing(runner):
    return {"finding": "nothing", "metrics": {"one": 1.0}, "artifacts": []}
"""
PLAN_HEAD = """
version: 1
profiles: profiles.yaml
experiments:
  - id: b1-nothing
    short: b1
    title: Nothing
    kind: claim
    phase: 1
    question: What does it cost to do nothing?
    criteria:
      - {name: one, sub_experiment: n_0, metric: one, direction: higher, target: 1, acceptable: 1, failure: 0, arm: "-"}
    sub_experiments:
"""
PROFILES = """
version: 1
profiles:
  - name: tiny
    rank: 1
    moves_gates: false
    description: Nothing.
    models: {}
    data: {}
    seeds: [0]
    split: {train: 0.6, validation: 0.15, test: 0.25}
    resources:
      extract: {device: cpu, timeout_s: 60, deadline_s: 60, memory_gb: 1}
      sub_experiment: {device: cpu, timeout_s: 60, deadline_s: 60, memory_gb: 1}
"""
METAFLOW = f"""
from metaflow import FlowSpec, step


class Nothing(FlowSpec):
    @step
    def start(self):
        self.parts = list(range({STEPS - 3}))
        self.next(self.part, foreach="parts")

    @step
    def part(self):
        self.next(self.join)

    @step
    def join(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    Nothing()
"""
DAGSTER = f"""
import sys
from dagster import DagsterInstance, DynamicOut, DynamicOutput, In, Nothing, execute_job, job, op, reconstructable


@op
def start():
    return 0


def part(number):
    @op(name=f"part_{{number}}")
    def one(begun):
        return number
    return one


@op
def join(parts):
    return len(parts)


@op
def end(joined):
    pass


PARTS = [part(number) for number in range({STEPS - 3})]


@job
def nothing():
    begun = start()
    end(join([one(begun) for one in PARTS]))


if __name__ == "__main__":
    in_one = sys.argv[1] == "in-one-process"
    execution = {{"in_process": {{}}}} if in_one else {{"multiprocess": {{"max_concurrent": 2}}}}
    with DagsterInstance.get() as instance:
        done = execute_job(
            reconstructable(nothing), instance=instance, run_config={{"execution": {{"config": execution}}}}
        )
    sys.exit(0 if done.success else 1)
"""


@dataclass(frozen=True)
class Took:
    name: str
    wall_s: float
    cpu_s: float
    note: str = ""


def timed(name: str, command: list[str], environment: dict[str, str], folder: Path, note: str = "") -> Took:
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    wall = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise SystemExit(f"{name} failed:\n{(done.stdout + done.stderr)[-2000:]}")
    return Took(name, wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, note)


def ours(folder: Path) -> Iterator[Took]:
    home = Home(folder / "home")
    (folder / "nothing_handlers.py").write_text(HANDLER)
    subs = [f'      - {{id: n_{i}, title: N, aim: N., handler: "nothing_handlers:nothing"}}' for i in range(STEPS)]
    (folder / "plan.yaml").write_text(PLAN_HEAD + "\n".join(subs) + "\n")
    (folder / "profiles.yaml").write_text(PROFILES)
    with own_server(home) as (url, server_cpu_s):
        environment = {
            **os.environ,
            "PYTHONPATH": f"{CHECKOUT}:{folder}",
            "FORESIGHT_HOME": str(home.root),
            "PREFECT_API_URL": url,
        }
        command = [sys.executable, "-m", "foresight", "run", "b1", "--plan", str(folder / "plan.yaml")]
        before = server_cpu_s()
        first = timed("foresight", command, environment, folder)
        note = f"and {server_cpu_s() - before:.1f} s of the Prefect server's processor"
        yield Took(first.name, first.wall_s, first.cpu_s, note)
        yield timed("foresight, again", command, environment, folder, "answered from the records")


@contextmanager
def own_server(home: Home) -> Iterator[tuple[str, Callable[[], float]]]:
    server = OwnServer(home)
    server.start()
    server.wait()
    process = next(child for child in psutil.Process().children() if "flows.server" in " ".join(child.cmdline()))

    def cpu_s() -> float:
        used = process.cpu_times()
        return used.user + used.system

    try:
        yield server.url, cpu_s
    finally:
        server.stop()


def theirs(environment_folder: Path, folder: Path) -> Iterator[Took]:
    python = str(environment_folder / "bin" / "python")
    (folder / "metaflow_nothing.py").write_text(METAFLOW)
    (folder / "dagster_nothing.py").write_text(DAGSTER)
    (folder / "dagster").mkdir()
    (folder / "dagster" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(folder / "metaflow"),
        "METAFLOW_DEFAULT_METADATA": "local",
        "METAFLOW_USER": "bench",
        "USERNAME": "bench",
        "DAGSTER_HOME": str(folder / "dagster"),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
    }
    metaflow = [python, "metaflow_nothing.py", "--quiet", "--no-pylint", "run", "--max-workers", "2"]
    yield timed("Metaflow", metaflow, environment, folder, "a process a step")
    yield timed("Metaflow, again", metaflow, environment, folder, "computes all again")
    dagster = [python, "dagster_nothing.py"]
    yield timed("Dagster, multiprocess", [*dagster, "isolated"], environment, folder, "a process a step")
    yield timed("Dagster, in one process", [*dagster, "in-one-process"], environment, folder, "no isolation")


def made_environment(folder: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", str(folder / "others")], check=True)
    subprocess.run([str(folder / "others" / "bin" / "pip"), "install", "-q", *VERSIONS], check=True)
    return folder / "others"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--others", metavar="ENV", help="an environment with Metaflow and Dagster; `none`: without")
    chosen = parser.parse_args().others
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        results = list(ours(folder))
        if chosen != "none":
            results += theirs(Path(chosen) if chosen else made_environment(folder), folder)
    table = Table("", "wall s", "wall s a step", "processor s", "processor s a step", "")
    for one in results:
        cells = (one.wall_s, one.wall_s / STEPS, one.cpu_s, one.cpu_s / STEPS)
        table.add_row(one.name, *(f"{cell:.2f}" for cell in cells), one.note)
    console = Console(width=130)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    console.print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} processors, load {load}, {platform.platform()}")
    console.print(table)


if __name__ == "__main__":
    main()
