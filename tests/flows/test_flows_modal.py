"""`--compute modal` as a user types it: flows, the real client, the real container entrypoint, a team's own package."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import yaml
from modal_plane.control import PlaneControl
from modal_plane.fixture import running_plane
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling
from remote import CHECKOUT, HERE, deploy

from flows.cancellation import stop_remote_calls
from flows.sweep_orphans import sweep_orphans
from foresight.compute import ledger, purse
from foresight.home import Home
from tasks.gpus import LIMIT

DOLLAR_A_SECOND = {"gpu_hour_cost_a10g": "3600", "cpu_hour_cost": "0", "mem_gib_hour_cost": "0"}
EXAMPLE = CHECKOUT / "examples" / "own_plan"
DEADLINE_S = 120

PLAN = """
version: 1
profiles: profiles.yaml
experiments:
  - id: t1-held
    short: t1
    title: Held
    kind: claim
    phase: 1
    question: Does it go on?
    sub_experiments:
      - {id: t_a, title: Held, aim: Wait., handler: "remote_handlers:work"}
    criteria:
      - {name: accuracy, sub_experiment: t_a, metric: accuracy, direction: higher, target: 0.9, acceptable: 0.7,
         failure: 0.5, arm: mean}
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
    sub_experiments:
      t_a: {parameters: {name: held, folder: FOLDER, held: true}, resources: {device: DEVICE}}
    seeds: SEEDS
    split: {train: 0.6, validation: 0.15, test: 0.25}
    resources:
      extract: {device: cpu, timeout_s: 600, deadline_s: 900, memory_gb: 1}
      sub_experiment: {device: cpu, timeout_s: 600, deadline_s: 900, memory_gb: 1}
