"""A flow run whose process is gone is marked, with its run.json; one that lives, or is of another machine, is left."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed, Running

from flows import zombies
from foresight.compute.process import Process
from foresight.files import write_json
from foresight.plan.loader import load_plan
from foresight.results import runs


class Client:
    """Prefect's, as far as it is asked."""

    def __init__(self, state):
        self._state = state
        self.marked: list[str] = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def read_flow_run(self, run):
        if self._state is None:
            raise ObjectNotFound(None)
        return type("FlowRun", (), {"id": run, "name": "t1-tiny", "state": self._state})

    def set_flow_run_state(self, run, state, force):
        assert state.type.value == "CRASHED"
        self.marked.append(run)


def dead() -> Process:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = Process.of(child.pid)
    child.kill()
    child.wait()
    return process


@pytest.fixture
def killed(toy):
    """The toy's home as a run that was killed leaves it."""

    def leave(process: Process):
        experiment = load_plan(toy.folder / "plan.yaml").experiment("t1")
        runs.new_run(toy.home, experiment, "run-1", profile="tiny", rank=1, seeds=[0])
        runs.update(toy.home, "t1-toy", "run-1", lambda run: run.model_copy(update={"process": process}))
        runs.update_sub_experiment(toy.home, "t1-toy", "run-1", "t_a", status="running", steps={0: "f" * 64})
        path = toy.home.prefect / "alive" / "a-flow-run.json"
        path.parent.mkdir(parents=True)
        write_json(path, {"process": vars(process)})
        return path

    return leave


def test_what_was_killed_is_marked_and_forgotten(toy, killed, monkeypatch):
    path, client = killed(dead()), Client(Running())
    monkeypatch.setattr(zombies, "get_client", lambda sync_client: client)
    (line,) = zombies.mark_dead(toy.home)
    assert "t1-tiny was marked as crashed" in line
    assert client.marked == ["a-flow-run"]
    run = runs.read_run(toy.home, "t1-toy", "run-1")
    assert (run.status, run.sub_experiments["t_a"].status) == ("failed", "pending")
    assert "its run is gone (killed" in run.sub_experiments["t_a"].note
    assert not path.exists()
    assert zombies.mark_dead(toy.home) == []


def test_what_ended_in_prefect_keeps_its_state_there(toy, killed, monkeypatch):
    path, client = killed(dead()), Client(Completed())
    monkeypatch.setattr(zombies, "get_client", lambda sync_client: client)
    assert zombies.mark_dead(toy.home) == []
    assert client.marked == []
    assert not path.exists()


def test_a_retry_does_not_mark_itself_for_what_its_killed_attempt_left(toy, killed, monkeypatch):
    path, client = killed(dead()), Client(Running())
    monkeypatch.setattr(zombies, "get_client", lambda sync_client: client)
    monkeypatch.setattr(zombies, "flow_run", SimpleNamespace(id="a-flow-run"))
    with zombies.written_down(toy.home):
        assert client.marked == []
        assert path.exists()
    assert not path.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"run_id": "run-1"}'])
def test_a_damaged_file_ends_no_run(toy, content):
    path = toy.home.prefect / "alive" / "a-flow-run.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert zombies.mark_dead(toy.home) == []


def test_what_ends_or_is_retried_while_it_is_looked_at_is_left(toy, killed, monkeypatch):
    path, client = killed(dead()), Client(Running())

    def slow_to_connect(sync_client):
        write_json(path, {"process": vars(Process.current())})
        return client

    monkeypatch.setattr(zombies, "get_client", slow_to_connect)
    assert zombies.mark_dead(toy.home) == []
    assert client.marked == []
    monkeypatch.setattr(type(path), "glob", lambda self, pattern: iter([self / "ended.json"]))
    assert zombies.mark_dead(toy.home) == []


def test_what_lives_and_what_another_server_knows_is_left(toy, killed, monkeypatch):
    path, client = killed(Process.of(os.getpid())), Client(None)
    monkeypatch.setattr(zombies, "get_client", lambda sync_client: client)
    assert zombies.mark_dead(toy.home) == []
    write_json(path, {"process": vars(replace(dead(), host="another"))})
    assert zombies.mark_dead(toy.home) == []
    write_json(path, {"process": vars(dead())})
    assert zombies.mark_dead(toy.home) == []  # ObjectNotFound: that server will be asked by who talks to it
    assert path.exists()
    assert runs.read_run(toy.home, "t1-toy", "run-1").status == "running"
