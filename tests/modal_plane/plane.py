"""The plane as a whole: its state, its rooms, its sockets."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from .admin import Admin
from .apps import Apps
from .blobs import Blobs
from .calls import Calls
from .container_side import ContainerSide
from .dicts import Dicts
from .faults import Faults
from .functions import Functions
from .images import Images
from .logs import Logs
from .processes import Processes
from .rpc import Listener, Service, methods_of
from .scheduler import Scheduler
from .store import Call, Store
from .strikes import Strikes
from .volume_files import VolumeFiles
from .volumes import Volumes
from .workspace import Workspace

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass
class Settings:
    """What a test may set, at the start or later."""

    max_containers: int = 8  # of all functions together
    idle_s: float = 2.0  # a container waits no longer than this for its next input
    terminate_grace_s: float = 0.0  # the same for cancel(terminate_containers=True); the real one's is not known
    grace_s: float = 5.0  # between SIGINT and SIGKILL; the real service gives 30
    background_commit_s: float = 0.0  # how often volumes that allow it are committed unasked; 0: never
    crash_backoff_s: float = 0.2  # doubles with each crash in a row
    log_delay_s: float = 0.0  # how late a line can be read; its time is when it was printed
    capacity: dict[str, int] = field(default_factory=dict)  # containers by GPU class ("H100"); others are not limited
    mounts: str = "namespaces"  # or "links", which is also what follows where namespaces are not allowed
    preload: str = ""  # packages that every container has imported already, with commas; only at the start
    deduplicates: bool = True  # a FunctionMap that the client sends again is one call


class Plane:
    def __init__(self, folder: Path, port: int, **settings: Any) -> None:
        self.folder = folder.resolve()
        self.port = port
        self.http_url = ""
        self.settings = Settings(**settings)
        self.hidden = [CHECKOUT]
        self.sockets = Path(tempfile.mkdtemp(prefix="plane-"))  # the path of a Unix socket may have 107 characters
        self.store = Store(self.folder)
        self.faults = Faults()
        self.strikes = Strikes(self)
        self.processes = Processes([name for name in self.settings.preload.split(",") if name])
        self.scheduler = Scheduler(self)
        self.logs = Logs(self)
        self.blobs = Blobs(self)
        self.images = Images(self)
        self.apps = Apps(self)
        self.functions = Functions(self)
        self.calls = Calls(self)
        self.volumes = Volumes(self)
        self.workspace = Workspace(self)
        self.admin = Admin(self)
        rooms = [
            self.logs, self.blobs, self.images, self.apps, self.functions, self.calls, self.volumes, VolumeFiles(self),
            self.workspace,
            Dicts(self), ContainerSide(self),
        ]  # fmt: skip
        self.methods = methods_of(rooms)
        self.listener: Listener | None = None

    async def open(self) -> None:
        self.listener = Listener(Service(self))
        await self.listener.start("127.0.0.1", self.port)

    def close_port(self) -> None:
        """Every connection from outside is cut; containers, on sockets of their own, notice nothing."""
        if self.listener:
            self.listener.pull()
            self.listener = None

    async def outage(self, seconds: float) -> None:
        self.close_port()
        await asyncio.sleep(seconds)
        await self.open()

    def _resume(self) -> None:
        """What ran when the last plane died was lost with it: its inputs start again, as after a preemption."""
        for call in self.store.all(Call):
            if call.state == "running":
                self.calls.stopped(call, call.executions[-1].task_id, "plane_lost")
                self.calls.requeue(call)

    async def run(self, stop: asyncio.Event) -> None:
        app = web.Application(client_max_size=2**32)
        app.add_routes(self.blobs.routes() + self.admin.routes())
        runner = web.AppRunner(app)
        await runner.setup()
        known = self.folder / "plane.json"
        before = json.loads(known.read_text()) if known.exists() else {"http_port": 0}
        if "sockets" in before:
            shutil.rmtree(before["sockets"], ignore_errors=True)
        site = web.TCPSite(runner, "127.0.0.1", before["http_port"])
        await site.start()
        http_port = runner.addresses[0][1]
        self.http_url = f"http://127.0.0.1:{http_port}"
        self.processes.open()
        self._resume()
        await self.open()
        temporary = known.with_suffix(".part")
        temporary.write_text(
            json.dumps({"port": self.port, "http_port": http_port, "pid": os.getpid(), "sockets": str(self.sockets)})
        )
        temporary.replace(known)
        scheduling = asyncio.create_task(self.scheduler.run())
        await stop.wait()
        self.close_port()
        await self.scheduler.close()
        await scheduling
        self.processes.close()
        await runner.cleanup()
        shutil.rmtree(self.sockets)
