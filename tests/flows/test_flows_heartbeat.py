"""A run from a shell sends its heartbeats itself; Prefect's would keep it until it is whole seconds old."""

import threading
import time

import pytest
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, get_current_settings, temporary_settings

from flows import heartbeat


@pytest.fixture
def events(monkeypatch):
    sent = []
    monkeypatch.setattr(heartbeat, "emit_event", lambda event, resource: sent.append((event, resource)))
    monkeypatch.setattr(heartbeat, "flow_run", type("FlowRun", (), {"id": "1234", "name": "t1-tiny"}))
    return sent


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_they_are_sent_as_often_as_prefect_s_and_end_with_the_work(events):
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 30}), heartbeat.of_our_own(wanted=True):
        assert get_current_settings().flows.heartbeat_frequency is None, "Prefect's are off"
        assert heartbeat._every_s.get() == 30
        heartbeat._every_s.set(0.02)
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
