"""A programme of 20 calls of known lengths with needs between them, and where the time of its run goes.

Its handlers sleep, so that a container costs this machine nothing while it works. All else is as a user has it: the
shell, the flow, the real client, Modal's real entrypoint in the containers. In a plan only extractions can be needed by
something, which makes two layers; here handlers need each other, four deep. So what a test starts is
`python makespan.py run …`, which is the shell with the needs that the profile's parameters name (`after`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import yaml
from modal_plane.control import PlaneControl

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Sleeper:
    """A handler: how long it sleeps, and what it needs."""

    units: float
    needs: tuple[str, ...] = ()
    until: str = ""  # it sleeps on until this one has ended


Programme = Mapping[str, Sleeper]

TWENTY: Programme = {
    "first": Sleeper(1),
    "x_a": Sleeper(4, ("first",)),
    "x_b": Sleeper(3, ("first",)),
    "x_c": Sleeper(6, ("first",)),
    "p_0": Sleeper(2, ("x_a",)),
    "p_1": Sleeper(9, ("x_a",)),
    "p_2": Sleeper(5, ("x_b",)),
    "p_3": Sleeper(12, ("x_b",)),
    "p_4": Sleeper(3, ("x_a", "x_b")),
    "p_5": Sleeper(8, ("x_a", "x_b")),
    "p_6": Sleeper(4, ("x_c",)),
    "p_7": Sleeper(7, ("x_c",)),
    "p_8": Sleeper(2, ("x_c",)),
    "p_9": Sleeper(6, ("x_a", "x_c")),
    "p_10": Sleeper(5, ("x_a", "x_b")),
    "p_11": Sleeper(1, ("x_b",)),
    "r_0": Sleeper(6, ("p_7",)),
    "r_1": Sleeper(4, ("p_2", "p_4")),
    "r_2": Sleeper(3, ("p_0", "p_1")),
    "r_3": Sleeper(5, ("p_6", "p_8", "p_9")),
}
"""Its critical path has 20 units: first, x_c, p_7, r_0. If a layer waited for all of the one before, it had 25."""

PRELOAD = "numpy,pydantic,aiohttp,filelock,psutil,yaml"
"""For the plane: what a container of Modal reads from its image, and 20 containers on one machine cannot each load."""


def critical_units(programme: Programme) -> float:
    def until_the_end_of(name: str) -> float:
        return programme[name].units + max(map(until_the_end_of, programme[name].needs), default=0.0)

    return max(map(until_the_end_of, programme))


def write_plan(programme: Programme, folder: Path, unit_s: float) -> Path:
    """The plan and its one profile, in `folder`."""
    subs = [
        {"id": name, "title": name, "aim": "Take its time.", "handler": "remote_handlers:timed"} for name in programme
    ]
    criterion = {
        "name": "accuracy", "sub_experiment": next(iter(programme)), "metric": "accuracy", "direction": "higher",
        "target": 0.9, "acceptable": 0.7, "failure": 0.5, "arm": "mean",
    }  # fmt: skip
    experiment = {
        "id": "m1-makespan", "short": "m1", "title": "Makespan", "kind": "claim", "phase": 1,
        "question": "How long do calls with needs between them take?", "sub_experiments": subs, "criteria": [criterion],
    }  # fmt: skip
    resources = {"device": "cpu", "timeout_s": 300, "deadline_s": 600, "memory_gb": 1, "cores": 1}
    profile = {
        "name": "tiny", "rank": 1, "moves_gates": False, "description": "Sleeps.", "models": {}, "data": {},
        "seeds": [0], "split": {"train": 0.6, "validation": 0.15, "test": 0.25},
        "sub_experiments": {
            name: {
                "parameters": {
                    "seconds": sleeper.units * unit_s, "until": sleeper.until, "after": list(sleeper.needs),
                    "folder": str(folder),
                }
            }
            for name, sleeper in programme.items()
        },
        "resources": {"extract": resources, "sub_experiment": resources},
    }  # fmt: skip
    (folder / "profiles.yaml").write_text(yaml.safe_dump({"version": 1, "profiles": [profile]}))
    plan = folder / "plan.yaml"
    plan.write_text(yaml.safe_dump({"version": 1, "profiles": "profiles.yaml", "experiments": [experiment]}))
    return plan


@dataclass(frozen=True)
class Moments:
    """Of one call. All times here are seconds since 1970, by the one clock of this machine."""

    submitted: float  # it reached the plane
    started: float  # a container had it
    began: float  # its handler
    ended: float  # its handler
    finished: float  # its result reached the plane


@dataclass(frozen=True)
class Course:
    """How a run went."""

    programme: Programme
    unit_s: float
    typed: float  # its command
    began: float  # its flow run, as Prefect has it
    ended: float
    returned: float  # the command
    calls: Mapping[str, Moments]

    @property
    def critical_s(self) -> float:
        """By the handlers' own lengths."""
        return critical_units(self.programme) * self.unit_s

    @property
    def makespan_s(self) -> float:
        """Of the flow run, from its beginning to its end: preparation, verdicts and reports are in it."""
        return self.ended - self.began

    @property
    def chain(self) -> list[str]:
        """The calls that the run's end waited for, in order: of what each needed, what ended last."""

        def ended(name: str) -> float:
            return self.calls[name].finished

        found = [max(self.calls, key=ended)]
        while needs := self.programme[found[0]].needs:
            found.insert(0, max(needs, key=ended))
        return found

    def overheads(self) -> dict[str, list[float]]:
        """Seconds along the chain that are not its handlers'. With those they are all of the command."""
        along = [self.calls[name] for name in self.chain]
        return {
            "the command, until its flow run begins": [self.began - self.typed],
            "the flow run, until its first call": [along[0].submitted - self.began],
            "until a container has the call": [call.started - call.submitted for call in along],
            "in the container, until the handler": [call.began - call.started for call in along],
            "in the container, after the handler": [call.finished - call.ended for call in along],
            "from a call to what needs it": [after.submitted - before.finished for before, after in pairwise(along)],
            "the flow run, after its last call": [self.ended - along[-1].finished],
            "the command, after its flow run": [self.returned - self.ended],
        }


