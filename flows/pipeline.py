"""What every flow of the programme does with a job: models → data → smoke test → calls → assessment.

Thin on purpose: Prefect runs the tasks side by side, retries, caches and keeps the history; the planner says what the
steps are; the backend runs them; the records decide. This module only puts them in order, keeps each run's `run.json`
up to date, and hears a cancel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import httpx
from prefect import allow_failure
from prefect.exceptions import TerminationSignal
from prefect.futures import PrefectFuture, wait
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Cancelled, Failed, State
from prefect.task_runners import ThreadPoolTaskRunner

from flows import budget, cancellation, failure, heartbeat, logs, mirror, story, zombies
from flows.deployed import deployment_name, is_deployed
from flows.outcome import Outcome
from flows.progress import Progress
from foresight import interrupts
from foresight.compute import ledger, planner, purse
from foresight.compute.backend import Backend, Call
from foresight.compute.local import LocalBackend, modules_for
from foresight.compute.planner import StepPlan
from foresight.compute.purse import OverBudget
from foresight.compute.rates import rates_of
from foresight.compute.request import Job
from foresight.compute.tracking import Tracker, earlier_record
from foresight.errors import StepFailed, UserError
from foresight.home import Home
from foresight.results import table
from tasks import news
from tasks.assessment import assess, stub
from tasks.calls import call_key, is_done, task_for, task_name
from tasks.preparation import make_model_available, prepare_data, prepare_remotely, refused

CANCEL_CHECK_S = 1.0
# Threads that wait, not processes that work: the backend's slots bound those.
CALLS: Any = ThreadPoolTaskRunner(max_workers=64)


def ended(work: Callable[[], Outcome]) -> Outcome | State:
    """How a flow ends: a run in which something failed is a failed flow run with its results kept, and a refusal is one
    with its one sentence, in the log too, where an exception would leave its traceback."""
    logs.for_reading()
    try:
        with heartbeat.sent():
            outcome = work()
    except UserError as refusal:
        news.if_nightly_failed(str(refusal))
        return refused(refusal)
    except TerminationSignal as signalled:
        if not is_deployed():
            return _stopped(interrupts.Interrupted(signalled.signal))
        if cancellation.is_wanted():
            cancellation.tell(Home.from_environment(), current_run_id())
        raise
    except httpx.TransportError as error:  # nobody to tell, unless the server comes back at the very end
        lost = StepFailed(f"the Prefect server did not answer for minutes: {error}", cause="lost", retryable=True)
        return Failed(message=str(lost), data=lost)
    except KeyboardInterrupt as error:
        if is_deployed() or (stopped := interrupts.behind(error)) is None:
            raise
        return _stopped(stopped)
    except Exception as error:
        if stopped := interrupts.behind(error):
            return _stopped(stopped)
        news.if_nightly_failed(f"{type(error).__name__}: {error}")
        raise
    if outcome.run_id:
        purse.close_account(Home.from_environment(), outcome.run_id)
    if not (outcome.failed or outcome.stopped):
        return outcome
    news.if_nightly_failed(message := outcome.stopped or f"failed: {', '.join(outcome.failed)}")
    # A shell wants the results of a failed run too; the engine of a deployed one takes nothing but an exception.
    data = StepFailed(message, cause="exception", retryable=False) if is_deployed() else outcome
    # In a shell, where no worker does it; and Prefect takes no other end of a run that is cancelling.
    if ledger.cancel_requested(Home.from_environment(), outcome.run_id) or cancellation.is_wanted():
        return Cancelled(message=cancellation.MESSAGE, data=data)
    return Failed(message=message, data=data)


def _stopped(by: interrupts.Interrupted) -> State:
    """From a shell. Raised, it would be told as a crash."""
    return Cancelled(message=f"stopped by {by.by}; what is finished is kept", data=by)


def current_run_id() -> str:
    """Sorts by time, and stays the same when Prefect retries the flow run."""
    return f"{flow_run.scheduled_start_time:%Y%m%d-%H%M%S}-{str(flow_run.id)[:6]}"


def run_job(job: Job, home: Home) -> Outcome:
    """Run a job inside a flow. A step that fails neither stops its siblings nor hides their results."""
    home.require_writable()
    run_id = current_run_id()
    with zombies.written_down(home), mirror.of_run(home, run_id) as beside:
        return _run_job(job, home, run_id, beside)


def _run_job(job: Job, home: Home, run_id: str, beside: mirror.Mirror) -> Outcome:
    ledger.clear_cancel(home, run_id)
    if job.skipped:
        get_run_logger().warning(f"skipped, no handlers yet: {', '.join(job.skipped)}")
    tracker = Tracker(home, job, run_id, started_by=deployment_name())
    failed: tuple[str, ...] = ()
    stopped = ""
    if job.request.stub_mode:
        tracker.begin(None)
        wait([stub.submit(s.experiment.short, sub.id) for s in job.selections for sub in s.sub_experiments])
    else:
        failed, stopped = _measure(job, home, run_id, tracker, beside)
    cancelled = (failed or stopped) and ledger.cancel_requested(home, run_id)
    tracker.finish("cancelled" if cancelled else "failed" if failed or stopped else "completed")
    documents = tracker.documents()
    wait([assess.submit(s.experiment.short, documents[s.experiment.id], run_id, home) for s in job.selections])
    if is_deployed():  # a shell prints its own
        for experiment_id, document in documents.items():
            shown = table.experiment(document, home.results / experiment_id)
            get_run_logger().info("\n" + logs.as_text(shown))
    if stopped:
        get_run_logger().error(stopped)
    return Outcome(run_id, documents, failed, stopped)


def _measure(job: Job, home: Home, run_id: str, tracker: Tracker, beside: mirror.Mirror) -> tuple[tuple[str, ...], str]:
    """Labels of what failed, and what to tell if the budget stopped it."""
    with closing(_backend(job, home)) as backend:
        backend.warm_up()
        prepare(job, run_id, home)
        plan = planner.plan_steps(job, home, run_id)
        for line in planner.withdraw_broken(plan, home, job.request.compute):
            get_run_logger().warning(line)
        _announce(plan, job, home)
        tracker.begin(plan)
        beside.begin(plan)
        budget.begin(job, backend, home, run_id)
        try:
            failed = tuple(_run_calls(plan, backend, run_id, home, tracker))
            if failed and ledger.cancel_requested(home, run_id):
                return (), cancellation.left_undone(job)
            return failed, budget.stopped(job, plan, home, run_id)
        except BaseException as error:  # Ctrl-C or a cancel: the run says so, then it goes on upwards
            meant = ledger.cancel_requested(home, run_id) or isinstance(error, KeyboardInterrupt)
            tracker.finish("cancelled" if meant else "failed")
            raise


def _backend(job: Job, home: Home) -> Backend:
    if job.request.compute == "modal":
        from foresight.compute.modal_backend import ModalBackend  # the client takes a second to import

        return ModalBackend(home, rates=rates_of(job.request.compute))
    return LocalBackend(home, preload=modules_for(job))


def run_smoke_test(job: Job, home: Home) -> Outcome:
    """The smoke step of a job, alone."""
    run_id = current_run_id()
    ledger.clear_cancel(home, run_id)
    prepare(job, run_id, home)
    step = planner.plan_steps(job, home, run_id).smoke
    if step is None:
        return Outcome(run_id, {}, ())
    with closing(_backend(job, home)) as backend:
        failures = _follow([_submit(Call((step,)), [], backend, run_id, home)], backend, run_id, home, None)
    return Outcome(run_id, {}, tuple(failures))


def prepare(job: Job, run_id: str, home: Home) -> None:
    """Models and data sets side by side, where the steps will run. Raises one `UserError` with all that is missing."""
    if job.request.compute == "modal":
        future = prepare_remotely.submit(
            planner.model_specs(job), planner.data_specs(job), planner.splits(job), job.seeds, run_id, home
        )
        try:
            while not wait([future], timeout=CANCEL_CHECK_S).done:
                if cancellation.is_wanted():
                    ledger.request_cancel(home, run_id)
        except BaseException:
            ledger.request_cancel(home, run_id)
            raise
        future.result()
        return
    futures: list[PrefectFuture[Any]] = [
        make_model_available.submit(s, home) for s in planner.model_specs(job).values()
    ]
    splits = planner.splits(job)
    futures += [
        prepare_data.submit(spec, splits[name], job.seeds, home) for name, spec in planner.data_specs(job).items()
    ]
    refusals = []
    for future in futures:
        try:
            future.result()
        except UserError as refusal:
            refusals.append(refusal)
    if len(refusals) == 1:
        raise refusals[0]
    if refusals:
        raise UserError("\n  - ".join(["nothing was started:", *map(str, refusals)]))


def _announce(plan: StepPlan, job: Job, home: Home) -> None:
    say = get_run_logger().info
    open_steps = [step for step in plan.steps if not is_done(step, home)]
    say(story.beginning(job, len(plan.steps), len(plan.steps) - len(open_steps)))
    if job.brought_along:
        say(job.brought_along)
    reasons = {step.fingerprint: planner.why(step, earlier_record(home, step)) for step in open_steps}
    calls = [*([Call((plan.smoke,))] if plan.smoke else []), *plan.calls()]
    for line in story.to_run(calls, reasons):
        say(line)


def _run_calls(plan: StepPlan, backend: Backend, run_id: str, home: Home, tracker: Tracker) -> list[str]:
    """Submit every call, each waiting for those that make what it needs. Returns the labels of what failed."""
    if plan.smoke:
        failures = _follow([_submit(Call((plan.smoke,)), [], backend, run_id, home)], backend, run_id, home, tracker)
        cancelled = bool(failures) and ledger.cancel_requested(home, run_id)
        if cancelled or purse.refusal(home, run_id):
            for step in plan.seeded.values():
                tracker.step_not_started(step, "cancelled" if cancelled else "not started: the budget did not allow it")
            return list(failures)
        if failures:
            get_run_logger().error("the smoke test failed, so nothing else is run")
            for step in plan.seeded.values():
                tracker.step_ended(step, "not run: the smoke test failed")
            return list(failures)
    made_by: dict[str, PrefectFuture[Any]] = {}
    submitted = []
    for call in plan.calls():
        upstream = {id(made_by[fp]): made_by[fp] for s in call.steps for fp in s.needs.values() if fp in made_by}
        future = _submit(call, list(upstream.values()), backend, run_id, home)
        submitted.append(future)
        made_by.update({step.fingerprint: future[1] for step in call.steps})
    return list(_follow(submitted, backend, run_id, home, tracker))


Submitted = tuple[Call, PrefectFuture[Any]]


def _submit(call: Call, upstream: list[PrefectFuture[Any]], backend: Backend, run_id: str, home: Home) -> Submitted:
    future = task_for(call, home).submit(
        call_key(call),
        task_name(call, home),
        call,
        backend,
        run_id,
        home,
        wait_for=[allow_failure(f) for f in upstream],
    )
    return call, future


def _follow(
    submitted: Sequence[Submitted], backend: Backend, run_id: str, home: Home, tracker: Tracker | None
) -> dict[str, str]:
    """Wait for all, hearing a cancel meanwhile; note each end. Returns label -> error of what failed."""
    pending = {future: call for call, future in submitted}
    progress = Progress([call for call, _ in submitted])
    failures: dict[str, str] = {}
    try:
        while pending:
            over = wait(list(pending), timeout=CANCEL_CHECK_S).done
            for future in over:
                call = pending.pop(future)
                error = _error_of(future)
                if isinstance(error, OverBudget):
                    get_run_logger().warning(f"{call.label} │ {error}")
                    for step in call.steps:
                        if tracker is not None:
                            tracker.step_not_started(step, "not started: the budget did not allow it")
                    continue
                if getattr(error, "cause", "") == "cancelled" and ledger.cancel_requested(home, run_id):
                    failures[call.label] = str(error)  # of the run, by a person; the step may be as good as ever
                    for step in call.steps:
                        if tracker is not None:
                            tracker.step_not_started(step, "cancelled")
                    continue
                if error is not None:
                    failures[call.label] = str(error)
                    get_run_logger().error(
                        failure.report(call, str(error), home, options=_options(), retry=_retry_command())
                    )
                progress.ended(call, error is None)
                if tracker is not None:
                    for step in call.steps:
                        tracker.step_ended(step, None if error is None else str(error))
            if pending and cancellation.is_wanted():
                ledger.request_cancel(home, run_id)
            interrupts.check()
            if not over:  # what waited for those that ended has been started: that comes first
                progress.show()
                if tracker is not None:
                    tracker.show()
    except BaseException:  # Ctrl-C, or Prefect's TerminationSignal, which may be a person's cancel or a shutdown
        if cancellation.is_wanted():
            ledger.request_cancel(home, run_id)
        else:
            backend.let_go(run_id)
        wait(list(pending), timeout=10)
        raise
    progress.show()
    return failures


def _error_of(future: PrefectFuture[Any]) -> BaseException | None:
    future.wait()
    state = future.state
    if state.is_completed():
        return None
    try:
        future.result()
    except Exception as error:  # noqa: BLE001 - a step's end is reported whatever it was, never raised past its siblings
        return error
    return RuntimeError(f"ended as {state.name}")


def _options() -> str:
    plan = flow_run.parameters.get("plan")
    return f" --plan {plan}" if plan else ""


def _retry_command() -> str:
    return f"prefect flow-run retry {flow_run.id}" if is_deployed() else "the same command"
