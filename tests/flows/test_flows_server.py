"""The server that a run brings: what is said when it does not start."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from flows.server import OwnServer
from foresight.errors import UserError
from foresight.home import Home


def test_a_server_that_dies_is_reported_with_its_log_and_the_room_on_its_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    server = OwnServer(Home(tmp_path))
    server.start()
    with pytest.raises(UserError, match=r"server\.log, on a disk with \d+ MB free"):
        server.wait()


def test_a_full_disk_is_what_a_server_that_dies_on_one_is_said_to_lack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1_000))
    server = OwnServer(Home(tmp_path))
    server.start()
    with pytest.raises(UserError, match=r"did not start: the disk of .* has 0 MB free. Free some"):
        server.wait()


def test_the_ui_that_opens_is_the_one_whose_pages_ask_no_other_host(api_url: str):
    assert httpx.get(api_url.removesuffix("api") + "ui-settings").json()["default_ui"] == "v1"
