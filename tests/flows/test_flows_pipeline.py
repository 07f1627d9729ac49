"""How a flow ends."""

from __future__ import annotations

import httpx
import pytest

from flows import pipeline
from foresight.errors import UserError


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


def test_a_server_that_is_gone_for_good_ends_the_flow_in_a_sentence():
    def unreachable():
        raise httpx.ConnectError("connection refused")

    ended = pipeline.ended(unreachable)
    assert ended.is_failed()
    assert ended.message == "the Prefect server did not answer for minutes: connection refused"
