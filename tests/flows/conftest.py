"""One Prefect server for all flow tests of a worker: a fresh one takes 20 s to migrate its database."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.server import OwnServer
from foresight.home import Home

DEADLINE_S = 200


@pytest.fixture(scope="session")
def api_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = OwnServer(Home(tmp_path_factory.mktemp("prefect")))
    server.start()
    server.wait()
    yield server.url
    server.stop()


class Shell:
    """Runs `foresight` in a process of its own, as a user does."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self._environment, self._folder = environment, folder

    def start(self, *arguments: str, **more: str) -> subprocess.Popen[str]:
        """`more`: of the environment."""
        return subprocess.Popen(
            [sys.executable, "-m", "foresight", *arguments],
            env={**self._environment, **more},
            cwd=self._folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **more)
        out, err = process.communicate(timeout=DEADLINE_S)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture
def shell(toy, api_url: str) -> Shell:
    return Shell({**toy.environment, "PREFECT_API_URL": api_url}, toy.folder)
