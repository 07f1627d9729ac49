"""The programme operated from Prefect, whole: `make up`, deployments, runs, logs, cancel, kill -9, retry, nothing left.

One server and one worker for all of it, on the toy programme. What is asked, is asked through Prefect's own API.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import psutil
import pytest
from modal_plane.control import PlaneControl
from modal_plane.fixture import running_plane
from remote import HERE, deploy
from test_flows_modal import User

from flows.deploy import CHECKOUT
from foresight.home import Home
from foresight.results.verify import verify

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

DEADLINE_S = 120.0
MANY = 50
UP = "import sys; from flows import up; sys.argv = ['up']; up.main()"
DEPLOYMENTS = """
name: toy
deployments:
  - name: t1
    entrypoint: flows/run_experiment.py:t1
    parameters: {experiment: t1, plan: "PLAN"}
    work_pool: {name: foresight}
  - name: nightly
    entrypoint: flows/research_program.py:research_program
    parameters: {plan: "PLAN"}
    concurrency_limit: {limit: 1, collision_strategy: CANCEL_NEW}
    schedules:
      - {cron: "0 2 * * *", timezone: "{{ prefect.variables.foresight_timezone }}", slug: nightly, active: false}
    work_pool: {name: foresight}
  - name: default
    entrypoint: flows/override_gate.py:override_gate
    parameters: {plan: "PLAN"}
    work_pool: {name: foresight}
"""


def wait_until(condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """What the condition gives once it is true. Bounded, and says what did not happen."""
    deadline = time.monotonic() + deadline_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {deadline_s:.0f} s"
        time.sleep(0.1)
    return found


class Up:
    """`make up` in a process of its own, and its server's API."""

    def __init__(self, toy: Any) -> None:
        self.toy = toy
        (toy.folder / "deployments.yaml").write_text(DEPLOYMENTS.replace("PLAN", toy.plan))
        self.environment = {
            **toy.environment,
            "PYTHONPATH": f"{CHECKOUT}:{toy.folder}:{HERE}",
            "FORESIGHT_PLAN": toy.plan,
            "FORESIGHT_DEPLOYMENTS": str(toy.folder / "deployments.yaml"),
            "FORESIGHT_UP_RUNS": "3",
            "TZ": "Europe/Berlin",
        }
        self.start()

    def launch(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", UP]
        return subprocess.Popen(
            command, env=self.environment, cwd=self.toy.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, start_new_session=True,
        )  # fmt: skip

    def start(self) -> None:
        self.process = self.launch()
        self.said = ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
            if "Ctrl-C stops everything" in line:
                break
        found = re.search(r"PREFECT_API_URL=(\S+)", self.said)
        assert found is not None, self.said
        self.client = httpx.Client(base_url=found[1] + "/", timeout=180)

    def family(self) -> list[psutil.Process]:
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    def post(self, path: str, **body: Any) -> Any:
        answer = self.client.post(path, json=body)
        while answer.status_code == 503:  # SQLite is locked for a moment: Prefect's own client tries again as well
            time.sleep(0.2)
            answer = self.client.post(path, json=body)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def run(self, deployment: str = "run-experiment/t1", **parameters: Any) -> str:
        found = self.client.get(f"deployments/name/{deployment}").json()
        return self.post(f"deployments/{found['id']}/create_flow_run", parameters=parameters)["id"]

    def flow_run(self, run: str) -> dict[str, Any]:
        return self.client.get(f"flow_runs/{run}").json()

    def state(self, run: str) -> str:
        return self.flow_run(run)["state"]["name"]

    def ended(self, run: str, state: str, deadline_s: float = DEADLINE_S) -> None:
        final = ("Completed", "Failed", "Crashed", "Cancelled")
        wait_until(lambda: self.state(run) in final, f"the end of flow run {run}", deadline_s)
        if state in ("Completed", "Failed"):  # the log arrives in batches, a moment after the state
            wait_until(lambda: f"Finished in state {state}" in self.log(run), "the last line of the log")
        assert self.state(run) == state, self.log(run)

    def log(self, run: str) -> str:
        lines, offset = [], 0
        while True:
            page = self.post(
                "logs/filter", logs={"flow_run_id": {"any_": [run]}}, sort="TIMESTAMP_ASC", limit=200, offset=offset
            )
            lines += [entry["message"] for entry in page]
            if len(page) < 200:
                return "\n".join(lines)
            offset += 200

    def artifacts(self, run: str) -> dict[str, str]:
        found = self.post("artifacts/filter", artifacts={"flow_run_id": {"any_": [run]}})
        return {one["key"] or one["type"]: str(one["data"]) for one in found}

    def retry(self, run: str) -> None:
        state = {"type": "SCHEDULED", "name": "AwaitingRetry"}
        self.post(f"flow_runs/{run}/set_state", state=state, force=True)

    def nightly(self) -> dict[str, Any]:
        return self.client.get("deployments/name/research-program/nightly").json()

    def switch_on(self) -> None:
        nightly = self.nightly()
        path = f"deployments/{nightly['id']}/schedules/{nightly['schedules'][0]['id']}"
        self.client.patch(path, json={"active": True}).raise_for_status()

    def held(self, seed: int = 0) -> int:
        """Waits until the held step runs; its pid."""
        started = self.toy.folder / f"started-{seed}"
        return int(wait_until(lambda: started.exists() and started.read_text(), "the held step"))


def marginal_gate(folder: Path) -> None:
    """A profile whose verdicts count, and a plan whose gate they neither open nor shut."""
    profiles = (folder / "profiles.yaml").read_text()
    tiny = profiles[profiles.index("  - name: tiny") :]
    real = tiny.replace("name: tiny", "name: real").replace("rank: 1", "rank: 3")
    (folder / "profiles.yaml").write_text(profiles + real.replace("moves_gates: false", "moves_gates: true"))
    plan = (folder / "plan.yaml").read_text()
    for old, new in (
        ("aim: Later.}", 'aim: Later., handler: "toy_handlers:steady"}'),
        ("metric: gain", "metric: accuracy"),
        ("target: 0.9, acceptable: 0.7", "target: 0.95, acceptable: 0.9"),
    ):
        assert old in plan
        plan = plan.replace(old, new)
    (folder / "marginal.yaml").write_text(plan)


@pytest.fixture(scope="module")
def modal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlaneControl]:
    with running_plane(tmp_path_factory.mktemp("plane")) as control:
        done = deploy(control.environment, "remote_handlers", str(HERE))
        assert done.returncode == 0, done.stdout + done.stderr
        yield control


