"""A worker that dies with whoever started it, and takes its flow runs with it.

For one machine and one person (`make up`). A team's workers are plain `prefect worker start`, see docs/operations.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import signal
import subprocess
import sys
import threading
import time

import psutil

from flows.server import prefect_environment
from foresight.compute.process import kill_descendants
from foresight.home import Home

QUERY_S = 2
STOP_S = 12.0


class OwnWorker:
    """A worker process, told to end by a pipe that only this object holds open.

    How many runs it works on is the pool's limit: with one of its own, Prefect 3.8 ends the worker when a flow run is
    retried before the slot of its crashed attempt is free again.
    """

    def __init__(self, home: Home) -> None:
        log = home.prefect / "worker.log"
        environment = {
            **os.environ,
            **prefect_environment(home),
            "PREFECT_WORKER_QUERY_SECONDS": str(QUERY_S),
            "FORESIGHT_HOME": str(home.root),
        }
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "flows.worker"],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._family: list[psutil.Process] = []

    def is_alive(self) -> bool:
        """Also notes which processes it has started, so that they can be ended if it is killed."""
        if self._process.poll() is not None:
            return False
        self._family = self._children()
        return True

    def stop(self) -> None:
        """End its flow runs (each says in its state that it was ended), then the worker and all that is left."""
        family = {*self._family, *self._children()}
        for process in self._children(recursive=False):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        psutil.wait_procs(family, STOP_S)
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def _children(self, *, recursive: bool = True) -> list[psutil.Process]:
        try:
            return psutil.Process(self._process.pid).children(recursive=recursive)
        except psutil.NoSuchProcess:
            return []


def _work() -> None:
    from prefect.workers.process import ProcessWorker

    from flows.deploy import POOL

    importlib.import_module("flows.pipeline")  # for the hook of a cancelled run, which would wait seconds for it

    def watch() -> None:
        while os.read(0, 1):
            pass
        kill_descendants()
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()

    async def work() -> None:
        worker = ProcessWorker(name="foresight-up", work_pool_name=POOL)
        await worker.start(printer=lambda line: print(time.strftime("%H:%M:%S"), line, flush=True))

    asyncio.run(work())


if __name__ == "__main__":
    _work()
