"""Tiny executors for the tests of compute: each does what its step's parameters say. No torch."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from pydantic import BaseModel

from foresight.compute.backend import Call
from foresight.compute.step import Resources, Step
from foresight.errors import UserError
from foresight.files import sha256_file, write_atomic
from foresight.results.record import Artifact, StepOutput

EXECUTORS = {
    "smoke": "compute_executors:execute",
    "extract": "compute_executors:execute_many",
    "sub_experiment": "compute_executors:execute",
}


salt = ""
"""Part of every step's identity: tests that share a home set it, each to its own."""


def step(do: str = "work", *, kind: str = "sub_experiment", timeout_s: float = 60.0, work=None, **parameters) -> Step:
    identity = {"experiment": "c1", "sub_experiment": "e1_1", "seed": 0, "parameters": {"do": do, **parameters}}
    if salt:
        identity["salt"] = salt
    return Step(
        kind=kind,
        label=f"{do} {parameters}" if parameters else do,
        profile="tiny",
        identity=identity,
        work=work or {},
        resources=Resources(timeout_s=timeout_s),
    )


def call(*steps: Step) -> Call:
    return Call(steps)


class OutOfMemoryError(RuntimeError):
    """As torch names its own."""


class Strict(BaseModel):
    number: int


def execute(step, context):
    parameters = dict(step.identity["parameters"])
    return globals()[f"do_{parameters.pop('do')}"](context, **parameters)


def execute_many(steps, context_of, finished):
    for each in steps:
        parameters = each.identity["parameters"]
        if parameters["do"] == "skip":
            continue
        finished(each, execute(each, context_of[each.fingerprint]))


def artifact(context, name: str, content: str) -> Artifact:
    path = context.artifacts_dir / name
    write_atomic(path, content)
    return stated(context, path, name)


def stated(context, path: Path, name: str) -> Artifact:
    relative = path.relative_to(context.home.root).as_posix()
    return Artifact(name=name, path=relative, sha256=sha256_file(path), size_bytes=path.stat().st_size)


def do_work(context, text="hello", **_):
    print(f"working on {text}")
    os.system(f"echo from a child: {text}")
    write_atomic(context.attempt_dir / "metrics.jsonl", '{"metrics": {"loss": 1.0}}\n')
    context.progress(0.5, f"half of\n{text}")
    return StepOutput(
        finding_template="it is {score:.2f}",
        metrics={"score": 0.5},
        artifacts=[artifact(context, "plots/a.txt", f"picture of {text}")],
    )


def do_unlisted(context):
    write_atomic(context.artifacts_dir / "forgotten.txt", "x")
    return StepOutput()


def do_shard(context, **_):
    shard = context.home.features / "f" / "00000.bin"
    write_atomic(shard, "features")
    return StepOutput(artifacts=[stated(context, shard, "00000.bin")])


def do_liar(context, **_):
    output = do_work(context)
    write_atomic(context.home.root / output.artifacts[0].path, "changed afterwards")
    return output


def do_absent(context):
    return StepOutput(artifacts=[Artifact(name="x", path="features/x", sha256="0" * 64, size_bytes=1)])


def do_outside(context):
    return StepOutput(artifacts=[Artifact(name="x", path="../outside", sha256="0" * 64, size_bytes=1)])


def do_bad_finding(context):
    return StepOutput(finding_template="{nothing}")


def do_nothing(context):
    return None


def do_raise(context, **_):
    artifact(context, "partial.txt", "partial")
    print("before the end")
    raise ZeroDivisionError("by\nzero")


def do_user_error(context):
    raise UserError("it is wrong. because. do this.")


def do_not_finite(context):
    return StepOutput(metrics={"score": float("nan")})


def do_memory(context):
    raise MemoryError


def do_gpu_memory(context):
    raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


def do_disk(context):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def do_disk_wrapped(context):
    raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")


def do_exit(context):
    sys.exit(3)


def do_hard_exit(context):
    os._exit(3)


def do_interrupt(context):
    raise KeyboardInterrupt


def do_kill_self(context, number, **_):
    print("about to die", flush=True)
    os.kill(os.getpid(), number)
    time.sleep(60)


def do_wait_for(context, file, **_):
    """Starts a grandchild, says where both are, and works until `file` is there."""
    grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    loner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    print("pids", os.getpid(), grandchild.pid, loner.pid, flush=True)
    deadline = time.monotonic() + 120
    while not Path(file).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return StepOutput(metrics={"pid": os.getpid()})


def do_print(context, lines, **_):
    for number in range(lines):
        print("line", number)
    return StepOutput()


def do_binary(context, **_):
    os.write(1, b"\x00\xff\xfe\x1b[31mred\x1b[0m\n" + b"x" * 3_000_000 + b"\n")
    os.write(1, b"10%\r20%\rdone\n::progress nonsense\n::progress 7 too much\nno newline at the end")
    return StepOutput()


def do_environment(context, names, **_):
    for name in names:
        print(f"{name}={os.environ.get(name)}")
    print("main", sys.modules["__main__"].__dict__.get("__file__"), "cwd", Path.cwd())
    return StepOutput()


def do_random(context, **_):
    import numpy as np

    return StepOutput(metrics={"draw": float(np.random.random())})


def do_crash_native(context, **_):
    import ctypes

    ctypes.string_at(0)


def do_sigkill_marked(context):
    os.kill(os.getpid(), signal.SIGKILL)
