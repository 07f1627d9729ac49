"""How long a run of many calls with needs between them takes, against what its critical path alone would."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import makespan
import pytest
from makespan import TWENTY, Sleeper
from modal_plane.control import PlaneControl
from modal_plane.fixture import running_plane
from remote import HERE, deploy

UNIT_S = 5.5
"""A critical path of 110 s. What a run adds (4 to 5 s on a machine with five times as much to do as it can) does not
grow with it, so steps of minutes have less than this test asks for."""


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlaneControl]:
    folder = tmp_path_factory.mktemp("plane")
    with running_plane(folder, max_containers=20, preload=makespan.PRELOAD) as control:
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


@pytest.mark.slow
def test_twenty_calls_take_as_long_as_their_critical_path(plane: PlaneControl, tmp_path: Path, api_url: str) -> None:
    """The flow run, from its beginning to its end, is within 5 % of the calls that have to follow one another.

    A call is as long as the plane had it: its handler's length, which is known, and its container's start and end. For
    those 20 containers share this machine with each other and with other tests, so that they say nothing of the
    product; `benchmarks/modal_makespan.md` has a quiet machine's figure against the handlers' lengths alone.
    """
    course = makespan.run(plane, TWENTY, tmp_path / "run", UNIT_S, api_url)
    assert course.critical_s == 20 * UNIT_S
    assert course.chain == ["first", "x_c", "p_7", "r_0"]
    assert course.makespan_s <= 1.05 * course.calls_critical_s, course.overheads()
