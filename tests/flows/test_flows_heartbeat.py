"""A run from a shell sends its heartbeats itself; Prefect's would keep it until it is whole seconds old."""

import threading
import time
from datetime import timedelta

import pytest
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, get_current_settings, temporary_settings

from flows import heartbeat
from flows.automations import zombies


@pytest.fixture
def events(monkeypatch):
    sent = []
    monkeypatch.setattr(heartbeat, "emit_event", lambda event, resource: sent.append((event, resource)))
    monkeypatch.setattr(heartbeat, "flow_run", type("FlowRun", (), {"id": "1234", "name": "t1-tiny"}))
    return sent


def until(condition):
    deadline = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_they_are_sent_in_place_of_prefect_s_and_end_with_the_work(events, monkeypatch):
    monkeypatch.setattr(heartbeat, "EVERY_S", 0.02)
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 180}), heartbeat.of_our_own(wanted=True):
        assert get_current_settings().flows.heartbeat_frequency is None, "Prefect's are off"
        with heartbeat.sent():
            until(lambda: len(events) >= 3)
        over = len(events)
    assert "heartbeat" not in {thread.name for thread in threading.enumerate()}
    assert len(events) == over
    assert events == over * [
        (heartbeat.EVENT, {"prefect.resource.id": "prefect.flow-run.1234", "prefect.resource.name": "t1-tiny"})
    ]


@pytest.mark.parametrize("around", [lambda: heartbeat.of_our_own(wanted=False), lambda: temporary_settings({})])
def test_none_where_nobody_looks_or_prefect_sends_them(events, around):
    with around(), heartbeat.sent():
        pass
    assert events == []


def test_no_server_loses_patience_with_a_run_from_a_shell():
    """Whatever the server's own frequency: the least that Prefect takes is 30 s, and it waits for several beats."""
    assert timedelta(seconds=2 * heartbeat.EVERY_S) < zombies(30).trigger.within
