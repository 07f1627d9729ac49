"""The `plane` fixture: a plane of its own for each test, and the environment that makes the real client speak to it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .control import PlaneControl


def forget_client() -> None:
    """The client is one for a process and remembers its server."""
    if "modal.client" in sys.modules:
        sys.modules["modal.client"]._Client._set_env_client(None)


@pytest.fixture
def plane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlaneControl]:
    control = PlaneControl(tmp_path / "plane")
    for name, value in control.environment.items():
        monkeypatch.setenv(name, value)
    forget_client()
    control.start()
    yield control
    forget_client()
    control.stop()
