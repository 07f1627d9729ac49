"""The automation that marks lost flow runs waits long enough for healthy ones, and knows every way to end."""

from __future__ import annotations

import pytest

from flows.automations import zombies
from flows.heartbeat import EVENT


@pytest.mark.parametrize("heartbeat_s", [30, 180])
def test_a_late_beat_crashes_no_healthy_run(heartbeat_s: int):
    trigger = zombies(heartbeat_s).trigger
    assert trigger.within.total_seconds() >= 3 * heartbeat_s
    assert trigger.after == {EVENT}
    assert EVENT in trigger.expect


@pytest.mark.parametrize("end", ["Completed", "Failed", "Cancelled", "Crashed", "Paused"])
def test_a_run_that_has_ended_or_waits_for_a_person_is_not_missed(end: str):
    assert f"prefect.flow-run.{end}" in zombies(30).trigger.expect
