from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from modal_plane.control import PlaneControl

HERE = Path(__file__).parent


def shell(*arguments: str) -> str:
    """`modal …` as a user types it."""
    command = [sys.executable, "-m", "modal", *arguments]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def deployed(module_plane: PlaneControl) -> PlaneControl:
    shell("deploy", "-m", "toyapp")
    return module_plane


@pytest.fixture
def toy(deployed: PlaneControl) -> PlaneControl:
    """The plane of the module with the toy app, as untroubled as at the start."""
    deployed.clear()
    deployed.configure(max_containers=8, idle_s=2.0, grace_s=5.0, crash_backoff_s=0.05, deduplicates=True)
    return deployed
