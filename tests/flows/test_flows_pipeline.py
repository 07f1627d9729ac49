"""What the pipeline makes of a Prefect server: cannot reach is neither failed nor cancelled."""

from __future__ import annotations

from types import SimpleNamespace

import httpx
import pytest
from prefect.logging import disable_run_logger

from flows import pipeline
from foresight.errors import UserError


class Client:
    def __init__(self, answer):
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
def test_only_a_person_cancels(monkeypatch: pytest.MonkeyPatch, answer, cancelling: bool):
    monkeypatch.setattr(pipeline, "get_client", lambda sync_client: Client(answer))
    monkeypatch.setattr(pipeline, "flow_run", SimpleNamespace(id="a-run"))
    with disable_run_logger():
        assert pipeline._cancelling() is cancelling


def test_a_refusal_ends_the_flow_with_its_sentence_and_a_bug_is_not_hidden():
    def refuse():
        raise UserError("No. Because. Do this.")

    ended = pipeline.ended(refuse)
    assert ended.is_failed()
    assert ended.message == "No. Because. Do this."

    def bug():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        pipeline.ended(bug)