"""


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlaneControl]:
    with running_plane(tmp_path_factory.mktemp("plane")) as control:
        done = deploy(control.environment, "remote_handlers,colours", os.pathsep.join([str(HERE), str(EXAMPLE)]))
        assert done.returncode == 0, done.stdout + done.stderr
        yield control


@dataclass
class User:
    """Somebody at a shell, with a home and a folder in which the handler notes what it does."""

    plane: PlaneControl
    folder: Path
    environment: dict[str, str]

    @property
    def home(self) -> Home:
        return Home(self.folder / "home")

    def start(self, *arguments: str, home: str = "home") -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "foresight", *arguments],
            env={**self.environment, "FORESIGHT_HOME": str(self.folder / home)}, cwd=self.folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def run(self, *arguments: str, home: str = "home") -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, home=home)
        out, err = process.communicate(timeout=DEADLINE_S)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def held(self, seeds: int = 1, device: str = "cpu") -> list[str]:
        """The command that runs the handler that waits."""
        (self.folder / "plan.yaml").write_text(PLAN)
        profiles = PROFILES.replace("FOLDER", str(self.folder)).replace("SEEDS", str(list(range(seeds))))
        (self.folder / "profiles.yaml").write_text(profiles.replace("DEVICE", device))
        return ["run", "t1", "--plan", "plan.yaml", "--compute", "modal"]

    def noted(self, what: str) -> list[str]:
        path = self.folder / what
        return path.read_text().split() if path.exists() else []

    def began(self, times: int = 1) -> None:
        self.plane.until(lambda: len(self.noted("began")) >= times, f"{times} at work")

    def in_ledger(self, calls: int = 1) -> list[ledger.CallEntry]:
        return self.plane.until(lambda: len(found := ledger.list_calls(self.home)) >= calls and found)

    def submitted(self) -> list[dict]:
        """The calls of this user's handler, by the plane's own count."""
        mine = [call for call in self.plane.calls() if str(self.folder) in json.dumps(call["args"])]
        return sorted(mine, key=lambda call: call["created_at"])


@pytest.fixture
def user(plane: PlaneControl, tmp_path: Path, api_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[User]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "MODAL_"))}
    own = {
        "PREFECT_API_URL": api_url,
        "PYTHONPATH": os.pathsep.join(map(str, [CHECKOUT, HERE, EXAMPLE])),
        "DO_NOT_TRACK": "1",
        **plane.environment,
    }
    monkeypatch.setenv("FORESIGHT_HOME", str(tmp_path / "home"))
    made = User(plane, tmp_path, {**kept, **own})
    with temporary_settings({PREFECT_API_URL: api_url}):
        yield made
    for call in made.submitted():
        if call["state"] != "done":
            plane.cancel(call["id"])


def test_a_teams_own_plan_gives_on_modal_what_it_gives_here(user: User) -> None:
    """The example of examples/own_plan, with its package: every number the same, and none of the data here."""
    plan = ["run", "x1", "--plan", str(EXAMPLE / "plan.yaml")]
    there = user.run(*plan, "--compute", "modal", home="there")
    assert there.returncode == 0, there.stderr
    assert "on Modal: https://modal.com/id/fc-" in there.stderr
    assert "6 colours learnt from 72 pictures" in there.stderr  # the container's own line
    here = user.run(*plan, home="here")
    assert here.returncode == 0, here.stderr

    def results(home: str) -> dict:
        return yaml.safe_load((user.folder / home / "results/x1-colour-from-the-mean/results.yaml").read_text())

    assert (
        results("there")["results"]["experiments"]["x1_1"]["metrics"]
        == (results("here")["results"]["experiments"]["x1_1"]["metrics"])
    )
    assert results("there")["criteria"] == results("here")["criteria"]
    assert not list((user.folder / "there").rglob("images.npy"))
    assert user.run("results", "verify", home="there").returncode == 0
    again = user.run(*plan, "--compute", "modal", home="there")
    assert "Nothing to do" in again.stdout


def test_what_was_trained_on_modal_is_read_there_and_what_was_trained_here_is_trained_there_again(user: User) -> None:
    user.held()
    trains = '{id: t_a, title: Trained, aim: Train., handler: "remote_handlers:trains"}'
    scores = '{id: t_b, title: Scored, aim: Score., uses: [t_a], handler: "remote_handlers:scores"}'
    (waits,) = [line for line in PLAN.splitlines() if "remote_handlers:work" in line]
    plan = PLAN.replace(waits, f"      - {trains}\n      - {scores}")
    (user.folder / "plan.yaml").write_text(
        plan.replace("name: accuracy, sub_experiment: t_a", "name: accuracy, sub_experiment: t_b")
    )
    command = ["run", "t1", "--plan", "plan.yaml", "--sub-experiment"]
    assert user.run(*command, "t_a").returncode == 0
    assert user.noted("trained") == ["t_a"]
    there = user.run(*command, "t_b", "--compute", "modal")
    assert there.returncode == 0, there.stderr
    assert "its files lie on this machine, and what needs them runs elsewhere (modal)" in there.stderr
    assert user.noted("trained") == ["t_a", "t_a"]
    assert user.run("results", "verify").returncode == 0
    (user.folder / "home" / "results" / "t1-held").rename(user.folder / "older")
    forced = user.run(*command, "t_b", "--compute", "modal")  # what came from there is known to be there
    assert "Nothing to do" in forced.stdout, forced.stderr
    (scored,) = [path for path in user.home.steps.glob("*/record.json") if json.loads(path.read_text())["read"]]
    scored.unlink()
    again = user.run(*command, "t_b")  # here, with what was trained there
    assert again.returncode == 0, again.stderr
    assert user.noted("trained") == ["t_a", "t_a"]


def test_ctrl_c_detaches_and_cancel_stops(user: User) -> None:
    running = user.start(*user.held())
    user.began()
    entry = user.in_ledger()[0]
    shown = user.run("status").stdout
    assert "modal cpu" in shown
    assert entry.run_id in shown
    os.kill(running.pid, signal.SIGINT)
    _, err = running.communicate(timeout=DEADLINE_S)
    assert running.returncode == 130, err
    assert f"foresight cancel {entry.run_id}" in err
    assert "nobody" in user.run("status").stdout
    assert user.submitted()[0]["state"] == "running"
    stopped = user.run("cancel", entry.run_id)
    assert stopped.returncode == 0, stopped.stderr
    assert user.submitted()[0]["status"] == "TERMINATED"
    assert "nothing is running" in user.run("status").stdout


def test_kill_9_and_the_same_command_again(user: User) -> None:
    first = user.start(*user.held())
    user.began()
    user.in_ledger()
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    again = user.start(*user.held())
    user.plane.until(lambda: len(ledger.list_calls(user.home)) == 2, "attached")
    (user.folder / "go").touch()
    _, err = again.communicate(timeout=DEADLINE_S)
    assert again.returncode == 0, err
    assert len(user.submitted()) == 1
    assert user.noted("began") == ["held"]


def test_the_cancel_hook_finds_what_a_killed_run_left(user: User) -> None:
    """Prefect runs it in a fresh process after a cancelled run had to be killed; it knows the flow run, no more."""
    running = user.start(*user.held())
    user.began()
    run_id = user.in_ledger()[0].run_id
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    stop_remote_calls(flow=None, flow_run=SimpleNamespace(id=run_id.rpartition("-")[2] + "-rest"), state=None)
    assert user.submitted()[0]["status"] == "TERMINATED"
    assert ledger.list_calls(user.home)[0].state == "ended"


def test_the_sweep_tells_what_goes_on_and_brings_home_what_has_ended(user: User) -> None:
    running = user.start(*user.held())
    user.began()
    entry = user.in_ledger()[0]
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    (row,) = sweep_orphans()
    assert row["what"].startswith("goes on")
    assert user.submitted()[0]["state"] == "running"
    (user.folder / "go").touch()
    user.plane.until(lambda: user.submitted()[0]["state"] == "done")
    (row,) = sweep_orphans()
    assert row["what"] == "ended; its results are home"
    assert user.home.record(entry.steps[0].fingerprint).exists()
    assert sweep_orphans() == []


def test_the_sweep_finds_a_call_that_died_before_it_was_written_down(user: User) -> None:
    running = user.start(*user.held())
    user.began()
    entry = user.in_ledger()[0]
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    ledger.call_file(user.home, entry.run_id, entry.call_id).unlink()
    ledger.write_call(user.home, entry.model_copy(update={"call_id": "fc-older", "state": "ended"}))
    (row,) = sweep_orphans()
    assert row["run"] == entry.run_id
    assert row["what"].startswith("goes on")


def test_a_budget_stops_what_would_cost_too_much_and_the_same_command_goes_on(user: User) -> None:
    """At a dollar a second, by what the account says of its prices, two of four calls may be started; their records
    then tell that a call takes seconds and not its whole timeout."""
    user.plane.rates(DOLLAR_A_SECOND)
    command = [*user.held(seeds=4, device="A10"), "--budget", "1400", "--json"]
    running = user.start(*command)
    user.began(times=2)
    user.plane.until(lambda: any(each.refused for each in purse.read(user.home).accounts.values()), "a refusal")
    (user.folder / "go").touch()  # what runs is let finish
    out, err = running.communicate(timeout=DEADLINE_S)
    assert running.returncode == 1, err
    said = json.loads(out.splitlines()[-1])
    assert said["failed"] == []
    assert "Stopped by its budget after $" in said["stopped"]
    assert "the budget of $1,400.00 does not allow $660.00 for it" in said["stopped"]
    assert "Not done: t1/t_a seed " in said["stopped"]
    assert "prices: live rates of the account" in err
    assert [call["gpu"] for call in user.submitted()] == ["A10", "A10"]
    assert len(user.noted("ended")) == 2

    finished = user.run(*command)
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout.splitlines()[-1])["stopped"] == ""
    assert len(user.submitted()) == 4
    assert len(user.noted("began")) == 4  # nothing twice
    user.plane.rates(None)


def test_no_more_gpus_run_at_once_than_the_limit_says(user: User, api_url: str) -> None:
    httpx.delete(f"{api_url}/v2/concurrency_limits/{LIMIT}")  # an earlier test may have made it
    user.environment["FORESIGHT_GPUS"] = "2"
    running = user.start(*user.held(seeds=5, device="A10"))
    user.began(times=2)
    (user.folder / "go").touch()
    _, err = running.communicate(timeout=DEADLINE_S)
    httpx.delete(f"{api_url}/v2/concurrency_limits/{LIMIT}")
    assert running.returncode == 0, err
    calls = user.submitted()
    assert [call["gpu"] for call in calls] == ["A10"] * 5
    # from when a call was asked for: a GPU that is waited for is taken as well
    at_once = [sum(each["created_at"] <= call["created_at"] < each["finished_at"] for each in calls) for call in calls]
    assert max(at_once) == 2


@pytest.mark.slow
def test_a_cancel_in_the_ui_reaches_eight_calls_at_work(user: User) -> None:
    running = user.start(*user.held(seeds=8))
    user.began(times=8)
    run_id = user.in_ledger(8)[0].run_id
    with get_client(sync_client=True) as client:
        (run,) = [run for run in client.read_flow_runs() if str(run.id)[:6] == run_id.rpartition("-")[2]]
        client.set_flow_run_state(run.id, Cancelling(), force=True)
    running.communicate(timeout=DEADLINE_S)
    assert running.returncode == 1
    assert [call["status"] for call in user.submitted()] == ["TERMINATED"] * 8
    assert user.noted("ended") == []


@pytest.mark.slow
def test_modal_run_takes_the_shells_own_path(user: User) -> None:
    def modal_run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "modal", "run", "-m", f"foresight.compute.modal_app::{arguments[0]}"]
        environment = {**user.environment, "FORESIGHT_HOME": str(user.home.root), "FORESIGHT_PACKAGES": "colours"}
        return subprocess.run(
            [*command, *arguments[1:]], env=environment, cwd=user.folder, capture_output=True, text=True, timeout=300,
            check=False,
        )  # fmt: skip

    plan = ["--plan", str(EXAMPLE / "plan.yaml")]
    stub = modal_run("run_experiment", "--experiment-id", "x1", "--stub-mode", *plan)
    assert stub.returncode == 0, stub.stdout + stub.stderr
    done = modal_run("run_experiment", "--experiment-id", "x1", "--sub-experiment", "x1_1", *plan)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The mean colour names" in done.stdout
    listed = modal_run("list_results")
    assert "x1-colour-from-the-mean" in listed.stdout
    wrong = modal_run("run_experiment", "--experiment-id", "nosuch", *plan)
    assert wrong.returncode == 2
