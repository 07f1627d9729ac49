"""A budget and the limit of GPUs over whole runs, as a user types them; what is paid for runs in local processes."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import httpx
import pytest

from foresight.compute import purse
from foresight.results import runs

PAID = """
import sys
from dataclasses import replace
import flows.pipeline
from foresight.compute import rates
from foresight.compute.local import LIGHT_PRELOAD, LocalBackend

class Paid(LocalBackend):
    rates = replace(rates.TABLE, basis="a dollar a second", core_usd_per_hour=900.0, gib_usd_per_hour=0.0)

flows.pipeline._backend = lambda job, home: Paid(home, slots=2, preload=LIGHT_PRELOAD)
from foresight.cli import main
main()
"""


@pytest.fixture
def paid(toy, api_url: str):
    """`foresight` where a step costs about a dollar a second, and the second sub-experiment runs on an A10."""
    path = toy.folder / "profiles.yaml"
    on_gpu = "sub_experiments: {t_b: {resources: {device: A10}}}"
    path.write_text(path.read_text().replace("    data: {}\n", f"    data: {{}}\n    {on_gpu}\n"))

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", PAID, *arguments, "--plan", toy.plan]
        own = {**toy.environment, "PREFECT_API_URL": api_url, **environment}
        return subprocess.run(command, env=own, cwd=toy.folder, text=True, capture_output=True, timeout=280)

    return run


def test_a_budget_stops_a_run_in_the_middle_says_so_and_the_same_command_goes_on(toy, paid):
    stopped = paid("run", "t1", "--budget", "150", "--json")  # a step without a record has $120 set aside
    assert stopped.returncode == 1, stopped.stderr
    said = json.loads(stopped.stdout.splitlines()[-1])
    assert said["failed"] == []
    assert re.match(r"Stopped by its budget after <?\$\d", said["stopped"])
    assert "the budget of $150.00 does not allow $12" in said["stopped"]
    assert f"`foresight run t1 --budget 150 --plan {toy.plan}` goes on from there" in said["stopped"]
    assert said["experiments"]["t1-toy"]["status"] == "in_progress"
    done = len(toy.calls())
    assert 1 <= done < 4
    (run,) = runs.list_runs(toy.home, "t1-toy")
    assert run.status == "failed"
    left = [sub for sub in run.sub_experiments.values() if sub.status == "pending"]
    assert left
    assert all(sub.note == "not started: the budget did not allow it" for sub in left)
    books = purse.read(toy.home)
    assert not books.accounts
    assert not books.reserved

    finished = paid("run", "t1", "--budget", "500")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert len(toy.calls()) == 4  # nothing twice
    assert len(set(toy.calls())) == 2  # two seeds of each of two sub-experiments


def test_a_budget_of_a_program_holds_over_its_experiments(toy, paid):
    stopped = paid("program", "--budget", "1")
    assert stopped.returncode == 1
    assert "does not allow" in stopped.stdout
    assert toy.calls() == []


def test_the_limit_of_gpus_is_made_once_and_a_person_may_change_it(toy, paid, api_url: str):
    url = f"{api_url}/v2/concurrency_limits/foresight-gpus"
    httpx.delete(url)  # an earlier test may have made it
    assert paid("run", "t1", FORESIGHT_GPUS="3").returncode == 0
    made = httpx.get(url).json()
    assert (made["limit"], made["active_slots"]) == (3, 0)
    httpx.patch(url, json={"limit": 1}).raise_for_status()
    assert paid("run", "t1", "--refresh").returncode == 0
    assert httpx.get(url).json()["limit"] == 1


def test_a_budget_on_this_machine_is_taken_and_never_reached(toy, api_url: str):
    own = {**toy.environment, "PREFECT_API_URL": api_url}
    command = [sys.executable, "-m", "foresight", "run", "t1", "--plan", toy.plan, "--budget", "0.01"]
    done = subprocess.run(command, env=own, cwd=toy.folder, text=True, capture_output=True, timeout=280)
    assert done.returncode == 0
    assert "the budget of $0.01 is never reached here: local work costs nothing" in done.stdout + done.stderr
    assert not (toy.home.ledger / "purse.json").exists()
