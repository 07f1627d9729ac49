"""The plane's end of the zygote: a container's process is started with two pipes, and told of when it ends."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

ZYGOTE = Path(__file__).with_name("zygote.py")
LOST = -9


class Process:
    """One container's."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def send_signal(self, number: int) -> None:
        if not self.ended.done():
            os.kill(self.pid, number)


class Processes:
    def __init__(self, preload: list[str]) -> None:
        self.preload = preload
        self.control: socket.socket | None = None
        self.zygote: subprocess.Popen[bytes] | None = None
        self.ready = asyncio.Event()
        self.running: dict[int, Process] = {}
        self.starting: dict[str, asyncio.Future[Process]] = {}

    def open(self) -> None:
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.setblocking(False)
        self.zygote = subprocess.Popen(
            [sys.executable, "-u", str(ZYGOTE), str(theirs.fileno()), str(os.getpid()), *self.preload],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "MODAL_IS_REMOTE": "1", "MODAL_CONFIG_PATH": "/nonexistent", "PYTHONPATH": ""},
        )
        theirs.close()
        asyncio.get_running_loop().add_reader(self.control, self._heard)

    async def start(self, spec: Path, descriptors: list[int]) -> Process:
        await self.ready.wait()
        if self.control is None:
            raise OSError("the process that containers are forked from has died")
        future = self.starting[str(spec)] = asyncio.get_running_loop().create_future()
        socket.send_fds(self.control, [json.dumps({"spec": str(spec)}).encode()], descriptors)
        return await future

    def _heard(self) -> None:
        assert self.control
        message = self.control.recv(1 << 16)
        if not message:
            return self.close()
        self.ready.set()
        said: dict[str, Any] = json.loads(message)
        if "spec" in said:
            process = self.running[said["pid"]] = Process(said["pid"])
            self.starting.pop(said["spec"]).set_result(process)
        elif "code" in said:
            self.running.pop(said["pid"]).ended.set_result(said["code"])
        return None

    def close(self) -> None:
        """Containers that still run end with the zygote."""
        if self.control:
            asyncio.get_running_loop().remove_reader(self.control)
            self.control.close()
            self.control = None
        self.ready.set()
        for process in self.running.values():
            process.ended.set_result(LOST)
        for future in self.starting.values():
            future.set_exception(OSError("the process that containers are forked from has died"))
        self.running, self.starting = {}, {}
        if self.zygote:
            self.zygote.kill()
            self.zygote.wait()