@pytest.fixture(scope="module")
def up(
    tmp_path_factory: pytest.TempPathFactory, make_toy: Callable[[Path, Home], Any], modal: PlaneControl
) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("operated")
    toy = make_toy(folder, Home(folder / "home"))
    toy.second_handler("held", "held.yaml")
    toy.second_handler("broken", "broken.yaml")
    marginal_gate(folder)
    made = Up(toy)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))  # `verify` looks for the handlers of a plan
        yield made
    family = made.family()
    made.process.send_signal(signal.SIGINT)
    _, alive = psutil.wait_procs(family, timeout=60)
    for process in alive:
        process.kill()
    assert not alive, "Ctrl-C left processes behind"
    assert made.process.wait() == 0


def test_a_run_from_its_deployment_tells_its_story_and_shows_what_came_out(up: Up):
    run = up.run(seeds=1)
    up.ended(run, "Completed")
    log = up.log(run)
    story = [
        "t1 · profile tiny · seed 0 · local: 2 steps, 2 to run",
        "to run, first time: t1/t_a seed 0, t1/t_b seed 0",
        "t1/t_a seed 0 │ starts",
        "t1/t_a seed 0 │ steady is at work",
        "t1/t_a seed 0 │  50%  half way",
        "t1/t_a seed 0 │ found in",
        "t1-toy: completed, recommendation proceed",
        "verdict   proceed",
    ]
    places = [log.find(line) for line in story]
    assert -1 not in places, log
    assert places == sorted(places), log
    assert log.count("Finished in state") == 1
    artifacts = up.artifacts(run)
    assert {"verdict-t1", "findings-t1", "cost-t1", "progress"} <= set(artifacts)
    assert "chance 0.5 |" in artifacts["verdict-t1"]
    assert float(artifacts["progress"]) == 100
    tasks = up.post("task_runs/filter", task_runs={"flow_run_id": {"any_": [run]}})
    assert {"t1/t_a seed 0 · cpu", "t1/t_b seed 0 · cpu", "t1 assessment"} <= {task["name"] for task in tasks}
    assert verify(up.toy.home) == []


def test_a_wrong_value_is_refused_before_a_run_is_made(up: Up):
    for wrong in ({"profile": "huge"}, {"sub_experiment": ["u_a"]}, {"seeds": 0}, {"experiment": "t2"}):
        with pytest.raises(httpx.HTTPStatusError) as refused:
            up.run(**wrong)
        assert refused.value.response.status_code in (409, 422)
        assert next(iter(wrong)) in refused.value.response.text


