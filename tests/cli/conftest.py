"""The shell as a user has it: another process, with the toy programme's home."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.fixture
def foresight(toy):
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "foresight", *arguments],
            env=toy.environment,
            cwd=toy.folder,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run
