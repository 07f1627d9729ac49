"""The main path, through a real Prefect server, the fork server and the records, on the toy programme."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from foresight.compute import ledger
from foresight.results.verify import verify

DEADLINE_S = 200  # below the timeout of `held`, so that what hangs is named here


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Bounded, and says what did not happen."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {DEADLINE_S} s"
        time.sleep(0.02)


def document(toy) -> dict:
    return yaml.safe_load((toy.home.results / "t1-toy" / "results.yaml").read_text())


def test_a_run_measures_judges_and_says_so(toy, shell, api_url):
    done = shell.run("run", "t1", "--plan", toy.plan)
    assert done.returncode == 0, done.stderr
    assert "proceed" in done.stdout
    assert "steady is at work" in done.stderr  # the handler's own line, live in the run's log
    content = document(toy)
    assert content["status"] == "completed"
    assert content["recommendation"] == "proceed"
    assert content["assessment"]["accuracy_achieved"] > 0.85
    assert sorted(toy.calls()) == ["steady 0", "steady 0", "steady 1", "steady 1"]  # two sub-experiments, two seeds
    assert verify(toy.home) == []
    (run_id,) = re.findall(r"flow-run/([0-9a-f-]{36})", done.stderr)
    beats = {"event": {"name": ["prefect.flow-run.heartbeat"]}}
    found = httpx.post(f"{api_url}/events/filter", json={"filter": beats}).json()["events"]
    assert f"prefect.flow-run.{run_id}" in {event["resource"]["prefect.resource.id"] for event in found}

    again = shell.run("run", "t1", "--plan", toy.plan)
    assert again.returncode == 0
    assert "Nothing to do" in again.stdout
    assert len(toy.calls()) == 4

    forced = shell.run("run", "t1", "--plan", toy.plan, "--refresh", "--sub-experiment", "t_a")
    assert forced.returncode == 0, forced.stderr
    assert len(toy.calls()) == 6


def test_one_changed_line_recomputes_that_sub_experiment_alone_and_a_docstring_nothing(toy, shell):
    assert shell.run("run", "t1", "--plan", toy.plan).returncode == 0
    toy.edit_handlers("Scores well above the acceptable level", "Scores nicely above it")
    assert "Nothing to do" in shell.run("run", "t1", "--plan", toy.plan).stdout
    toy.edit_handlers("0.9 + 0.02", "0.91 + 0.02")
    rows = json.loads(shell.run("run", "t1", "--plan", toy.plan, "--dry-run", "--json").stdout)["steps"]
    assert {row["why"] for row in rows} == {"changed: code"}


def test_a_broken_handler_neither_stops_nor_hides_its_sibling(toy, shell):
    toy.second_handler("broken")
    done = shell.run("run", "t1", "--plan", toy.plan)
    assert done.returncode == 1
    content = document(toy)
    subs = content["results"]["experiments"]
    assert subs["t_a"]["status"] == "completed"
    assert subs["t_b"]["status"] == "failed"
    assert "the last line of the handler" in subs["t_b"]["error"]
    assert content["status"] == "failed"
    attempts = list(toy.home.steps.glob("*/attempts/*/attempt.json"))
    failed = [json.loads(path.read_text()) for path in attempts if json.loads(path.read_text()).get("cause")]
    assert {attempt["cause"] for attempt in failed} == {"exception"}
    assert all("RuntimeError" in attempt["traceback"] and attempt["seconds"] > 0 for attempt in failed)
    assert len(failed) == 2  # one a seed: a bug in a handler is not retried


def test_what_a_sub_experiment_uses_comes_along_and_is_waited_for(toy, shell, api_url):
    toy.in_two_steps()
    done = shell.run("run", "t1", "--plan", toy.plan, "--sub-experiment", "t_b", "--seeds", "1")
    assert done.returncode == 0, done.stderr
    assert "t_a belongs to it, since t_b reads what t_a leaves" in done.stderr
    assert document(toy)["recommendation"] == "investigate"  # measured; one seed and no baseline decide nothing
    assert verify(toy.home) == []
    runs = httpx.post(f"{api_url}/task_runs/filter", json={"sort": "EXPECTED_START_TIME_DESC"}).json()
    trained, scored = (next(run for run in runs if run["name"].startswith(f"t1/{sub} ")) for sub in ("t_a", "t_b"))
    waits_for = [one["id"] for one in scored["task_inputs"]["wait_for"]]  # the arrow in the UI's graph
    assert waits_for == [trained["id"]]

    toy.in_two_steps(first="broken")
    failed = shell.run("run", "t1", "--plan", toy.plan, "--seeds", "1")
    assert failed.returncode == 1
    assert "needs t_a, which has no record: it failed, or was not allowed to run" in failed.stderr


def test_stub_mode_is_never_assessed_and_hides_nothing(toy, shell):
    stubbed = shell.run("run", "t2", "--plan", toy.plan, "--stub-mode")
    assert stubbed.returncode == 0, stubbed.stderr
    content = yaml.safe_load((toy.home.results / "t2-later" / "results.yaml").read_text())
    assert (content["status"], content["recommendation"]) == ("stub", "pending")
    assert content["assessment"]["success_criteria_met"] is False

    assert shell.run("run", "t1", "--plan", toy.plan).returncode == 0
    assert shell.run("run", "t1", "--plan", toy.plan, "--stub-mode").returncode == 0
    assert document(toy)["recommendation"] == "proceed"


def test_kill_9_loses_nothing_finished_and_leaves_no_process(toy, shell):
    toy.second_handler("held")
    command = ("run", "t1", "--plan", toy.plan, "--seeds", "1")
    process = shell.start(*command)
    records = toy.home.steps
    wait_until(
        lambda: (toy.folder / "started-0").exists() and len(list(records.glob("*/record.json"))) == 1, "one record"
    )
    (held,) = [int(path.read_text()) for path in toy.folder.glob("started-*")]
    finished = {path: path.read_bytes() for path in records.glob("*/record.json")}
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    wait_until(lambda: not psutil.pid_exists(held), "the end of the killed run's step")
    (toy.folder / "go").write_text("")
    done = shell.run(*command)
    assert done.returncode == 0, done.stderr
    assert toy.calls() == ["steady 0"]  # what was finished was not computed again
    assert all(path.read_bytes() == content for path, content in finished.items())
    assert (toy.folder / "ran").read_text().split() == ["0"]
    assert document(toy)["status"] == "completed"
    own = [json.loads(path.read_text())["status"] for path in toy.home.results.glob("t1-toy/runs/*/run.json")]
    assert sorted(own) == ["completed", "failed"]  # the killed run does not run for ever
    assert verify(toy.home) == []  # nor is the killed run's own results.yaml taken for an edited one


def test_two_runs_at_once_share_the_work(toy, shell):
    toy.second_handler("held")
    first = shell.start("run", "t1", "--plan", toy.plan)
    wait_until(lambda: (toy.folder / "started-0").exists(), "the first run's held step")
    second = shell.start("run", "t1", "--plan", toy.plan)
    started = toy.home.results / "t1-toy" / "runs"
    wait_until(lambda: len(list(started.glob("*/run.json"))) == 2, "the second run")
    (toy.folder / "go").write_text("")
    for process in (first, second):
        _, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, err
    assert sorted(toy.calls()) == ["steady 0", "steady 1"]
    assert sorted((toy.folder / "ran").read_text().split()) == ["0", "1"]


def test_cancel_stops_the_steps_and_says_so(toy, shell):
    toy.second_handler("held")
    process = shell.start("run", "t1", "--plan", toy.plan)
    wait_until(lambda: (toy.folder / "started-0").exists(), "the held step")
    pids = [int(path.read_text()) for path in toy.folder.glob("started-*")]
    (run_id,) = {call.run_id for call in ledger.list_calls(toy.home)}
    listed = json.loads(shell.run("status", "--json").stdout)
    assert run_id in {call["run_id"] for call in listed}
    assert shell.run("cancel", run_id).returncode == 0
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1, err
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in pids), "the end of its steps")
    assert "cancelled; what was finished is kept" in out
    assert "Finished in state Cancelled" in err
    (own,) = toy.home.results.glob("t1-toy/runs/*/run.json")
    run = json.loads(own.read_text())
    assert run["status"] == "cancelled"
    held = run["sub_experiments"]["t_b"]
    assert (held["status"], held["error"], held["note"]) == ("pending", "", "cancelled"), (
        "that is no failure of the step"
    )


def test_a_shell_run_that_is_cancelled_in_the_ui_stops_and_ends_as_cancelled(toy, shell, api_url):
    toy.second_handler("held")
    process = shell.start("run", "t1", "--plan", toy.plan)
    wait_until(lambda: (toy.folder / "started-0").exists(), "the held step")
    pids = [int(path.read_text()) for path in toy.folder.glob("started-*")]
    (run_id,) = {call.run_id for call in ledger.list_calls(toy.home)}
    body = {"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}}
    running = httpx.post(f"{api_url}/flow_runs/filter", json=body, timeout=30).json()
    flow_run = next(one["id"] for one in running if one["id"].startswith(run_id[-6:]))
    asked = {"state": {"type": "CANCELLING"}}
    httpx.post(f"{api_url}/flow_runs/{flow_run}/set_state", json=asked, timeout=30).raise_for_status()
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1, err
    assert "Traceback" not in err
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in pids), "the end of its steps")
    ended = httpx.get(f"{api_url}/flow_runs/{flow_run}", timeout=30).json()
    assert ended["state"]["name"] == "Cancelled"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGINT, "Ctrl-C"),
        (signal.SIGTERM, "SIGTERM"),
        (signal.SIGHUP, "the end of its terminal"),
    ],
)
def test_a_signal_ends_a_run_with_one_line_its_exit_status_and_nothing_left(toy, shell, api_url, number, words):
    toy.second_handler("held")
    process = shell.start("run", "t1", "--plan", toy.plan)
    wait_until(lambda: (toy.folder / "started-0").exists(), "the held step")
    family = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 128 + number
    last = err.splitlines()[-1]
    assert last == f"foresight: stopped by {words}: what is finished is kept; the same command goes on from there"
    assert not any(word in err for word in ("Crash", "Finished in state", "Traceback"))
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in family), "the end of every process")
    (own,) = toy.home.results.glob("t1-toy/runs/*/run.json")
    run = json.loads(own.read_text())
    assert (run["status"], run["sub_experiments"]["t_b"]["status"]) == ("cancelled", "pending")
    asked = {"flow_runs": {"id": {"any_": [re.search(r"flow-run/(\S+)", err)[1]]}}}
    (flow_run,) = httpx.post(f"{api_url}/flow_runs/filter", json=asked, timeout=30).json()
    assert flow_run["state_type"] == "CANCELLED"


def test_ctrl_c_ends_what_runs_in_the_shells_own_process_too(toy, shell):
    toy.second_handler("held")
    process = shell.start("run", "t1", "--plan", toy.plan, "--seeds", "1", "--in-process")
    wait_until(lambda: (toy.folder / "started-0").exists(), "the held step")
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "foresight: stopped by Ctrl-C"
    (own,) = toy.home.results.glob("t1-toy/runs/*/run.json")
    run = json.loads(own.read_text())
    assert (run["status"], run["sub_experiments"]["t_b"]["status"]) == ("cancelled", "pending")


def test_a_supervisor_that_ends_every_process_at_once_stops_the_run_as_well(toy, shell):
    toy.second_handler("held")
    process = shell.start("run", "t1", "--plan", toy.plan, "--seeds", "1")
    wait_until(lambda: (toy.folder / "started-0").exists(), "the held step")
    children = psutil.Process(process.pid).children(recursive=True)
    for one in (*reversed(children), process):
        os.kill(one.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 128 + signal.SIGTERM, err
    assert "no process could be started" not in err  # the fork server is there until the run has gone
    (own,) = toy.home.results.glob("t1-toy/runs/*/run.json")
    assert json.loads(own.read_text())["status"] == "cancelled"


def test_a_terminal_that_closes_ends_what_runs_in_it(toy, shell):
    """The kernel says so, and nothing can be written to it any more."""
    toy.second_handler("held")
    pid, terminal = pty.fork()
    if pid == 0:
        command = [sys.executable, "-m", "foresight", "run", "t1", "--plan", toy.plan, "--seeds", "1"]
        os.execve(command[0], command, shell._environment)
    wait_until(lambda: _read(terminal) and (toy.folder / "started-0").exists(), "the held step")
    family = [child.pid for child in psutil.Process(pid).children(recursive=True)]
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in family), "the end of every process")
    (own,) = toy.home.results.glob("t1-toy/runs/*/run.json")
    assert json.loads(own.read_text())["status"] == "cancelled"


def _read(terminal: int) -> bool:
    """What is there, so that whoever writes to it need not wait."""
    while select.select([terminal], [], [], 0)[0]:
        os.read(terminal, 65536)
    return True


def test_program_runs_what_has_handlers_and_names_what_has_not(toy, shell):
    done = shell.run("program", "--plan", toy.plan, "--seeds", "1")
    assert done.returncode == 0, done.stderr
    assert "no handlers yet: t2" in done.stdout


def test_nothing_is_half_written_where_the_home_is_not_writable(toy, shell, tmp_path: Path):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the home should be")
    shell._environment["FORESIGHT_HOME"] = str(blocked)
    done = shell.run("run", "t1", "--plan", toy.plan)
    assert done.returncode == 2
    assert "FORESIGHT_HOME is a file" in done.stderr
    assert "Traceback" not in done.stderr