def test_the_nightly_is_scheduled_at_two_in_the_teams_zone_once_it_is_switched_on(up: Up):
    nightly = up.nightly()
    assert nightly["schedules"][0]["active"] is False
    up.switch_on()
    chosen = {"deployment_id": {"any_": [nightly["id"]]}, "state": {"type": {"any_": ["SCHEDULED"]}}}
    runs = wait_until(lambda: up.post("flow_runs/filter", flow_runs=chosen), "a scheduled nightly")
    first = min(datetime.datetime.fromisoformat(run["expected_start_time"]) for run in runs)
    assert first.astimezone(ZoneInfo("Europe/Berlin")).strftime("%H:%M") == "02:00"


def test_the_nightly_reports_only_what_is_new(up: Up):
    first = up.run("research-program/nightly")
    up.ended(first, "Completed")
    up.toy.edit_handlers("0.9 + 0.02", "0.6 + 0.02")
    try:
        second = up.run("research-program/nightly")
        up.ended(second, "Completed")
    finally:
        up.toy.edit_handlers("0.6 + 0.02", "0.9 + 0.02")
    page = up.artifacts(second)["what-changed"]
    assert "| accuracy | met | **not met** |" in page
    assert "- accuracy: even the better end" in page
    assert "| t_a accuracy | 0.9" in page
    assert "moved     t_a accuracy" in up.log(second)
    events = wait_until(
        lambda: up.post("events/filter", filter={"event": {"name": ["foresight.verdict.flipped"]}})["events"],
        "the event of a flipped verdict",
    )
    assert "accuracy: met → not met" in events[0]["payload"]["text"]
    third = up.run("research-program/nightly")  # the handler as it was: recorded, nothing is computed again
    calls = len(up.toy.calls())
    up.ended(third, "Completed")
    assert len(up.toy.calls()) == calls


def test_a_failure_shows_its_cause_its_last_lines_and_the_next_command(up: Up):
    run = up.run(plan=str(up.toy.folder / "broken.yaml"), seeds=1)
    up.ended(run, "Failed")
    log = up.log(run)
    assert "t1/t_b seed 0 failed in attempt 1 (exception): RuntimeError: the last line of the handler" in log
    assert "  | RuntimeError: the last line of the handler" in log
    assert f"prefect flow-run retry {run}" in log
    assert "failed: t1/t_b seed 0" in up.flow_run(run)["state"]["message"]
    assert log.count("Traceback") == 1  # the handler's own; not Prefect's about a flow that failed


def test_a_cancel_stops_everything_and_the_run_itself_says_so(up: Up):
    (up.toy.folder / "go").unlink(missing_ok=True)
    run = up.run(plan=str(up.toy.folder / "held.yaml"), sub_experiment=["t_b"], seeds=1)
    held = up.held()
    up.post(f"flow_runs/{run}/set_state", state={"type": "CANCELLING"})
    wait_until(lambda: not psutil.pid_exists(held), "the end of the step")
    up.ended(run, "Cancelled")
    # one that Prefect had to kill, after 30 s of grace, could say nothing
    wait_until(lambda: "cancelled; what was finished is kept" in up.log(run), "the run's own last word")
    (up.toy.folder / "started-0").unlink()


def test_a_cancel_reaches_eight_calls_on_modal_and_a_retry_goes_on(up: Up, modal: PlaneControl):
    there = User(modal, up.toy.folder / "modal", {})
    there.folder.mkdir()
    there.held(seeds=8)
    before = set(up.family())
    run = up.run(plan=str(there.folder / "plan.yaml"), compute="modal", sub_experiment=["t_a"])
    there.began(times=8)
    started = [process for process in up.family() if process not in before]
    up.post(f"flow_runs/{run}/set_state", state={"type": "CANCELLING"})
    up.ended(run, "Cancelled")
    assert [call["status"] for call in there.submitted()] == ["TERMINATED"] * 8
    _, alive = psutil.wait_procs(started, timeout=DEADLINE_S)
    assert not alive
    assert there.noted("ended") == []
    (there.folder / "go").touch()
    up.retry(run)
    wait_until(lambda: up.flow_run(run)["run_count"] == 2, "the retry")
    up.ended(run, "Completed")
    assert len(there.noted("ended")) == 8
    assert len(there.submitted()) == 16


