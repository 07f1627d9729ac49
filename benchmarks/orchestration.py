"""What the orchestration itself costs, on a graph of 19 steps that do nothing: wall time and processor time a step.

    python benchmarks/orchestration.py                    ours, and Metaflow and Dagster in an environment of their own
    python benchmarks/orchestration.py --others ENV       an environment that has both already
    python benchmarks/orchestration.py --others none      ours alone

All run in one go on one machine, two steps at a time, each step in a process of its own; ours and Metaflow's in turn,
`--rounds` times, of which the median is shown with the least and the most. Ours: a plan of 19 sub-experiments through
Prefect, with records, claims, hashes and artifacts, in an empty FORESIGHT_HOME each time; its server is started before
and counted apart. Theirs: start, 16 in parallel, join, end. *again*: the same command a second time.
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
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from statistics import median

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
    server_s: float = 0.0  # of the processor, in the Prefect server


def timed(name: str, command: list[str], environment: dict[str, str], folder: Path, note: str = "") -> Took:
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    wall = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise SystemExit(f"{name} failed:\n{(done.stdout + done.stderr)[-2000:]}")
    return Took(name, wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, note)


@contextmanager
def ours(folder: Path) -> Iterator[Callable[[], list[Took]]]:
    """A function that measures a first run and a second one, each time in a home of its own."""
    (folder / "nothing_handlers.py").write_text(HANDLER)
    subs = [f'      - {{id: n_{i}, title: N, aim: N., handler: "nothing_handlers:nothing"}}' for i in range(STEPS)]
    (folder / "plan.yaml").write_text(PLAN_HEAD + "\n".join(subs) + "\n")
    (folder / "profiles.yaml").write_text(PROFILES)
    with own_server(Home(folder / "home")) as (url, server_cpu_s):
        rounds = count()

        def measure() -> list[Took]:
            environment = {
                **os.environ,
                "PYTHONPATH": f"{CHECKOUT}:{folder}",
                "FORESIGHT_HOME": str(folder / f"home-{next(rounds)}"),
                "PREFECT_API_URL": url,
            }
            command = [sys.executable, "-m", "foresight", "run", "b1", "--plan", str(folder / "plan.yaml")]
            before = server_cpu_s()
            first = timed("foresight", command, environment, folder)
            first = replace(first, server_s=server_cpu_s() - before)
            return [first, timed("foresight, again", command, environment, folder, "answered from the records")]

        yield measure


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


class Theirs:
    def __init__(self, environment_folder: Path, folder: Path) -> None:
        self._python, self._folder = str(environment_folder / "bin" / "python"), folder
        (folder / "metaflow_nothing.py").write_text(METAFLOW)
        (folder / "dagster_nothing.py").write_text(DAGSTER)
        (folder / "dagster").mkdir()
        (folder / "dagster" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        self._environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(folder / "metaflow"),
            "METAFLOW_DEFAULT_METADATA": "local",
            "METAFLOW_USER": "bench",
            "USERNAME": "bench",
            "DAGSTER_HOME": str(folder / "dagster"),
            "DAGSTER_DISABLE_TELEMETRY": "yes",
        }

    def metaflow(self) -> list[Took]:
        command = [self._python, "metaflow_nothing.py", "--quiet", "--no-pylint", "run", "--max-workers", "2"]
        first = timed("Metaflow", command, self._environment, self._folder, "a process a step")
        return [first, timed("Metaflow, again", command, self._environment, self._folder, "computes all again")]

    def dagster(self) -> list[Took]:
        command = [self._python, "dagster_nothing.py"]
        isolated = timed(
            "Dagster, multiprocess", [*command, "isolated"], self._environment, self._folder, "a process a step"
        )
        one = timed(
            "Dagster, in one process", [*command, "in-one-process"], self._environment, self._folder, "no isolation"
        )
        return [isolated, one]


def made_environment(folder: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", str(folder / "others")], check=True)
    subprocess.run([str(folder / "others" / "bin" / "pip"), "install", "-q", *VERSIONS], check=True)
    return folder / "others"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--others", metavar="ENV", help="an environment with Metaflow and Dagster; `none`: without")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        results: list[Took] = []
        with ours(folder) as measure_ours:
            if given.others == "none":
                for _ in range(given.rounds):
                    results += measure_ours()
            else:
                theirs = Theirs(Path(given.others) if given.others else made_environment(folder), folder)
                for _ in range(given.rounds):
                    results += measure_ours() + theirs.metaflow()
                results += theirs.dagster()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    console = Console(width=130)
    console.print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} processors, load {load}, {platform.platform()}")
    console.print(shown(results))


def shown(results: list[Took]) -> Table:
    table = Table("", "wall s", "least to most", "wall s a step", "processor s", "processor s a step", "")
    for name in dict.fromkeys(one.name for one in results):
        group = [one for one in results if one.name == name]
        walls = [one.wall_s for one in group]
        wall_s, cpu_s = median(walls), median(one.cpu_s for one in group)
        server_s = median(one.server_s for one in group)
        note = f"and {server_s:.1f} s of the Prefect server's processor" if server_s else group[0].note
        spread = f"{min(walls):.2f} to {max(walls):.2f}" if len(walls) > 1 else ""
        numbers = (wall_s / STEPS, cpu_s, cpu_s / STEPS)
        table.add_row(name, f"{wall_s:.2f}", spread, *(f"{number:.2f}" for number in numbers), note)
    return table


if __name__ == "__main__":
    main()
