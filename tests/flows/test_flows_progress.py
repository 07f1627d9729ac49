import pytest

from flows import progress
from flows.progress import Progress


class Calls:
    def __init__(self, *labels):
        self.all = [type("Call", (), {"label": label})() for label in labels]


@pytest.fixture
def page(monkeypatch):
    """What the page shows, one entry a request."""
    shown = []

    def show(share, description):
        shown.append((share, description))
        return "id"

    monkeypatch.setattr(progress, "create_progress_artifact", show)
    monkeypatch.setattr(progress, "update_progress_artifact", lambda _id, share, description: show(share, description))
    return shown


def test_an_end_is_shown_at_once(page):
    now = [0.0]
    calls = Calls("a", "b").all
    bar = Progress(calls, clock=lambda: now[0])
    now[0] = 60.0
    bar.ended(calls[0], True)
    now[0] = 120.0
    bar.ended(calls[1], False)
    assert page == [
        (0.0, "0 of 2 calls are over"),
        (50.0, "1 of 2 calls are over; last: a"),
        (100.0, "2 of 2 calls are over, 1 failed; last: b"),
    ]


def test_ends_close_together_are_one_request_and_none_is_lost(page):
    now = [0.0]
    calls = Calls(*map(str, range(50))).all
    bar = Progress(calls, clock=lambda: now[0])
    for call in calls:
        now[0] += 0.1
        bar.ended(call, True)
    assert len(page) <= 1 + 5
    bar.show()
    assert page[-1] == (100.0, "50 of 50 calls are over; last: 49")
    shown = len(page)
    bar.show()
    assert len(page) == shown


def test_a_single_call_has_no_bar(page):
    calls = Calls("a").all
    bar = Progress(calls)
    bar.ended(calls[0], True)
    bar.show()
    assert page == []
