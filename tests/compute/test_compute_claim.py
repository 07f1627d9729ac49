import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from foresight.compute.claim import FileClaim, Holder, is_claimed, try_claim
from foresight.compute.process import Process, kill_group
from foresight.home import Home

FP = "ab" * 32
HOLD = """
import sys, os, time
from pathlib import Path
from foresight.compute.claim import Holder, try_claim
from foresight.home import Home
claim = try_claim(Home(Path(sys.argv[1])), sys.argv[2], Holder.here("call-1", "run-1"))
if sys.argv[3] == "fork" and os.fork() == 0:
    time.sleep(60)
print("held", flush=True)
sys.stdin.read()
claim.release()
print("released", flush=True)
sys.stdin = open("/dev/null")
time.sleep(60)
"""


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


@pytest.fixture
def other(home):
    """Another process that holds the claim."""
    started = []

    def start(how="plain"):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(home.root), FP, how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        kill_group(process.pid)
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_one_caller_of_a_process_excludes_the_next(home):
    first = try_claim(home, FP, Holder.here("call-1", "run-1"))
    assert isinstance(first, FileClaim)
    second = try_claim(home, FP, Holder.here("call-2", "run-2"))
    assert second == Holder("call-1", "run-1", second.process)
    assert second.process.is_alive()
    assert "call call-1 of run run-1 (pid" in str(second)
    first.release()
    first.release()
    with try_claim(home, FP, Holder.here("call-2", "run-2")) as third:
        assert isinstance(third, FileClaim)


def test_another_process_excludes_and_its_death_frees(home, other):
    process = other()
    held = try_claim(home, FP, Holder.here("call-2", "run-2"))
    assert isinstance(held, Holder)
    assert held.process.pid == process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not held.process.is_alive()
    assert isinstance(try_claim(home, FP, Holder.here("call-2", "run-2")), FileClaim)


def test_release_frees_though_a_forked_child_lives_on(home, other):
    process = other("fork")
    process.stdin.close()
    assert process.stdout.readline() == "released\n"
    assert isinstance(try_claim(home, FP, Holder.here("call-2", "run-2")), FileClaim)


def test_a_file_left_by_a_dead_holder_does_not_matter(home):
    path = home.step(FP) / "claim.lock"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"call_id": "a much longer id than the next one" * 9, "run_id": "r", "process": None}))
    with try_claim(home, FP, Holder.here("c", "r")):
        assert json.loads(path.read_text())["call_id"] == "c"


def test_other_fingerprints_are_free(home):
    with try_claim(home, FP, Holder.here("c", "r")), try_claim(home, "cd" * 32, Holder.here("c", "r")) as other:
        assert isinstance(other, FileClaim)


def test_a_reused_pid_is_not_the_same_process():
    me = Process.current()
    assert me.is_alive()
    assert not Process(me.pid, me.started - 60, me.host).is_alive()
    assert not Process(me.pid, me.started, "another-machine").is_alive()


def test_a_zombie_is_dead():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = Process.of(child.pid)
    assert process.is_alive()
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, not reaped
    assert not process.is_alive()
    child.wait()


def test_looking_takes_nothing_away(home, other):
    assert not is_claimed(home, FP)
    process = other()
    assert is_claimed(home, FP)
    kill_group(process.pid)
    process.wait()
    assert not is_claimed(home, FP)
    with try_claim(home, FP, Holder.here("c", "r")) as claim:
        assert isinstance(claim, FileClaim)


def test_a_look_by_another_does_not_make_a_claim_fail(home):
    try_claim(home, FP, Holder.here("c", "r")).release()
    stop = threading.Event()

    def look():
        while not stop.is_set():
            is_claimed(home, FP)

    lookers = [threading.Thread(target=look) for _ in range(3)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(200):
            claim = try_claim(home, FP, Holder.here("c", "r"))
            assert isinstance(claim, FileClaim)
            claim.release()
    finally:
        stop.set()
        for looker in lookers:
            looker.join()