def test_kill_9_is_marked_and_a_retry_goes_on_from_there(up: Up):
    calls = len(up.toy.calls())
    run = up.run(plan=str(up.toy.folder / "held.yaml"), seeds=1)
    held = up.held()
    engine = next(one for one in psutil.Process(held).parents() if "prefect.engine" in one.cmdline())
    os.kill(engine.pid, signal.SIGKILL)
    up.ended(run, "Crashed")
    wait_until(lambda: not psutil.pid_exists(held), "the end of the step")
    (up.toy.folder / "go").write_text("")
    # Prefect's worker reports a crash twice, and the second report takes back a retry that came before it
    wait_until(lambda: "exceeded its memory allocation" in up.log(run), "the worker's last word")
    up.retry(run)
    wait_until(lambda: up.flow_run(run)["run_count"] == 2, "the retry")
    up.ended(run, "Completed")
    history = [state["name"] for state in up.client.get("flow_run_states/", params={"flow_run_id": run}).json()]
    assert "Crashed" not in history[history.index("AwaitingRetry") :], history
    assert len(up.toy.calls()) - calls <= 1  # t_a is computed once at most, by the killed run, not by its retry
    assert (up.toy.folder / "ran").read_text().split() == ["0"]
    statuses = [json.loads(path.read_text())["status"] for path in up.toy.home.results.glob("*/runs/*/run.json")]
    assert "running" not in statuses


def test_a_marginal_gate_waits_for_a_persons_decision_if_it_is_asked_to(up: Up):
    later = up.toy.home.results / "t2-later" / "results.yaml"
    run = up.run("research-program/nightly", plan=str(up.toy.folder / "marginal.yaml"), profile="real", ask=True)
    wait_until(lambda: up.state(run) == "Paused", "the question")
    assert not later.exists()
    answer = {"open_the_gate": True, "by": "Ada", "reason": "worth a try"}
    assert up.post(f"flow_runs/{run}/resume", run_input=answer)["status"] == "ACCEPT"
    up.ended(run, "Completed")
    assert later.exists()
    page = up.artifacts(run)["gates"]
    assert "**investigate**" in page  # the measured verdict stands beside the decision
    assert "opened by Ada" in page


def test_a_second_one_says_that_it_is_up_and_stops_nothing(up: Up):
    second = up.launch()
    said, _ = second.communicate(timeout=DEADLINE_S)
    assert second.returncode == 2
    assert "It is up already" in said
    assert str(up.client.base_url).removesuffix("/api/") in said
    assert up.client.get("health").json() is True


def test_a_run_from_a_shell_in_the_same_home_uses_its_server(up: Up):
    command = [sys.executable, "-m", "foresight", "run", "t1", "--plan", up.toy.plan, "--stub-mode"]
    done = subprocess.run(command, env=up.toy.environment, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 0, done.stderr
    ui = str(up.client.base_url).removesuffix("/api/")
    link = re.search(rf"View at {re.escape(ui)}/runs/flow-run/(\S+)", done.stderr)
    assert link, done.stderr
    assert up.client.get(f"flow_runs/{link[1]}").json()["state_type"] == "COMPLETED"


def test_fifty_runs_queued_at_once_all_complete_and_no_step_is_computed_twice(up: Up):
    up.toy.edit_handlers("0.9 + 0.02", "0.92 + 0.02")
    (up.toy.folder / "calls").unlink(missing_ok=True)
    queued = [up.run(seeds=1 + number % 2) for number in range(MANY)]
    for run in queued:
        up.ended(run, "Completed", deadline_s=1500)
    assert sorted(up.toy.calls()) == ["steady 0", "steady 0", "steady 1", "steady 1"]
    assert verify(up.toy.home) == []


def test_killed_with_minus_9_it_leaves_nothing_and_the_next_one_marks_what_was_running(up: Up):
    for name in ("go", "started-0", "ran"):
        (up.toy.folder / name).unlink(missing_ok=True)
    up.toy.edit_handlers("np.full(12, 0.8)", "np.full(12, 0.81)")
    up.switch_on()
    run = up.run(plan=str(up.toy.folder / "held.yaml"), seeds=1)
    held = up.held()
    family = [*up.family(), psutil.Process(held)]
    os.kill(up.process.pid, signal.SIGKILL)
    up.process.wait()
    _, alive = psutil.wait_procs(family, timeout=DEADLINE_S)
    assert not alive
    up.start()
    assert "was marked as crashed" in up.said
    assert up.state(run) == "Crashed"
    assert up.nightly()["schedules"][0]["active"] is True  # as it was switched on, whatever is deployed again
    (up.toy.folder / "go").write_text("")
    up.retry(run)
    up.ended(run, "Completed")
    assert (up.toy.folder / "ran").read_text().split() == ["0"]
