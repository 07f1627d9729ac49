"""Containers: each a process of its own that runs Modal's real entrypoint, `modal._container_entrypoint`.

It speaks to the plane over a Unix socket of its own, sees what was mounted (and not this checkout), and dies with
the plane. How it ends decides what becomes of the input it held: an answer finishes it, a preemption or a crash
queues the same input again, a timeout is an attempt, a cancel is the end.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grpclib.server import Server
from modal_proto import api_pb2

from .pipes import Pipe
from .processes import Process
from .rpc import Service
from .sandbox import REFUSED
from .store import App, Call, Container, Function, Secret

if TYPE_CHECKING:
    from .plane import Plane

Result = api_pb2.GenericResult
INTERNAL_FAILURE = Result.GENERIC_STATUS_INTERNAL_FAILURE
STDOUT, STDERR, SYSTEM = 1, 2, 3


class Running:
    def __init__(self, plane: Plane, function: Function) -> None:
        self.plane = plane
        self.id = plane.store.new_id("ta")
        self.function = Function(**vars(function))  # as it was deployed when the container started
        self.folder = plane.folder / "containers" / self.id
        self.socket = plane.sockets / self.id
        self.record = Container(self.id, function.id, function.name, function.gpu, time.time())
        self.call: Call | None = None
        self.took_an_input = False
        self.retiring = False
        self.idle = False
        self.ending = ""  # why the plane made it end, if it did
        self.start_failure: Result | None = None
        self.escalates = False  # at the first failed start
        self.last_line = ""
        self.interrupted_by = ""
        self.cancel_input = asyncio.Event()
        self.inputs_may_have_come = asyncio.Event()
        self.process: Process | None = None
        self.runs: asyncio.Task[None] | None = None
        self.pipes: list[Pipe] = []
        self.timers: list[asyncio.TimerHandle] = []

    @property
    def is_used_up(self) -> bool:
        """It was for one input, has had it, and is about to leave."""
        return self.took_an_input and self.function.definition.single_use_containers

    # Its life

    async def run(self) -> None:
        self.folder.mkdir(parents=True)
        socket = Server([Service(self.plane, self)])
        try:
            await socket.start(path=str(self.socket))
            spec = self._prepare()
            self.pipes = [Pipe(functools.partial(self._take, STDOUT)), Pipe(functools.partial(self._take, STDERR))]
            self.process = await self.plane.processes.start(spec, [pipe.writing for pipe in self.pipes])
            for pipe in self.pipes:
                pipe.started()
            self.record.pid = self.process.pid
            self.plane.store.save(self.record)
            if self.ending:  # the plane did not want it any more while it was started
                self._signal(signal.SIGKILL)
            if self.plane.settings.background_commit_s:
                self._later(self.plane.settings.background_commit_s, self._commit_unasked)
            self.record.exit_code = await self.process.ended
            if self.record.exit_code == REFUSED:
                self.start_failure = Result(status=INTERNAL_FAILURE, exception=self.last_line)
                self.escalates = True
        except OSError as error:  # of this machine: told to whoever waits, not tried for ever
            text = f"the control plane could not start a container: {error}"
            self.start_failure, self.escalates = Result(status=INTERNAL_FAILURE, exception=text), True
        finally:
            for timer in self.timers:
                timer.cancel()
            self._signal(signal.SIGKILL)
            for pipe in self.pipes:
                pipe.close()
            self.record.stopped_at = time.time()
            self.plane.store.save(self.record)
            self.plane.volumes.unmount(self)
            self._settle()
            if self.socket.exists():
                socket.close()
                self.socket.unlink()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _settle(self) -> None:
        """It is gone; what it held goes on elsewhere."""
        call, self.call = self.call, None
        failed = self.record.exit_code != 0 or self.start_failure is not None
        if call is not None:
            ended_by = self.ending or "crashed"
            self.plane.calls.stopped(call, self.id, ended_by)
            if call.state == "running" and call.executions[-1].task_id == self.id:
                crashes = sum(1 for e in call.executions if e.ended_by in ("crashed", "out_of_memory"))
                delay_s = 0.0 if ended_by == "preempted" else self.plane.settings.crash_backoff_s * 2 ** min(crashes, 6)
                if ended_by in ("crashed", "out_of_memory"):
                    self.say(f"Runner failed with exit code: {self.record.exit_code}", call)
                self.plane.calls.requeue(call, delay_s)
        self.plane.scheduler.ended(self, self.took_an_input, failed and self.ending not in ("retired", "preempted"))

    def _take(self, descriptor: int, line: str) -> None:
        self.last_line = line.strip()
        self.say(line, self.call, descriptor)
        self.plane.strikes.printed(self, line)

    def say(self, text: str, call: Call | None = None, descriptor: int = SYSTEM) -> None:
        self.plane.logs.add(self.function.app_id, self.function, call, self.id, descriptor, text)

    def _prepare(self) -> Path:
        """What the process starts with, as files."""
        definition = self.function.definition
        app = self.plane.store.find(App, self.function.app_id)
        assert app is not None
        arguments = api_pb2.ContainerArguments(
            task_id=self.id, function_id=self.function.id, app_id=app.id, function_def=definition,
            environment_name=app.environment, app_layout=self.plane.functions.layout(app),
        )  # fmt: skip
        (self.folder / "arguments").write_bytes(arguments.SerializeToString())
        environment, binds = self.plane.images.prepare(self.folder, definition)
        binds |= self.plane.volumes.mount(self)
        for id in definition.secret_ids:
            secret = self.plane.store.find(Secret, id)
            environment |= secret.values if secret else {}
        environment |= {
            "MODAL_SERVER_URL": f"unix://{self.socket}",
            "MODAL_CONTAINER_ARGUMENTS_PATH": str(self.folder / "arguments"),
            "MODAL_IS_REMOTE": "1",
            "MODAL_PLANE_GPU": self.function.gpu,
            "MODAL_TASK_ID": self.id,
            "MODAL_IMAGE_ID": definition.image_id,
            "MODAL_ENVIRONMENT": app.environment,
            "MODAL_CONFIG_PATH": "/nonexistent",
            "MODAL_CLOUD_PROVIDER": "CLOUD_PROVIDER_PLANE",
            "MODAL_REGION": "loopback",
        }
        spec = {
            "mounts": self.plane.settings.mounts, "binds": binds,
            "hide": [str(path) for path in self.plane.hidden], "environment": environment,
            "keep": [sys.prefix, sys.base_prefix, str(self.plane.folder)], "new_root": str(self.folder / "root"),
        }  # fmt: skip
        path = self.folder / "spec.json"
        path.write_text(json.dumps(spec))
        return path

    # What the plane does to it

    def _signal(self, number: int) -> None:
        if self.record.pid:
            try:
                os.killpg(self.record.pid, number)
            except ProcessLookupError:
                return

    def _later(self, delay_s: float, what: Any, *arguments: Any) -> None:
        self.timers.append(asyncio.get_running_loop().call_later(delay_s, what, *arguments))

    def _commit_unasked(self) -> None:
        """In the middle of whatever the code is doing, as the real service does."""
        self.plane.volumes.commit_background(self)
        self._later(self.plane.settings.background_commit_s or 60.0, self._commit_unasked)

    def kill(self, why: str) -> None:
        """Nothing of it runs on: what was not committed is lost."""
        self.ending = why
        self._signal(signal.SIGKILL)

    def preempt(self, grace_s: float | None = None) -> None:
        """SIGINT, then a time to leave in order, then SIGKILL; its input starts again in another container."""
        if not self.ending:
            self.ending = "preempted"
            text = "Runner interrupted due to worker preemption. Your Function will be restarted with the same input."
            self.say(text, self.call)
        self.retiring = True
        if self.process:
            self.process.send_signal(signal.SIGINT)
        self._later(self.plane.settings.grace_s if grace_s is None else grace_s, self._signal, signal.SIGKILL)

    def out_of_memory(self) -> None:
        self.say("Container ran out of memory and was killed.", self.call)
        self.kill("out_of_memory")

    def interrupt_input(self, why: str, terminate: bool = False) -> None:
        """The input is to be given up (cancelled, timed out); a container that does not listen is killed."""
        call = self.call
        if terminate and self.plane.settings.terminate_grace_s > 0:
            self.ending = why
            return self.preempt(self.plane.settings.terminate_grace_s)
        if terminate:
            return self.kill(why)
        self.cancel_input.set()

        def give_up() -> None:
            if call is not None and self.call is call:
                self.kill(why)

        self.interrupted_by = why
        return self._later(self.plane.settings.grace_s, give_up)

    def retire(self) -> None:
        """It takes no more inputs and leaves when it has none."""
        self.retiring = True
        self.inputs_may_have_come.set()

    def timed_out(self, call: Call) -> None:
        if self.call is not call:
            return
        timeout_s = self.function.definition.timeout_secs
        self.say(f"Task's current input {call.input_id} hit its timeout of {timeout_s}s", call)
        text = f"Task's current input {call.input_id} hit its timeout of {timeout_s}s"
        self.plane.calls.fail_or_retry(call, Result(status=Result.GENERIC_STATUS_TIMEOUT, exception=text))
        self.retiring = True
        self.interrupt_input("timeout")
