"""The machine: how many containers there are, what is left of a plane that is lost, and of one that is stopped."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import modal
import psutil
import pytest

from modal_plane.conftest import shell
from modal_plane.control import PlaneControl
from modal_plane.fixture import running_plane


def function(name: str) -> modal.Function:
    return modal.Function.from_name("toy", name)


def test_no_more_containers_than_allowed_and_all_are_used(toy: PlaneControl) -> None:
    """Four calls of a second on two containers take two seconds, start-up apart; on one they would take four."""
    toy.configure(max_containers=2)
    calls = [function("step").spawn(i, sleep_s=1.0) for i in range(4)]
    tasks = {call.get(timeout=60)["task"] for call in calls}
    assert len(tasks) == 2
    executions = [execution for call in calls for execution in toy.call(call.object_id)["executions"]]
    first, last = min(e["started_at"] for e in executions), max(e["stopped_at"] for e in executions)
    assert 2.0 <= last - first < 3.9


def test_a_containers_own_limit_is_that_of_its_options(toy: PlaneControl) -> None:
    one = function("step").with_options(max_containers=1)
    tasks = [call.get(timeout=60)["task"] for call in [one.spawn(i) for i in range(3)]]
    assert len(set(tasks)) == 1


def test_a_gpu_class_that_is_taken_makes_its_calls_wait_and_no_others(toy: PlaneControl) -> None:
    toy.configure(capacity={"H100": 0})
    waits, runs = function("step").with_options(gpu="H100").spawn(1), function("step").spawn(2)
    assert runs.get()["value"] == 2
    assert toy.call(waits.object_id)["state"] == "pending"
    toy.configure(capacity={})
    assert waits.get()["value"] == 1


def test_an_idle_container_makes_room_for_another_function(toy: PlaneControl) -> None:
    toy.configure(max_containers=1, idle_s=60.0)
    assert function("step").remote(1)["value"] == 1
    assert list(function("count").remote_gen(1)) == [0]


def test_a_new_deployment_takes_new_containers(toy: PlaneControl) -> None:
    toy.configure(idle_s=60.0)
    before = function("step").remote(1)["task"]
    shell("deploy", "-m", "toyapp")
    assert function("step").remote(1)["task"] != before


@pytest.mark.slow
def test_a_plane_that_is_lost_starts_its_calls_again_when_it_is_back(plane: PlaneControl) -> None:
    shell("deploy", "-m", "toyapp")
    waits, done = function("step").spawn("waits", sleep_s=1.0), function("step").spawn("done")
    assert done.get()["value"] == "done"
    plane.running(waits.object_id)
    process = psutil.Process(next(c["pid"] for c in plane.containers() if not c["stopped_at"]))
    plane.kill()
    psutil.wait_procs([process], timeout=60)
    assert not process.is_running()
    with pytest.raises(modal.exception.ConnectionError):
        waits.get(timeout=0)
    plane.start()
    assert waits.get(timeout=60)["value"] == "waits"
    assert done.get(timeout=0)["value"] == "done"
    executions = plane.call(waits.object_id)["executions"]
    assert [e["ended_by"] for e in executions] == ["plane_lost", "output"]


def test_nothing_is_left_of_a_plane_that_is_stopped(plane: PlaneControl) -> None:
    shell("deploy", "-m", "toyapp")
    call = function("step").spawn(1, sleep_s=60)
    plane.running(call.object_id)
    pids = [container["pid"] for container in plane.containers()]
    plane.stop()
    plane.until(lambda: not any(psutil.pid_exists(pid) for pid in pids), "the end of the containers")
    assert list((plane.folder / "containers").iterdir()) == []


LINKED = """
import importlib.util
from pathlib import Path

import modal

app = modal.App("linked")
volume = modal.Volume.from_name("linked", create_if_missing=True)
ROOT = Path("{root}/results")


@app.function(image=modal.Image.debian_slim(python_version="3.11"), volumes={{str(ROOT): volume}})
def write(name, wait_for):
    seen = [path.name for path in ROOT.iterdir()] + [importlib.util.find_spec("foresight")]
    (ROOT / name).write_text(name)
    while not Path(wait_for, name).exists():
        pass
    return seen
"""


def test_without_namespaces_paths_are_links_that_lead_each_container_to_its_own(tmp_path: Path) -> None:
    """Two at once, at one path: neither sees what the other writes, nor this checkout's modules; both commit."""
    root = Path(tempfile.gettempdir()) / f"modal-plane-{tmp_path.parent.name}-{tmp_path.name}"
    (tmp_path / "linkedapp.py").write_text(LINKED.format(root=root))
    try:
        with running_plane(tmp_path / "plane", mounts="links") as plane:
            subprocess.run([sys.executable, "-m", "modal", "deploy", "-m", "linkedapp"], cwd=tmp_path, check=True)
            write = modal.Function.from_name("linked", "write")
            calls = {name: write.spawn(name, str(tmp_path)) for name in ("a", "b")}
            for call in calls.values():
                plane.running(call.object_id)
            for name in calls:
                (tmp_path / name).touch()
            assert [call.get() for call in calls.values()] == [[None], [None]]
            plane.until(lambda: all(container["stopped_at"] for container in plane.containers()))
            assert sorted(entry.path for entry in modal.Volume.from_name("linked").listdir("/")) == ["a", "b"]
            assert not root.exists()  # without a container the link leads nowhere
    finally:
        root.unlink(missing_ok=True)


def test_a_machine_that_allows_no_mounts_says_so_to_who_waits(tmp_path: Path) -> None:
    (tmp_path / "linkedapp.py").write_text(LINKED.format(root="/proc/nothing-can-be-made-here"))
    with running_plane(tmp_path / "plane", mounts="links"):
        subprocess.run([sys.executable, "-m", "modal", "deploy", "-m", "linkedapp"], cwd=tmp_path, check=True)
        with pytest.raises(modal.exception.InternalFailure, match=r"allow user namespaces .* or be root"):
            modal.Function.from_name("linked", "write").spawn("a", "").get(timeout=60)
