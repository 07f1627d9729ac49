"""What a call shows of its log, and which failures a retry is offered."""

from __future__ import annotations

import logging

import pytest
from prefect.states import Completed, Failed

from foresight.compute.backend import Call, LogLine
from foresight.compute.step import Resources, Step
from foresight.errors import StepFailed
from foresight.home import Home
from tasks.calls import Reports, can_be_mended, level_of, newest_progress, task_name, whole_tracebacks


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


def test_a_traceback_is_one_entry_of_the_log_and_an_error():
    texts = [
        "at work",
        "Traceback (most recent call last):",
        '  File "x.py", line 1, in f',
        "    f()",
        "ValueError: no",
        "bye",
    ]
    entries = whole_tracebacks([LogLine(text, None, "a") for text in texts])
    assert [entry.text for entry in entries] == ["at work", "\n".join(texts[1:5]), "bye"]
    assert level_of(entries[1].text)[0] == logging.ERROR
    between = [LogLine(texts[1], None, "a"), LogLine("other", None, "b"), LogLine("  File", None, "a")]
    assert whole_tracebacks(between) == between  # two steps at once: no line changes its step


def test_a_chatty_step_reports_its_progress_once_in_a_while_and_loses_no_line():
    now = [0.0]
    reports = Reports(every_s=5.0, clock=lambda: now[0])
    shown = []
    for second in range(12):
        now[0] = float(second)
        shown += reports.due([LogLine(f"epoch {second}", second / 12, "a"), LogLine(f"line {second}", None, "a")])
    assert [line.text for line in shown if line.progress is not None] == ["epoch 0", "epoch 5", "epoch 10"]
    assert sum(line.progress is None for line in shown) == 12
    assert len(reports.due([LogLine("epoch 1", 0.1, "b")])) == 1  # another step has its own clock


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


@pytest.mark.parametrize(
    ("line", "level", "said"),
    [
        ("INFO foresight.features.extract: loaded once", logging.INFO, "loaded once"),
        ("WARNING foresight.x: slow", logging.WARNING, "warning: slow"),
        ("ERROR a.b: broken", logging.ERROR, "error: broken"),
        ("INFORMATION is all", logging.INFO, "INFORMATION is all"),
        ("printed", logging.INFO, "printed"),
    ],
)
def test_a_line_keeps_the_level_that_its_handler_gave_it(line: str, level: int, said: str):
    assert level_of(line) == (level, said)


def test_a_task_is_named_by_its_step_where_it_runs_and_which_attempt(tmp_path):
    home = Home(tmp_path)
    step = Step("sub_experiment", "c1/e1_3 seed 0", "real", {"x": 1}, resources=Resources(device="A100-40GB"))
    assert task_name(Call((step,)), home) == "c1/e1_3 seed 0 · A100-40GB"
    (home.step(step.fingerprint) / "attempts" / "1").mkdir(parents=True)
    assert task_name(Call((step,)), home) == "c1/e1_3 seed 0 · A100-40GB · attempt 2"
