"""One Prefect task per call: submit it, follow it, and hand its outcome to Prefect.

Prefect retries, caches and limits; the record stays the truth. The cache key is the fingerprint of the call's steps,
passed as a parameter, and the persisted result is a small manifest that points at the records. The backend does the
work; this task waits in short slices, so that a cancel is heard at once and log lines arrive live.
"""

from __future__ import annotations

import copy
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import CacheKeyFnPolicy
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, TaskRun
from prefect.logging import get_run_logger
from prefect.runtime import task_run
from prefect.tasks import exponential_backoff

from foresight.compute import ladder, ledger, purse
from foresight.compute.attempt import out_of_memory
from foresight.compute.backend import Backend, Call, LogLine, StepOutcome
from foresight.compute.bill import Bill
from foresight.compute.deadline import Deadline
from foresight.compute.step import Step
from foresight.errors import StepFailed
from foresight.files import sha256_bytes, sha256_file
from foresight.home import Home
from foresight.results.findings import pool_findings
from foresight.results.record import finished, read_record
from tasks.gpus import gpus_in_flight

PROGRESS_EVERY_S = 5.0
_TRACEBACK = "Traceback (most recent call last):"
RETRIES = 2
_LOGGED = re.compile(r"(DEBUG|INFO|WARNING|ERROR|CRITICAL) [\w.]+: ")  # as `foresight.compute.capture` formats it


def call_key(call: Call) -> str:
    """The cache key of a call: its step's fingerprint, or a hash of them all."""
    fingerprints = [step.fingerprint for step in call.steps]
    return fingerprints[0] if len(fingerprints) == 1 else sha256_bytes("\n".join(fingerprints))


def can_be_mended(_task: Any, _run: TaskRun, state: State) -> bool:
    """Retry what a retry can mend (a lost process, a full disk that was freed), never a bug in a handler."""
    try:
        state.result()
    except StepFailed as failure:
        return failure.retryable
    except Exception:  # noqa: BLE001 - Prefect asks about whatever the task raised; what we do not know, no retry mends
        return False
    return False


def _key(_context: Any, parameters: dict[str, Any]) -> str:
    return parameters["key"]


@task(
    task_run_name="{name}",
    persist_result=True,
    result_serializer="json",
    cache_policy=CacheKeyFnPolicy(cache_key_fn=_key),
    retries=RETRIES,
    retry_delay_seconds=exponential_backoff(1),
    retry_condition_fn=can_be_mended,
)
def run_call(key: str, name: str, call: Call, backend: Backend, run_id: str, home: Home) -> dict[str, str]:
    """Run the steps of a call that have no record yet. Returns fingerprint -> sha256 of its record.

    Raises `StepFailed` for the first step that failed, after all that could finish have finished.
    """
    if task_run.run_count > 1:  # Prefect's retry of the task keeps the name of its first attempt
        with get_client(sync_client=True) as client:
            client.set_task_run_name(task_run.id, task_name(call, home))
    logger = get_run_logger()

    def say(text: str) -> None:
        level, text = level_of(text)
        if text.strip():
            logger.log(level, f"{call.label} │ {text}")

    follow(call, backend, run_id, home, say)
    for step in call.steps:
        record = read_record(home, step.fingerprint)
        if record is not None and step.kind == "sub_experiment":
            said = pool_findings([(record.finding_template, record.metrics)]) or record.finding or "nothing was said"
            say(f"found in {record.usage.seconds:.1f} s: {said}")
    return {step.fingerprint: sha256_file(home.record(step.fingerprint)) for step in call.steps}


def task_name(call: Call, home: Home) -> str:
    """`c1/e1_3 seed 0 · A100-40GB`, and which attempt from the second on; what is recorded says so."""
    step = next((step for step in call.steps if not is_done(step, home)), None)
    if step is None:
        return f"{call.label} · recorded"
    made = [int(path.name) for path in home.step(step.fingerprint).glob("attempts/*") if path.name.isdigit()]
    attempt = max(made, default=0) + 1
    return f"{call.label} · {step.resources.device}" + (f" · attempt {attempt}" if attempt > 1 else "")


def level_of(text: str) -> tuple[int, str]:
    """The level of a line that a handler's logger wrote, and its words; a line that was printed is information."""
    found = _LOGGED.match(text)
    if text.startswith(_TRACEBACK):
        return logging.ERROR, text
    if found is None:
        return logging.INFO, text
    level = logging.getLevelNamesMapping()[found[1]]
    return level, text[found.end() :] if level < logging.WARNING else f"{found[1].lower()}: {text[found.end() :]}"


def follow(call: Call, backend: Backend, run_id: str, home: Home, say: Callable[[str], None]) -> None:
    """Submit, pump the log, wait; wait for another run's claim where it has one. Raises `StepFailed`.

    What ran out of memory is tried again as the ladder says; a Prefect retry goes on from where this run had come.
    """
    seen: list[str] = []  # errors of the attempts that ran out of memory
    while True:
        missing = tuple(step for step in call.steps if not is_done(step, home))
        if not missing:
            return
        if ledger.cancel_requested(home, run_id):
            raise StepFailed("cancelled before it started", cause="cancelled", retryable=False)
        if refused := purse.refusal(home, run_id):
            raise purse.OverBudget(f"not started: {refused}")
        require_needs(call, home)
        seen = max(seen, *(out_of_memory(home, step.fingerprint, run_id) for step in missing), key=len)
        tried = ladder.after(Call(missing), backend.rates, seen)
        with gpus_in_flight(tried, backend, lambda: _require_wanted(run_id, home), say):
            outcomes = _one_attempt(call_key(call), tried, backend, run_id, home, say)
        failed = next((outcome for outcome in outcomes.values() if outcome.status == "failed"), None)
        if failed is not None and failed.cause == "out_of_memory":
            changed = ladder.change(tried, backend.rates, failed.error)
            if changed is not None:
                say(f"{changed[1]}; trying again")
                seen = [*seen, failed.error]
                continue
        if failed is not None:
            label = next(step.label for step in missing if step.fingerprint == failed.fingerprint)
            message = failed.error if len(call.steps) == 1 else f"{label}: {failed.error}"
            raise StepFailed(message, cause=failed.cause or "lost", retryable=failed.retryable)
        elsewhere = [o.fingerprint for o in outcomes.values() if o.status == "claimed_elsewhere"]
        if elsewhere:
            say(f"another run is working on {len(elsewhere)} step(s) of this call; waiting for it")
            backend.wait_for_claims(elsewhere, lambda: _require_wanted(run_id, home))


