"""Fixtures: a plane for a test or a module, and the environment that makes the real client speak to it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .control import PlaneControl


def forget_client() -> None:
    """The client is one for a process and remembers its server."""
    if "modal.client" in sys.modules:
        sys.modules["modal.client"]._Client._set_env_client(None)


@contextmanager
def running_plane(folder: Path, **settings: Any) -> Iterator[PlaneControl]:
    """A plane, and an environment in which the client of this process and of its children speaks to it."""
    control = PlaneControl(folder, **settings)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in control.environment.items():
            patch.setenv(name, value)
        forget_client()
        try:
            yield control.start()
        finally:
            forget_client()
            control.stop()


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[PlaneControl]:
    """One for the test alone: it may kill it."""
    with running_plane(tmp_path / "plane") as control:
        yield control


@pytest.fixture(scope="module")
def module_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlaneControl]:
    """One for all tests of a module, which save the start and the deployment; `clear` and `configure` go between."""
    with running_plane(tmp_path_factory.mktemp("plane")) as control:
        yield control
