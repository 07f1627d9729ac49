"""What is promised of work that costs money: killed at any moment, taken away at any shard, it is paid for once."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from modal_plane.control import PlaneControl
from modal_plane.fixture import forget_client
from remote import CHECKOUT, HERE, Remote
from remote_run import steps

from foresight.compute import ledger
from foresight.compute.backend import Call
from foresight.compute.local import LocalBackend
from foresight.compute.modal_preparation import prepare
from foresight.compute.modal_volume import fetch_features
from foresight.compute.step import Resources, Step
from foresight.data.manifest import DataSpec, find
from foresight.elsewhere import left_elsewhere, planned_from
from foresight.features.points import extraction_identity
from foresight.features.store import open_features
from foresight.files import read_json
from foresight.models.identity import ModelSpec, identity
from foresight.results.record import read_record
from tasks.calls import follow

pytestmark = pytest.mark.slow

VLM = ModelSpec("vlm", "foresight/stand-in-qwen2.5-vl", stand_in=True)
DATA = DataSpec("shapes", "single_object", {"n": 200, "side": 56})  # four shards
N = 6


@pytest.mark.parametrize("seed", [0, 1])
def test_kill_9_at_random_moments(remote: Remote, seed: int) -> None:
    """Six runs of six steps, five of them killed: by the handlers' own notes, each step was executed once."""
    rng = random.Random(seed)
    home = remote.folder / "home"
    command = [sys.executable, str(HERE / "remote_run.py"), str(home), str(remote.folder), str(N)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(CHECKOUT), str(HERE)])}
    for _ in range(5):
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
        time.sleep(rng.uniform(1.0, 8.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    assert Counter(remote.noted("began")) == Counter({f"step-{index}": 1 for index in range(N)})
    for step in steps(remote, N):
        record = read_record(remote.home(), step.fingerprint)
        assert record is not None
        assert record.attempt == 1
    assert all(entry.state == "ended" for entry in ledger.list_calls(remote.home()))


def extraction(home) -> Step:
    """Of X3, planned from the manifests that came home."""
    place = planned_from(home, "modal")
    manifest = find(DATA, place)
    assert manifest is not None
    return Step(
        kind="extract",
        label="vlm X3 shapes",
        profile="tiny",
        identity=extraction_identity(
            model=identity(VLM, place), role="vlm", point="X3", data=manifest.sha256, side=None, dtype="float32"
        ),
        work={"data_spec": DATA.to_json(), "model_spec": VLM.to_json(), "batch_size": 32},
        resources=Resources(timeout_s=600.0, cores=1),
    )


@pytest.mark.timeout(1200)
def test_a_machine_taken_away_at_every_shard(deployed_with_torch: PlaneControl, tmp_path: Path) -> None:
    """The same call goes on from the last shard each time, and the features are those of a run that was left alone."""
    remote = Remote(deployed_with_torch, tmp_path)
    home = remote.home()
    prepare({"vlm": VLM}, {"shapes": DATA}, {}, [0], home, print)
    assert not list(home.root.rglob("*.npy"))  # the pictures stay where they were made
    step = extraction(home)
    remote.plane.strike("preempt", on="log", pattern="::progress", every=True, times=3)
    run = remote.run(step).start().wait(1100)
    assert run.failure is None, run.failure
    (call,) = remote.calls_of(step)
    executions = len(remote.plane.call(call["id"])["executions"])
    assert 2 <= executions <= 4  # a stand-in is fast: it may be stopped a shard later, or when all is done
    finished = Counter(found[0] for line in run.said if (found := re.findall(r"(\d+) of 200 images", line)))
    assert max(finished.values()) == 1, run.said  # a shard that was reported is never computed again
    record = read_record(home, step.fingerprint)
    assert record is not None
    assert 2 <= record.attempt <= executions
    causes = [read_json(path)["cause"] for path in home.step(step.fingerprint).glob("attempts/*/attempt.json")]
    assert causes == ["signal"] * (record.attempt - 1)
    staying = left_elsewhere(home, step.fingerprint)
    assert staying == {artifact.path for artifact in record.artifacts}
    assert not home.features.exists()

    alone = remote.home("alone")
    with LocalBackend(alone) as backend:
        follow(Call((step,)), backend, "alone", alone, print)
    fetch_features(home, step.fingerprint)
    there = open_features(home, step.fingerprint, verify=True)[:]
    here = open_features(alone, step.fingerprint)[:]
    # MKL's sums depend on where in memory the numbers lie, so that two runs here differ in the last bit as well
    np.testing.assert_allclose(there, here, atol=2e-3 * np.abs(here).max())


def test_the_planes_machine_is_lost_and_comes_back(tmp_path: Path, plane: PlaneControl) -> None:
    """Every container is gone, no call is forgotten: they are started again as the same calls."""
    from remote import deploy

    done = deploy(plane.environment, "remote_handlers", str(HERE))
    assert done.returncode == 0, done.stdout
    forget_client()
    remote = Remote(plane, tmp_path)
    step = remote.step("held", held=True)
    run = remote.run(step).start()
    remote.began("held")
    plane.kill()
    plane.start()
    remote.began("held", times=2)
    remote.let_go()
    run.wait(120)
    assert run.failure is None
    assert len(remote.calls_of(step)) == 1