def require_needs(call: Call, home: Home) -> None:
    """A step whose needs have no record cannot run. Raises `StepFailed` naming what is missing."""
    own = {step.fingerprint for step in call.steps}
    for step in call.steps:
        for name, fingerprint in step.needs.items():
            if fingerprint not in own and not home.record(fingerprint).exists():
                raise StepFailed(
                    f"{step.label}: needs {name}, which has no record: it failed, or was not allowed to run",
                    cause="needs",
                    retryable=False,
                )


def _one_attempt(
    key: str, call: Call, backend: Backend, run_id: str, home: Home, say: Callable[[str], None]
) -> Mapping[str, StepOutcome]:
    bill = Bill(home, run_id, key, call, backend.rates)
    bill.reserve()
    try:
        call_id = backend.submit(call, run_id=run_id)
    except StepFailed:
        bill.drop()
        raise
    say(backend.introduce(call_id) or "starts")
    deadline, stopped_for, cancelled = Deadline(home, run_id, call), None, False
    cursor, reports = 0, Reports()

    def show(lines: Sequence[LogLine]) -> None:
        for line in reports.due(whole_tracebacks(newest_progress(lines))):
            text = line.text if line.progress is None else f"{line.progress:4.0%}  {line.text}"
            say(text if line.step in (None, call.label) or line.progress is not None else f"{line.step}: {text}")

    while True:
        state = backend.poll(call_id, backend.poll_s)
        lines, cursor = backend.logs(call_id, cursor)
        show(lines)
        if lines:
            bill.works()
        if state != "running":
            backend.late_logs(call_id, cursor, show)  # what needs this call does not wait for them
            asked = {step.fingerprint for step in call.steps}  # a call that was attached to may have others too
            outcomes = {o.fingerprint: o for o in backend.outcome(call_id) if o.fingerprint in asked}
            bill.settle(call_id, outcomes.values())
            if stopped_for is not None and any(outcome.status == "failed" for outcome in outcomes.values()):
                raise stopped_for
            return outcomes
        if not cancelled:
            stopped_for = bill.outgrown() or deadline.passed()
            if stopped_for is not None or ledger.cancel_requested(home, run_id):
                backend.cancel(call_id)
                cancelled = True


class Reports:
    """Progress reports, but of each step not more than one in `every_s` seconds. Other lines pass."""

    def __init__(self, every_s: float = PROGRESS_EVERY_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_s, self._clock = every_s, clock
        self._shown: dict[str | None, float] = {}

    def due(self, lines: Sequence[LogLine]) -> list[LogLine]:
        return [line for line in lines if line.progress is None or self._is_due(line.step)]

    def _is_due(self, step: str | None) -> bool:
        now = self._clock()
        if now - self._shown.get(step, float("-inf")) < self._every_s:
            return False
        self._shown[step] = now
        return True


def whole_tracebacks(lines: Sequence[LogLine]) -> list[LogLine]:
    """A traceback is one entry of the log and not thirty; what stands between, of whatever step, keeps its place."""
    found: list[LogLine] = []
    for line in lines:
        last = found[-1] if found else None
        goes_on = last is not None and last.step == line.step and _is_open(last.text) and line.progress is None
        if last is not None and goes_on:
            found[-1] = LogLine(f"{last.text}\n{line.text}", None, line.step)
        else:
            found.append(line)
    return found


def _is_open(text: str) -> bool:
    """Whether it is a traceback that has not come to its exception yet, which is its first line without an indent."""
    return text.startswith(_TRACEBACK) and text.rpartition("\n")[2].startswith((" ", _TRACEBACK))


def newest_progress(lines: Sequence[LogLine]) -> list[LogLine]:
    """The lines without progress reports that another one right behind them has overtaken."""

    def overtaken(line: LogLine, behind: LogLine | None) -> bool:
        both_report = line.progress is not None and behind is not None and behind.progress is not None
        return both_report and behind is not None and behind.step == line.step

    return [line for line, behind in zip_longest(lines, lines[1:]) if not overtaken(line, behind)]


def _require_wanted(run_id: str, home: Home) -> None:
    if ledger.cancel_requested(home, run_id):
        raise StepFailed("cancelled while waiting", cause="cancelled", retryable=False)


def task_for(call: Call, home: Home) -> Any:
    """`run_call` with its results under FORESIGHT_HOME; a cached manifest whose record is gone is not believed.

    Its name is what the UI shows of a call that waits for others, with a few letters of Prefect's behind it."""
    storage: Path = home.prefect / "results"
    one = copy.copy(_configured(storage, all(is_done(step, home) for step in call.steps)))
    one.name = call.label
    return one


@cache
def _configured(storage: Path, recorded: bool) -> Any:
    """Once and not for each call: Prefect reads and hashes the source of the function each time."""
    return run_call.with_options(result_storage=storage, refresh_cache=not recorded)


def is_done(step: Step, home: Home) -> bool:
    return finished(home, step.fingerprint, step.work.get("refresh")) is not None