def run(plane: PlaneControl, programme: Programme, folder: Path, unit_s: float, api_url: str) -> Course:
    """Run it by the shell, against a plane on which the app is deployed with `remote_handlers`."""
    folder.mkdir(exist_ok=True)
    plan = write_plan(programme, folder, unit_s)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "MODAL_"))}
    environment |= {
        **plane.environment,
        "PREFECT_API_URL": api_url,
        "FORESIGHT_HOME": str(folder / "home"),
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)]),
        "DO_NOT_TRACK": "1",
    }
    command = [sys.executable, __file__, "run", "m1", "--plan", str(plan), "--compute", "modal"]
    typed = time.time()
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    returned = time.time()
    if done.returncode != 0:
        raise RuntimeError(f"the run failed:\n{done.stderr[-3000:]}")
    began, ended = _flow_run(api_url)
    calls = {name: _moments(plane, folder, name) for name in programme}
    return Course(programme, unit_s, typed, began, ended, returned, calls)


def _flow_run(api_url: str) -> tuple[float, float]:
    """When the newest one began and ended."""
    newest = httpx.post(f"{api_url}/flow_runs/filter", json={"sort": "START_TIME_DESC", "limit": 1}).json()[0]
    began, ended = (datetime.fromisoformat(newest[f"{which}_time"]) for which in ("start", "end"))
    return began.timestamp(), ended.timestamp()


def _moments(plane: PlaneControl, folder: Path, name: str) -> Moments:
    (call,) = (call for call in plane.calls() if _is_of(call, folder, name))
    (execution,) = call["executions"]
    noted = json.loads((folder / f"{name}.json").read_text())
    return Moments(call["created_at"], execution["started_at"], noted["began"], noted["ended"], call["finished_at"])


def _is_of(call: Mapping[str, Any], folder: Path, name: str) -> bool:
    steps = call["args"][0].get("steps", []) if call["args"] else []
    identities = [step["identity"] for step in steps]
    return any(i["sub_experiment"] == name and i["parameters"].get("folder") == str(folder) for i in identities)


def main() -> None:
    """The shell, with needs between handlers."""
    from foresight.__main__ import main as shell
    from foresight.compute import planner

    plan_steps = planner.plan_steps

    def with_needs(*arguments: Any) -> planner.StepPlan:
        plan = plan_steps(*arguments)
        steps = {key.sub_experiment: step for key, step in plan.seeded.items()}

        def needs(step: planner.Step) -> dict[str, str]:
            return {f"after/{name}": steps[name].fingerprint for name in step.identity["parameters"]["after"]}

        return replace(plan, seeded={key: replace(step, needs=needs(step)) for key, step in plan.seeded.items()})

    planner.plan_steps = with_needs
    shell()


if __name__ == "__main__":
    main()
