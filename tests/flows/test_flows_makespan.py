"""A run of calls with needs between them waits for nothing but those needs.

How many seconds that takes is a quiet machine's to say, not a test's: `benchmarks/modal_makespan.md`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import makespan
import pytest
from makespan import Sleeper
from modal_plane.control import PlaneControl
from modal_plane.fixture import running_plane
from remote import HERE, deploy


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlaneControl]:
    folder = tmp_path_factory.mktemp("plane")
    with running_plane(folder, max_containers=4, preload=makespan.PRELOAD) as control:
        done = deploy(control.environment, "remote_handlers", str(HERE))
        assert done.returncode == 0, done.stdout + done.stderr
        yield control


def test_a_call_is_submitted_when_what_it_needs_has_ended(plane: PlaneControl, tmp_path: Path, api_url: str) -> None:
    """It waits for nothing else: `slow` ends only once what needs `quick` has, so a run in layers would never end."""
    programme = {
        "quick": Sleeper(0),
        "slow": Sleeper(0, until="next"),
        "next": Sleeper(0, ("quick",)),
        "last": Sleeper(0, ("slow", "next")),
    }
    course = makespan.run(plane, programme, tmp_path / "run", 1.0, api_url)
    calls = course.calls
    assert calls["quick"].finished < calls["next"].submitted
    assert calls["next"].ended < calls["slow"].ended
    assert max(calls["slow"].finished, calls["next"].finished) < calls["last"].submitted
