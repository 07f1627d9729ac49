"""What a call shows of its log, and which failures a retry is offered."""

from __future__ import annotations

import pytest
from prefect.states import Completed, Failed

from foresight.compute.backend import LogLine
from foresight.errors import StepFailed
from tasks.calls import can_be_mended, newest_progress


def test_only_the_newest_of_reports_that_overtake_each_other_is_shown_and_no_line_is_lost():
    lines = [
        LogLine("starts", None, "a"),
        LogLine("epoch 1", 0.1, "a"),
        LogLine("epoch 2", 0.2, "a"),
        LogLine("a warning", None, "a"),
        LogLine("epoch 3", 0.3, "a"),
        LogLine("epoch 1", 0.1, "b"),
    ]
    assert [line.text for line in newest_progress(lines)] == ["starts", "epoch 2", "a warning", "epoch 3", "epoch 1"]
    assert newest_progress([]) == []


@pytest.mark.parametrize(
    ("error", "mended"),
    [
        (StepFailed("its process vanished", cause="lost", retryable=True), True),
        (StepFailed("a bug", cause="exception", retryable=False), False),
        (RuntimeError("who knows"), False),
    ],
)
def test_a_retry_is_for_what_a_retry_can_mend(error: Exception, mended: bool):
    assert can_be_mended(None, None, Failed(data=error)) is mended


def test_what_is_completed_is_not_retried():
    assert can_be_mended(None, None, Completed(data=1)) is False
