"""The app that the plane's own tests deploy."""

import contextlib
import importlib.util
import os
import sys
import time
from pathlib import Path

import modal

app = modal.App("toy")
image = modal.Image.debian_slim(python_version="3.11").env({"TOY": "set by the image"})
results = modal.Volume.from_name("toy-results", create_if_missing=True)
models = modal.Volume.from_name("toy-models", create_if_missing=True, version=2)
claims = modal.Dict.from_name("toy-claims", create_if_missing=True)
MOUNTS = {"/mnt/toy/results": results, "/toy-models": models.with_mount_options(read_only=True)}


@app.function(image=image, gpu="A10")
def step(value, sleep_s=0.0):
    print(f"working on {value}", flush=True)
    print("to standard error", file=sys.stderr, flush=True)
    time.sleep(sleep_s)
    print("done", end="")
    return {"value": value, "image": os.environ["TOY"], "task": os.environ["MODAL_TASK_ID"]}


@app.function(image=image)
def broken():
    raise ValueError("the last line of the handler")


@app.function(image=image, timeout=1, retries=modal.Retries(max_retries=1, initial_delay=0.0))
def endless():
    print("an attempt", flush=True)
    try:
        time.sleep(60)
    except BaseException as stop:
        print(f"stopped by {type(stop).__name__}", flush=True)
        raise


@app.function(image=image)
def deaf():
    print("deaf", flush=True)
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(60)


@app.function(image=image)
def count(to):
    yield from range(to)


@app.function(image=image, volumes=MOUNTS)
def shards(number, pause_s=0.0):
    """Work that is saved shard by shard, and goes on from what is there."""
    folder = Path("/mnt/toy/results/run")
    folder.mkdir(exist_ok=True)
    done = []
    for i in range(number):
        path = folder / f"{i}.txt"
        if not path.exists():
            path.write_text(str(i))
            results.commit()
            done.append(i)
            print(f"shard {i}", flush=True)
        time.sleep(pause_s)
    return done


@app.function(image=image, volumes=MOUNTS)
def files(steps):
    """Does what it is told, a word each, and returns what it saw."""
    root, seen = Path("/mnt/toy/results"), []
    for step in steps:
        what, _, rest = step.partition(" ")
        name, _, text = rest.partition("=")
        if what == "write":
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        elif what == "remove":
            (root / name).unlink()
        elif what == "read":
            seen.append((root / name).read_text() if (root / name).exists() else None)
        elif what == "commit":
            results.commit()
        elif what == "reload":
            results.reload()
        elif what == "reload-with-open-file":
            with (root / name).open():
                try:
                    results.reload()
                except RuntimeError as error:
                    seen.append(str(error))
        elif what == "model":
            seen.append(Path("/toy-models", name).read_text())
        elif what == "write-model":
            try:
                Path("/toy-models", name).write_text(text)
            except OSError as error:
                seen.append(type(error).__name__ + f" {error.errno}")
        elif what == "wait-for":  # a file of the host, so that a test can order two containers
            print(f"waiting for {name}", flush=True)
            while not Path(name).exists():
                time.sleep(0.01)
        elif what == "import":
            seen.append(importlib.util.find_spec(name) is not None)
        elif what == "exists":
            seen.append(Path(name).exists())
    return seen


@app.function(image=image)
def claim(key, holder):
    return claims.put(key, holder, skip_if_exists=True)


@app.local_entrypoint()
def main(value: int = 1):
    print("came home:", step.remote(value)["value"])
