"""A toy programme: two experiments with handlers that need no model and no data, in a package of their own.

It is what a team with a plan of its own brings, so every test that uses it also tests that.
"""

from __future__ import annotations

import os
import signal
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings
from modal_plane.fixture import module_plane, plane  # noqa: F401  (fixtures)
from remote import deployed, deployed_with_torch, remote  # noqa: F401  (fixtures)

from foresight.home import Home

# The same examples in every run; a shared machine has no deadline.
settings.register_profile("foresight", derandomize=True, deadline=None)
settings.load_profile("foresight")

# A shell that starts the tests with `&` has them ignore Ctrl-C, and what they start with them; tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)

HANDLERS = '''
import os, time
from pathlib import Path

import numpy as np


def steady(runner):
    """Scores well above the acceptable level, and above its baseline."""
    rng = np.random.default_rng(runner.seed)
    scores = 0.9 + 0.02 * rng.standard_normal(24)
    print("steady is at work")
    runner.progress(0.5, "half way")
    runner.log_metrics({"loss": 0.5}, step=1)
    runner.log_samples(
        "accuracy", scores, groups=[f"source-{i}" for i in range(24)], baselines={"chance": np.full(24, 0.5)},
        higher_is_better=True,
    )
    runner.results.save_artifact("note.txt", f"seed {runner.seed}")
    calls = os.environ.get("TOY_CALLS")
    if calls:
        with open(calls, "a") as stream:
            stream.write(f"steady {runner.seed}\\n")
    return {"finding": "steady: accuracy {accuracy}", "metrics": {"extra": 1.0}, "artifacts": ["note.txt"]}


def broken(runner):
    runner.log_metrics({"loss": 0.1}, step=1)
    raise RuntimeError("the last line of the handler")


def trains(runner):
    """Leaves a system for another sub-experiment to score."""
    system = np.random.default_rng(runner.seed).standard_normal(4)
    runner.results.save_json_artifact("system.json", {"weights": system})
    return {"finding": "trained", "metrics": {"weights": 4}, "artifacts": []}


def scores(runner):
    """Scores the system that was trained for the same seed."""
    import json

    weights = json.loads(runner.artifact("t_a", "system.json").read_text())["weights"]
    score = 0.9 + 0.01 * float(np.mean(weights))
    runner.log_samples("accuracy", np.full(12, score), groups=[f"s{i}" for i in range(12)], higher_is_better=True)
    return {"finding": "scored: {accuracy}", "metrics": {"first": weights[0]}, "artifacts": []}


def held(runner):
    """Waits until it is let go, so that a test can look at, cancel or kill a run that is under way."""
    folder = Path(os.environ["TOY_GATE"])
    (folder / f".started-{runner.seed}").write_text(str(os.getpid()))
    (folder / f".started-{runner.seed}").rename(folder / f"started-{runner.seed}")  # whole as soon as it is there
    while not (folder / "go").exists():
        time.sleep(0.02)
    with open(folder / "ran", "a") as stream:
        stream.write(f"{runner.seed}\\n")
    runner.log_samples("accuracy", np.full(12, 0.8), groups=[f"s{i}" for i in range(12)], higher_is_better=True)
    return {"finding": "held: {accuracy}", "metrics": {}, "artifacts": []}
'''

PLAN = """
version: 1
profiles: profiles.yaml
experiments:
  - id: t1-toy
    short: t1
    title: Toy
    kind: claim
    phase: 1
    question: Does the machinery work?
    sub_experiments:
      - {id: t_a, title: Steady, aim: Score well., handler: "toy_handlers:steady"}
      - {id: t_b, title: Second, aim: Score well again., handler: "toy_handlers:HANDLER_B"}
    criteria:
      - {name: accuracy, sub_experiment: t_a, metric: accuracy, direction: higher, target: 0.9, acceptable: 0.7,
         failure: 0.5, arm: mean}
  - id: t2-later
    short: t2
    title: Later
    kind: question
    phase: 2
    question: Is there more?
    depends_on: [t1]
    sub_experiments:
      - {id: u_a, title: Not yet, aim: Later.}
    criteria:
      - {name: gain, sub_experiment: u_a, metric: gain, direction: higher, target: 0.3, acceptable: 0.2, failure: 0.1,
         arm: mean}
gates:
  - {id: gate_1, experiments: [t1], unlocks_phase: 2}
"""

PROFILES = """
version: 1
profiles:
  - name: tiny
    rank: 1
    moves_gates: false
    description: A toy.
    models: {}
    data: {}
    seeds: [0, 1]
    split: {train: 0.6, validation: 0.15, test: 0.25}
    resources:
      extract: {device: cpu, timeout_s: 60, deadline_s: 60, memory_gb: 1}
      sub_experiment: {device: cpu, timeout_s: 60, deadline_s: 60, memory_gb: 1}
"""


@dataclass(frozen=True)
class Toy:
    """The toy programme in a folder of its own, with a home of its own."""

    folder: Path
    home: Home

    @property
    def plan(self) -> str:
        return str(self.folder / "plan.yaml")

    @property
    def environment(self) -> dict[str, str]:
        """For a `foresight` in another process."""
        own = {
            "FORESIGHT_HOME": str(self.home.root),
            "PYTHONPATH": str(self.folder),
            "TOY_CALLS": str(self.folder / "calls"),
            "TOY_GATE": str(self.folder),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "DO_NOT_TRACK": "1",
        }
        return {**{k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}, **own}

    def in_two_steps(self, first: str = "trains") -> None:
        """`t_b` scores what `t_a` trained, and the criterion is read from it."""
        two = PLAN.replace("toy_handlers:steady", f"toy_handlers:{first}").replace(
            'handler: "toy_handlers:HANDLER_B"', 'uses: [t_a], handler: "toy_handlers:scores"'
        )
        (self.folder / "plan.yaml").write_text(
            two.replace("name: accuracy, sub_experiment: t_a", "name: accuracy, sub_experiment: t_b")
        )

    @classmethod
    def make(cls, folder: Path, home: Home) -> Toy:
        folder.mkdir(exist_ok=True)
        (folder / "toy_handlers.py").write_text(textwrap.dedent(HANDLERS))
        (folder / "profiles.yaml").write_text(PROFILES)
        toy = cls(folder, home)
        toy.second_handler("steady")
        return toy

    def second_handler(self, name: str, file: str = "plan.yaml") -> str:
        """Write the plan (or another one beside it) with this handler for `t_b`, and return its path."""
        held = "resources: {timeout_s: 600, deadline_s: 600}, " if name == "held" else ""
        plan = PLAN.replace('handler: "toy_handlers:HANDLER_B"', f'{held}handler: "toy_handlers:HANDLER_B"')
        (self.folder / file).write_text(plan.replace("HANDLER_B", name))
        return str(self.folder / file)

    def edit_handlers(self, old: str, new: str) -> None:
        path = self.folder / "toy_handlers.py"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def calls(self) -> list[str]:
        """What `steady` did, a line a call, in every process."""
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture(scope="session")
def make_toy() -> Callable[[Path, Home], Toy]:
    """For tests that share one toy programme; a test of its own takes `toy`."""
    return Toy.make


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    made = Toy.make(tmp_path / "toy", Home(tmp_path / "home"))
    for name in ("FORESIGHT_HOME", "TOY_CALLS", "TOY_GATE"):
        monkeypatch.setenv(name, made.environment[name])
    monkeypatch.syspath_prepend(str(made.folder))
    monkeypatch.delitem(sys.modules, "toy_handlers", raising=False)
    return made
