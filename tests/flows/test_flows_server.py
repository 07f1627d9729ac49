"""The server that a run brings: what is said when it does not start."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import httpx
import psutil
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import server
from flows.server import OwnServer, require_answer
from foresight.errors import UserError
from foresight.home import Home


def test_a_server_that_dies_is_reported_with_its_log_and_the_room_on_its_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    own = OwnServer(Home(tmp_path))
    own.start()
    with pytest.raises(UserError, match=r"server\.log, on a disk with \d+ MB free"):
        own.wait()


def test_a_full_disk_is_what_a_server_that_dies_on_one_is_said_to_lack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1_000))
    own = OwnServer(Home(tmp_path))
    own.start()
    with pytest.raises(UserError, match=r"did not start: the disk of .* has 0 MB free. Free some"):
        own.wait()


def test_the_ui_that_opens_is_the_one_whose_pages_ask_no_other_host(api_url: str):
    assert httpx.get(api_url.removesuffix("api") + "ui-settings").json()["default_ui"] == "v1"


def test_what_a_supervisor_sends_to_all_is_for_the_run_and_not_for_its_server(api_url: str):
    """It goes when the run has gone: else the run could not say how it ended, and would wait for minutes."""
    port = api_url.removesuffix("/api").rpartition(":")[2]
    (process,) = [one for one in psutil.Process().children() if one.cmdline()[-2:] == ["flows.server", port]]
    ignored = int(re.search(r"SigIgn:\s+(\w+)", Path(f"/proc/{process.pid}/status").read_text())[1], 16)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        assert ignored & 1 << number - 1, number.name


class Other(BaseHTTPRequestHandler):
    """Something else than the server that is wanted."""

    status, said = 200, b""

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.said)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def other() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (404, b"{}", "404 Not Found"),
        (401, b"{}", "401 Unauthorized"),
        (200, b'"4.0.0"', "Major versions must match"),
    ],
)
def test_what_is_no_server_for_this_prefect_is_refused(
    other: str, monkeypatch: pytest.MonkeyPatch, status: int, answer: bytes, said: str
):
    monkeypatch.setattr(Other, "status", status)
    monkeypatch.setattr(Other, "said", answer)
    monkeypatch.setenv("PREFECT_API_URL", other)
    with temporary_settings({PREFECT_API_URL: other}), pytest.raises(UserError) as refused:
        require_answer()
    assert said in str(refused.value)
    assert f"server {other} cannot be used" in str(refused.value)


@pytest.mark.parametrize("command", ["foresight run c1 --stub-mode", "flows.deploy", "flows.automations"])
def test_a_server_that_is_not_there_is_one_sentence_and_exit_2(tmp_path: Path, command: str):
    environment = {**os.environ, "PREFECT_API_URL": "http://127.0.0.1:9/api", "FORESIGHT_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-m", *command.split()], env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("foresight: The Prefect server http://127.0.0.1:9/api cannot be used ([Errno 111]")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_run_in_the_home_of_make_up_uses_its_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "configured_api_url", lambda: None)
    monkeypatch.setattr(server, "OwnServer", lambda _: pytest.fail("a second server on one database"))
    home = Home(tmp_path)
    home.prefect.mkdir(parents=True)
    server.up_address(home).write_text("http://127.0.0.1:4200\n")
    with monkeypatch.context() as environment:
        for name in (*server.prefect_environment(home), "PREFECT_API_URL"):
            environment.setenv(name, "as it was")
        with server.up_lock(home), server.prefect_api(home) as own:
            assert own is None
            assert os.environ["PREFECT_API_URL"] == "http://127.0.0.1:4200/api"
    assert server.running_here(home) is None  # what a killed one has left names nobody


def test_without_a_server_nothing_is_deployed_to_one_that_would_be_gone_at_once(tmp_path: Path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-m", "flows.deploy"],
        env={**environment, "PREFECT_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "No Prefect server is chosen" in done.stderr
