"""What a person reads in a flow run's log: the story at the start, no chatter, no token, and a failure that helps."""

from __future__ import annotations

import logging

import httpx
import pytest
from rich.table import Table

from flows import failure, logs, story
from foresight.compute.backend import Call
from foresight.compute.request import RunRequest, resolve
from foresight.compute.step import Step
from foresight.files import write_json
from foresight.home import Home
from foresight.results.record import Attempt


def step(label: str, kind="sub_experiment") -> Step:
    sub = label.partition("/")[2].partition(" ")[0]
    return Step(kind, label, "tiny", {"kind": kind, "label": label, "experiment": "t1-toy", "sub_experiment": sub})


def test_the_log_begins_with_what_will_run_and_why(toy):
    job = resolve(RunRequest(("t1",), plan=toy.plan))
    assert story.beginning(job, 4, 3) == (
        "t1 · profile tiny · seeds 0, 1 · local: 4 steps, 3 recorded and not computed again, 1 to run"
    )
    extract = [step("vlm X2 photos", "extract"), step("vlm X3 photos", "extract")]
    seeds = [step("t1/t_a seed 0"), step("t1/t_a seed 1"), step("t1/t_b seed 0")]
    calls = [Call(tuple(extract)), *(Call((one,)) for one in seeds)]
    reasons = {one.fingerprint: "first time" for one in (*extract, seeds[0], seeds[1])}
    reasons[seeds[2].fingerprint] = "changed: code"
    assert story.to_run(calls, reasons) == [
        "to run, first time: vlm X2 photos and 1 more of the same model, t1/t_a seeds 0 1",
        "to run, changed: code: t1/t_b seed 0",
    ]
    assert story.to_run(calls, {}) == []


@pytest.mark.filterwarnings("ignore:Logger .* attempted to send logs")
def test_chatter_is_left_out_words_stay_and_tokens_are_blacked_out(caplog, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "correct-horse-battery")
    logs.for_reading()
    logs.for_reading()
    logger = logging.getLogger("prefect.task_runs")
    monkeypatch.setattr(logger, "propagate", True)
    with caplog.at_level(logging.INFO, logger="prefect.task_runs"):
        logger.info("Finished in state Completed()")
        logger.info("%s found with %s", "t_a", "correct-horse-battery")
        logger.warning("a warning")
    assert [record.getMessage() for record in caplog.records] == ["t_a found with ********", "a warning"]


def test_a_server_that_is_gone_is_one_line_and_no_traceback(caplog):
    logs.for_reading()
    with caplog.at_level(logging.INFO):
        try:
            raise httpx.ConnectError("connection refused")
        except httpx.ConnectError:
            logging.getLogger("prefect.flow_runs").exception("Encountered exception during execution: refused")
    (line,) = caplog.records
    assert line.getMessage().endswith("refused")
    assert "Traceback" not in logging.Formatter().format(line)


def test_a_table_is_text_without_colours():
    table = Table("criterion", "verdict")
    table.add_row("lpips", "[red]met[/red]")
    assert "lpips" in logs.as_text(table)
    assert "\x1b" not in logs.as_text(table)


@pytest.mark.parametrize("cause", ["exception", "timeout"])
def test_a_failure_shows_its_cause_its_last_lines_and_the_next_command(tmp_path, cause):
    home, failed = Home(tmp_path), step("t1/t_b seed 0")
    for number in (1, 2):
        folder = home.step(failed.fingerprint) / "attempts" / str(number)
        folder.mkdir(parents=True)
        (folder / "log.txt").write_text(f"attempt {number}\nat work\nwith hf_{'a1B2' * 9}\n    ^^^^\nthe last line\n\n")
        entry = Attempt(
            fingerprint=failed.fingerprint, number=number, cause=cause, error="boom", seconds=1.0, cost_usd=0.0,
            started_at="", finished_at="",
        )  # fmt: skip
        write_json(folder / "attempt.json", entry.model_dump())
    report = failure.report(Call((failed,)), "boom", home, options=" --plan p.yaml", retry="prefect flow-run retry 7")
    assert report.startswith(f"t1/t_b seed 0 failed in attempt 2 ({cause}): boom")
    assert "  | attempt 2\n  | at work\n  | with ********\n  | the last line\n" in report
    assert report.endswith("prefect flow-run retry 7")
    breakpoint_ = "foresight run t1-toy --sub-experiment t_b --profile tiny --plan p.yaml --in-process"
    assert (breakpoint_ in report) is (cause == "exception")


def test_a_call_that_never_began_is_reported_too(tmp_path):
    report = failure.report(Call((step("t1/t_a seed 0"),)), "needs x", Home(tmp_path), options="", retry="again")
    assert report.splitlines()[0] == "t1/t_a seed 0 failed: needs x"
