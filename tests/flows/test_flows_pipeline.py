"""How a flow ends."""

from __future__ import annotations

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
