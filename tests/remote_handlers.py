"""Handlers that a test sends to Modal: each does what its step's parameters say. Shipped as a team's own package is.

A container of the test's control plane sees the machine's `/tmp`, so that a test can hold and count what runs.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np


def work(runner):
    """Notes that it began, waits until it is let go, notes that it ended."""
    config = runner.config
    folder = Path(config["folder"])
    with (folder / "began").open("a") as stream:
        stream.write(f"{config['name']}\n")
    print(f"{config['name']} is at work", flush=True)
    runner.progress(0.5, "half way")
    while config.get("held") and not (folder / "go").exists():
        time.sleep(0.02)
    time.sleep(config.get("sleep_s", 0.0))
    with (folder / "ended").open("a") as stream:
        stream.write(f"{config['name']}\n")
    runner.results.save_artifact("note.txt", f"of {config['name']}")
    runner.log_samples("accuracy", np.full(12, 0.75), groups=[f"s{i}" for i in range(12)], higher_is_better=True)
    return {"finding": "accuracy {accuracy}", "metrics": {}, "artifacts": ["note.txt"]}


def trains(runner):
    """Leaves a file for `scores`, and notes that it did."""
    with (Path(runner.config["folder"]) / "trained").open("a") as stream:
        stream.write(f"{runner.sub_experiment}\n")
    runner.results.save_artifact("system.txt", "0.75")
    return {"finding": "trained", "metrics": {"weights": 1.0}, "artifacts": []}


def scores(runner):
    score = float(runner.artifact("t_a", "system.txt").read_text())
    runner.log_samples("accuracy", np.full(12, score), groups=[f"s{i}" for i in range(12)], higher_is_better=True)
    return {"finding": "accuracy {accuracy}", "metrics": {}, "artifacts": []}


def broken(runner):
    raise RuntimeError("the last line of the handler")


class OutOfMemoryError(RuntimeError):
    """As torch names its own."""


def greedy(runner):
    """Runs out of memory on every GPU but the one that `fits`."""
    gpu = os.environ["MODAL_PLANE_GPU"]
    if gpu != runner.config.get("fits"):
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
    return {"finding": f"on {gpu}", "metrics": {}, "artifacts": []}


def killed(runner):
    """Dies as a container does that the kernel kills for its memory."""
    with (Path(runner.config["folder"]) / "began").open("a") as stream:
        stream.write("killed\n")
    os.kill(os.getpid(), 9)


def timed(runner):
    """Sleeps as long as it is told, and notes when it began and ended, by the clock that the plane has too."""
    config, folder = runner.config, Path(runner.config["folder"])
    began = time.time()
    time.sleep(config["seconds"])
    while config["until"] and not (folder / f"{config['until']}.json").exists():
        time.sleep(0.02)
    (folder / f"{runner.sub_experiment}.json").write_text(json.dumps({"began": began, "ended": time.time()}))
    runner.log_samples("accuracy", np.full(12, 0.75), groups=[f"s{i}" for i in range(12)], higher_is_better=True)
    return {"finding": "accuracy {accuracy}", "metrics": {}, "artifacts": []}
