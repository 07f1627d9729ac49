"""Calls through the real client: deployed, spawned, attached to from another process, cancelled, timed out, retried."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import modal
import pytest

from modal_plane.control import PlaneControl

APP = """
import os
import sys
import time

import modal

app = modal.App("toy")
image = modal.Image.debian_slim(python_version="3.11").env({"TOY": "set by the image"})


@app.function(image=image, gpu="A10")
def step(value, sleep_s=0.0):
    print(f"working on {value}", flush=True)
    print("to standard error", file=sys.stderr, flush=True)
    time.sleep(sleep_s)
    return {"value": value, "image": os.environ["TOY"], "task": os.environ["MODAL_TASK_ID"]}


@app.function(image=image)
def broken():
    raise ValueError("the last line of the handler")


@app.function(image=image, timeout=1)
def endless():
    time.sleep(60)


@app.local_entrypoint()
def main(value: int = 1):
    print("came home:", step.remote(value)["value"])
"""


@pytest.fixture
def toy_app(tmp_path: Path, plane: PlaneControl) -> Path:
    (tmp_path / "toyapp.py").write_text(APP)
    shell(tmp_path, "deploy", "-m", "toyapp")
    return tmp_path


def shell(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "modal", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_spawned_call_is_read_from_another_process(toy_app: Path, plane: PlaneControl) -> None:
    call = modal.Function.from_name("toy", "step").spawn({"a": [1, 2]})
    script = f"import modal; print(modal.FunctionCall.from_id({call.object_id!r}).get()['value'])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "{'a': [1, 2]}"
    assert call.get()["image"] == "set by the image"
    (counted,) = plane.calls()
    assert (counted["args"], counted["gpu"], counted["status"]) == ([{"a": [1, 2]}], "A10", "SUCCESS")
    assert len(counted["executions"]) == 1
