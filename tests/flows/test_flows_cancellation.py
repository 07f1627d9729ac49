"""Only a person cancels, and the log says what came of it."""

from __future__ import annotations

from types import SimpleNamespace

import httpx
import pytest
from prefect.logging import disable_run_logger

from flows import cancellation
from foresight.compute import ledger
from foresight.compute.ledger import CallEntry, StepEntry
from foresight.home import Home


class Client:
    def __init__(self, answer=None):
        self._answer = answer

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def read_flow_run(self, _):
        if isinstance(self._answer, Exception):
            raise self._answer
        return SimpleNamespace(state=self._answer)


def state(cancelling: bool) -> SimpleNamespace:
    return SimpleNamespace(is_cancelling=lambda: cancelling, is_cancelled=lambda: False)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch):
    def answers(client: Client) -> Client:
        monkeypatch.setattr(cancellation, "get_client", lambda sync_client: client)
        monkeypatch.setattr(cancellation, "flow_run", SimpleNamespace(id="a-run"))
        return client

    with disable_run_logger():
        yield answers


@pytest.mark.parametrize(
    ("answer", "cancelling"),
    [
        (state(True), True),
        (state(False), False),
        (None, False),
        (httpx.ConnectError("connection refused"), False),
        (httpx.ReadTimeout("slow"), False),
    ],
)
def test_only_a_person_cancels(server, answer, cancelling: bool):
    server(Client(answer))
    assert cancellation.is_wanted() is cancelling


@pytest.mark.parametrize(("call", "told"), [("running", "not known to have stopped yet: t1/t_a"), ("ended", "is kept")])
def test_a_cancelled_run_says_what_may_still_go_on(server, tmp_path, monkeypatch, call, told):
    home = Home(tmp_path)
    server(Client())
    said: list[str] = []
    monkeypatch.setattr(cancellation, "get_run_logger", lambda: SimpleNamespace(warning=said.append))
    step = StepEntry(label="t1/t_a seed 0", fingerprint="f" * 64)
    entry = CallEntry(
        call_id="fc-1", run_id="run-1", backend="modal", steps=(step,), state=call, submitted_at=ledger.now()
    )
    ledger.write_call(home, entry)
    cancellation.tell(home, "run-1")
    assert told in said[0]
