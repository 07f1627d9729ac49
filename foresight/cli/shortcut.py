"""A job without Prefect: answered from the records, or run in this very process."""

from __future__ import annotations

import logging
import secrets
from datetime import UTC, datetime
from typing import Any

from foresight.compute import planner
from foresight.compute.backend import Call
from foresight.compute.request import Job
from foresight.compute.run_step import run_call, steps_to_json
from foresight.compute.threads import one_thread
from foresight.compute.tracking import Tracker
from foresight.home import Home
from foresight.results import runs, view
from foresight.results.record import read_record


def recorded_already(job: Job, home: Home) -> dict[str, dict[str, Any]] | None:
    """The results, if every step of the job has a sound record; None if there is anything to do.

    Where the newest run of an experiment is not about exactly these steps (its plan or code was changed and changed
    back), a run is entered that is, so that what is shown is what was asked for. A results.yaml that was edited or
    damaged is written again.
    """
    if job.request.refresh:
        return None
    try:
        plan = planner.plan_steps(job, home, "")
    except planner.Unprepared:
        return None
    if planner.changed_since_read(plan, home):
        return None
    for step in plan.steps:
        if planner.state_of(step, home) != "recorded":
            return None
        record = read_record(home, step.fingerprint)
        if record is None or not planner.is_sound(record, home, thorough=False):
            return None
    run_id = _covering_run(job, plan, home)
    if run_id is None:
        run_id = new_run_id()
        tracker = Tracker(home, job, run_id)
        tracker.begin(plan)
        for step in plan.seeded.values():
            tracker.step_ended(step, None)
        tracker.finish("completed")
    else:
        for selection in job.selections:
            view.rebuild(home, selection.experiment.id)
    return Tracker(home, job, run_id).documents()


def new_run_id() -> str:
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def _covering_run(job: Job, plan: planner.StepPlan, home: Home) -> str | None:
    """The newest run of every experiment of the job, if it is one run and is about exactly these steps."""
    found = set()
    for selection in job.selections:
        all_runs = [run for run in runs.list_runs(home, selection.experiment.id) if run.level == job.profile.name]
        newest = all_runs[-1] if all_runs else None
        if newest is None or newest.status != "completed" or newest.plan_hash != selection.experiment.hash:
            return None
        for sub in selection.sub_experiments:
            wanted = {seed: step.fingerprint for seed, step in plan.of(selection.experiment.id, sub.id).items()}
            if newest.sub_experiments[sub.id].steps != wanted:
                return None
        found.add(newest.run_id)
    return found.pop() if len(found) == 1 else None


def run_in_process(job: Job, home: Home) -> tuple[dict[str, dict[str, Any]], tuple[str, ...]]:
    """Every step here, one after another, so that a breakpoint in a handler works. No Prefect, no isolation.

    Of a job for Modal only what handlers do is done here, on inputs that are fetched from there.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    run_id = new_run_id()
    tracker = Tracker(home, job, run_id)
    failed: list[str] = []
    if job.request.stub_mode:
        tracker.begin(None)
    else:
        plan, calls = (_fetched if job.request.compute == "modal" else _prepared)(job, home, run_id)
        tracker.begin(plan)
        if job.brought_along:
            print(job.brought_along, flush=True)
        try:
            with one_thread():
                for call in calls:
                    failed += _run(call, home, run_id, tracker)
        except BaseException:  # Ctrl-C, or the end of a debugger
            tracker.finish("cancelled")
            raise
    tracker.finish("failed" if failed else "completed")
    return tracker.documents(), tuple(failed)


def _prepared(job: Job, home: Home, run_id: str) -> tuple[planner.StepPlan, list[Call]]:
    """Models and data, then every step."""
    from foresight.data.dataset import prepare
    from foresight.models.download import make_available

    for model in planner.model_specs(job).values():
        make_available(model, home, forward=False)
    for data in planner.data_specs(job).values():
        prepare(data, home)
    plan = planner.plan_steps(job, home, run_id)
    planner.withdraw_broken(plan, home)
    return plan, [*([Call((plan.smoke,))] if plan.smoke else []), *plan.calls()]


def _fetched(job: Job, home: Home, run_id: str) -> tuple[planner.StepPlan, list[Call]]:
    """Manifests and features from the volumes, and the seeds that have no record. Handlers open data sets here.

    Raises `StepFailed` if an extraction has no record on the volume: that is for a run on Modal to make.
    """
    from foresight.compute import modal_preparation, modal_volume
    from foresight.models.download import make_available
    from foresight.models.identity import ModelSpec

    models, data = planner.model_specs(job), planner.data_specs(job)
    modal_preparation.prepare(models, data, planner.splits(job), job.seeds, home, print)
    plan = planner.plan_steps(job, home, run_id)
    missing = [step for step in plan.seeded.values() if planner.state_of(step, home) != "recorded"]
    for fingerprint in dict.fromkeys(fp for step in missing for fp in step.identity["features"].values()):
        print(f"── features {fingerprint[:12]}… from Modal", flush=True)
        modal_volume.fetch_features(home, fingerprint)
    for step in missing:
        for spec in step.work["model_specs"].values():
            make_available(ModelSpec.from_json(spec), home, forward=False)
    return plan, [Call((step,)) for step in plan.seeded.values()]


def _run(call: Call, home: Home, run_id: str, tracker: Tracker) -> list[str]:
    by_fingerprint = {step.fingerprint: step for step in call.steps}
    known = all(planner.state_of(step, home) == "recorded" for step in call.steps)
    print(f"── {call.label}{': recorded already' if known else ''}", flush=True)
    failed = []
    for outcome in run_call(steps_to_json(call), home, f"in-process-{secrets.token_hex(3)}", run_id, echo=True):
        step = by_fingerprint[outcome.fingerprint]
        error = None if outcome.status == "completed" else outcome.error or outcome.status
        tracker.step_ended(step, error)
        if error is not None:
            failed.append(step.label)
            print(f"{step.label} failed: {error}", flush=True)
    tracker.show()
    return failed
