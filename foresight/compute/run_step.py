"""A call, where it runs: in a local process or in a container, the same.

For each step: is it recorded already, is it what was planned, does nobody else work on it; then an attempt of its own,
its executor, and the record, last. Nothing is raised to the caller: how each step ended is plain JSON, so that an
exception of torch's never has to cross a boundary whose other side has no torch. The one exception is being taken down
by the platform (Ctrl-C, a preempted container), which is passed on once the attempt is closed.

One call at a time in a process: its output is captured at the level of file descriptors.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

from foresight.compute import crash_points, ledger
from foresight.compute.attempt import OpenAttempt, close_failed, close_finished, close_lost, open_attempt
from foresight.compute.backend import Call, StepOutcome
from foresight.compute.capture import CapturedLog, captured
from foresight.compute.causes import trouble_of
from foresight.compute.claim import Claim, Holder, TryClaim, try_claim
from foresight.compute.executors import EXECUTORS, TOGETHER, StepContext, print_progress, resolve
from foresight.compute.journal import JournalWriter
from foresight.compute.publish import publish
from foresight.compute.step import Step
from foresight.compute.usage import Meter
from foresight.compute.verification import hold_code, require_fingerprint, require_identity
from foresight.errors import StepFailed
from foresight.home import Home
from foresight.results.record import StepOutput, finished

__all__ = ["StepContext", "run_call", "steps_to_json"]


def steps_to_json(call: Call) -> list[dict[str, Any]]:
    """What travels to the worker: the steps, each with the fingerprint that it was planned under."""
    return [{**step.to_json(), "fingerprint": step.fingerprint} for step in call.steps]


def _on_disk() -> None:
    """What is written is there."""


def run_call(
    steps_json: Sequence[Mapping[str, Any]],
    home: Home,
    call_id: str,
    run_id: str,
    *,
    executors: Mapping[str, str] = EXECUTORS,
    claims: TryClaim | None = None,
    usd_per_second: float = 0.0,
    echo: bool = False,
    commit: Callable[[], None] = _on_disk,
    attempts_elsewhere: Mapping[str, int] | None = None,
) -> list[StepOutcome]:
    """Run the steps, in order, and say how each ended, in the same order.

    `steps_json` is from `steps_to_json`. `claims` says where claims lie, if not in files under `home`. `echo` shows on
    stdout what goes to the call's log, `ledger/<run-id>/<call-id>.log`. `commit` is called whenever something has been
    written that a dead worker should not take with it, where a file on disk alone does not outlive it.
    `attempts_elsewhere`: fingerprint -> the highest number of an attempt that was made on another machine.
    """
    home = home.resolved()
    outcomes: dict[str, StepOutcome] = {}
    try:
        with (
            JournalWriter(ledger.call_file(home, run_id, call_id, ".journal.jsonl")) as journal,
            captured(ledger.call_file(home, run_id, call_id, ".log"), echo=echo) as log,
        ):
            claims = claims or partial(try_claim, home)
            numbers = attempts_elsewhere or {}
            work = _Work(
                home, call_id, run_id, executors, claims, usd_per_second, log, journal, outcomes, commit, numbers
            )
            for together, group in groupby(steps_json, key=lambda step: step["kind"] in TOGETHER):
                for steps in [list(group)] if together else [[step] for step in group]:
                    work.run(steps)
            journal.over()
    except OSError as error:  # not even the log or the journal could be written
        trouble = trouble_of(error, home.root)
        for step in steps_json:
            failed = StepOutcome(step["fingerprint"], "failed", trouble.cause, trouble.error, trouble.retryable)
            outcomes.setdefault(failed.fingerprint, failed)
    return [outcomes[step["fingerprint"]] for step in steps_json]


@dataclass(frozen=True)
class _Taken:
    """A step that this worker has claimed, with its attempt."""

    step: Step
    claim: Claim
    attempt: OpenAttempt


class _Work:
    """One call's work and what has come of it so far."""

    def __init__(
        self,
        home: Home,
        call_id: str,
        run_id: str,
        executors: Mapping[str, str],
        claims: TryClaim,
        usd_per_second: float,
        log: CapturedLog,
        journal: JournalWriter,
        outcomes: dict[str, StepOutcome],
        commit: Callable[[], None],
        attempts_elsewhere: Mapping[str, int],
    ) -> None:
        self._home, self._call_id, self._run_id = home, call_id, run_id
        self._executors, self._claims, self._usd_per_second = executors, claims, usd_per_second
        self._log, self._journal, self._outcomes = log, journal, outcomes
        self._commit, self._attempts_elsewhere = commit, attempts_elsewhere

    def run(self, steps_json: Sequence[Mapping[str, Any]]) -> None:
        """Run steps that share an executor's call."""
        taken: dict[str, _Taken] = {}
        try:
            for value in steps_json:
                try:
                    self._take(value, taken)
                except Exception as error:  # noqa: BLE001 - the boundary: nothing is raised across it
                    self._fail_untaken(value["fingerprint"], error)
            if taken:
                self._execute(taken)
        finally:
            for each in taken.values():
                each.claim.release()

    def _take(self, value: Mapping[str, Any], taken: dict[str, _Taken]) -> None:
        """Claim the step and open an attempt, unless it is recorded, claimed elsewhere, or not what was planned."""
        stated = value["fingerprint"]
        step = Step.from_json({key: item for key, item in value.items() if key != "fingerprint"})
        require_fingerprint(step, stated)
        if self._is_recorded(step):
            return
        require_identity(step, self._home)
        claim = self._claims(stated, Holder.here(self._call_id, self._run_id))
        if isinstance(claim, Holder):
            self._end(StepOutcome(stated, "claimed_elsewhere", error=f"{claim} works on it", holder=claim.call_id))
            return
        try:
            crash_points.reached("claimed")
            if self._is_recorded(step):  # somebody finished it between the look and the claim
                claim.release()
                return
            close_lost(self._home, stated)
            attempt = open_attempt(
                self._home,
                stated,
                call_id=self._call_id,
                run_id=self._run_id,
                usd_per_second=self._usd_per_second,
                device=step.resources.device,
                adjustments=step.work.get("adjustments", ()),
                log_path=self._log_path(),
                log_offset=self._log.offset(),
                above=self._attempts_elsewhere.get(stated, 0),
            )
            self._commit()
        except BaseException:
            claim.release()
            raise
        crash_points.reached("attempt opened")
        taken[stated] = _Taken(step, claim, attempt)

    def _log_path(self) -> str:
        """Relative to the home where it lies inside."""
        path, root = self._log.path, self._home.root
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)

    def _is_recorded(self, step: Step) -> bool:
        record = finished(self._home, step.fingerprint, step.work.get("refresh"))
        if record is not None:
            self._end(StepOutcome(step.fingerprint, "completed", attempt=record.attempt, seconds=0.0))
        return record is not None

    def _execute(self, taken: Mapping[str, _Taken]) -> None:
        steps = [each.step for each in taken.values()]
        timeout_s = sum(step.resources.timeout_s for step in steps)
        self._journal.begin([each.attempt for each in taken.values()], Call(tuple(steps)).label, timeout_s)
        meter = Meter(steps[0].resources.device, self._usd_per_second)
        contexts = {fingerprint: self._context(each) for fingerprint, each in taken.items()}

        def finish(step: Step, output: StepOutput) -> None:
            try:
                self._publish(taken[step.fingerprint], output, meter)
            except Exception as error:  # noqa: BLE001 - the boundary; a wrong output is not the next step's trouble
                self._fail(taken[step.fingerprint], error, meter)

        try:
            for step in steps:
                hold_code(step)
            execute = resolve(self._executors[steps[0].kind])
            if steps[0].kind in TOGETHER:
                execute(steps, contexts, finish)
            else:
                finish(steps[0], execute(steps[0], contexts[steps[0].fingerprint]))
            for each in self._unended(taken):
                self._fail(each, _invalid(f"its executor returned without finishing {each.step.label}"), meter)
        except BaseException as error:  # the boundary
            for each in self._unended(taken):
                self._fail(each, error, meter)
            if not isinstance(error, (Exception, SystemExit)):  # taken down by the platform
                raise

    def _context(self, taken: _Taken) -> StepContext:
        return StepContext(
            home=self._home,
            attempt_dir=taken.attempt.folder(self._home),
            artifacts_dir=taken.attempt.artifacts(self._home),
            device=taken.step.resources.device,
            progress=print_progress,
            saved=self._commit,
        )

    def _publish(self, taken: _Taken, output: StepOutput, meter: Meter) -> None:
        if not isinstance(output, StepOutput):
            raise _invalid(f"its executor returned {type(output).__name__}, not a StepOutput")
        crash_points.reached("executed")
        usage = meter.lap()
        record = publish(self._home, taken.step, taken.attempt, output, usage)
        close_finished(self._home, taken.attempt, self._log.offset())
        self._commit()
        self._end(StepOutcome(record.fingerprint, "completed", attempt=record.attempt, seconds=usage.seconds))
        taken.claim.release()

    def _fail(self, taken: _Taken, error: BaseException, meter: Meter) -> None:
        trouble = trouble_of(error, self._home.root)
        text = "".join(traceback.format_exception(error))
        print(text, file=sys.stderr)
        seconds = meter.lap().seconds
        close_failed(
            self._home,
            taken.attempt,
            cause=trouble.cause,
            error=trouble.error,
            traceback=text,
            seconds=seconds,
            log_end=self._log.offset(),
        )
        self._commit()
        fingerprint, number = taken.step.fingerprint, taken.attempt.number
        outcome = StepOutcome(fingerprint, "failed", trouble.cause, trouble.error, trouble.retryable, number, seconds)
        self._end(outcome)
        taken.claim.release()

    def _fail_untaken(self, fingerprint: str, error: Exception) -> None:
        """It failed before it had an attempt: nothing was spent."""
        trouble = trouble_of(error, self._home.root)
        print("".join(traceback.format_exception(error)), file=sys.stderr)
        self._end(StepOutcome(fingerprint, "failed", trouble.cause, trouble.error, trouble.retryable))

    def _end(self, outcome: StepOutcome) -> None:
        self._outcomes[outcome.fingerprint] = outcome
        self._journal.end(outcome)

    def _unended(self, taken: Mapping[str, _Taken]) -> list[_Taken]:
        return [each for fingerprint, each in taken.items() if fingerprint not in self._outcomes]


def _invalid(message: str) -> StepFailed:
    return StepFailed(message, cause="invalid_output", retryable=False)
