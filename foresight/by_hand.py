"""Handlers run by hand: in this process, one after another, from a notebook or a script.

For trying a handler out, and for the handlers that the team already has. What they leave is a run like any other, with
records, artifacts and a results.yaml that is judged by the same rules. Two things differ. A function in a notebook has
no code that could be found again, so its steps bear the run's id and are never reused; and for the same reason such a
run is refused in a profile that moves gates.
"""

from __future__ import annotations

import logging
import secrets
import traceback
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from foresight.compute.attempt import close_failed, close_finished, open_attempt
from foresight.compute.causes import trouble_of
from foresight.compute.planner import criteria_of
from foresight.compute.publish import publish
from foresight.compute.step import Step
from foresight.compute.threads import one_thread
from foresight.compute.usage import Meter
from foresight.data.manifest import DataSpec
from foresight.errors import UserError
from foresight.home import Home
from foresight.plan.loader import load_plan_and_profile
from foresight.plan.schema import Experiment, Profile, SubExperiment
from foresight.results import document, runs, view
from foresight.runner import ExperimentRunner, Handler
from foresight.workbench import Artifacts, Assignment, Workbench

CALL = "by-hand"

logger = logging.getLogger(__name__)


def run_all(
    runner: ExperimentRunner,
    handlers: Mapping[str, Handler],
    *,
    only: Sequence[str] | None = None,
    seed: int = 0,
    plan_path: Path | None = None,
) -> dict[str, list[str]]:
    """Run the handlers (or `only` those) and write results.yaml. Returns the ids: `completed`, `failed`, `skipped`.

    A handler that fails neither stops nor hides the others. Skipped is what the plan has and nobody registered: it
    stays pending, and its criteria are not measured. What the plan lets a sub-experiment use is taken from this run,
    which therefore follows the plan's order, or from the newest results of that seed in this profile. Raises
    `UserError` on an id that the plan does not have, and in a profile that moves gates.
    """
    plan, profile = load_plan_and_profile(plan_path, runner.profile)
    experiment = plan.experiment(runner.experiment_id)
    wanted = list(handlers) if only is None else list(only)
    asked = [experiment.sub_experiment(sub_id) for sub_id in wanted]
    subs = [sub for sub in experiment.sub_experiments if sub in asked]
    if missing := [sub_id for sub_id in wanted if sub_id not in handlers]:
        raise UserError(f"No handler was registered for {', '.join(missing)}. Call register_handler first.")
    if profile.moves_gates:
        raise UserError(
            f"Handlers run by hand cannot run in profile {profile.name}, whose verdicts move gates: their code could "
            "not be found again. Name the handler in a plan and use `foresight run`, or choose another profile."
        )
    runner.home.require_writable()
    run_id = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    options = {"by_hand": True}
    runs.new_run(
        runner.home, experiment, run_id, profile=profile.name, rank=profile.rank, seeds=[seed], options=options
    )
    ended: dict[str, list[str]] = {"completed": [], "failed": [], "skipped": []}
    ended["skipped"] = [sub.id for sub in experiment.sub_experiments if sub.id not in wanted]
    left = _left_before(runner.home, experiment, profile, seed)
    try:
        for sub in subs:
            left.pop(sub.id, None)
            step = _run_one(runner, handlers[sub.id], experiment, sub, profile, seed, run_id, left)
            ended["completed" if step else "failed"].append(sub.id)
            if step is not None:
                left[sub.id] = step.fingerprint
    except BaseException:  # Ctrl-C: the run says so, and what is finished stays
        runs.finish(runner.home, experiment.id, run_id, "cancelled")
        view.rebuild(runner.home, experiment.id)
        raise
    runs.finish(runner.home, experiment.id, run_id, "failed" if ended["failed"] else "completed")
    written = view.rebuild(runner.home, experiment.id)
    print(f"{experiment.id}: {', '.join(f'{len(ids)} {how}' for how, ids in ended.items())}; {written}")
    return ended


def _run_one(
    runner: ExperimentRunner,
    handler: Handler,
    experiment: Experiment,
    sub: SubExperiment,
    profile: Profile,
    seed: int,
    run_id: str,
    left: Mapping[str, str],
) -> Step | None:
    """One handler from its attempt to its record. Its step, if it finished. `left`: what can be used, by id."""
    home = runner.home
    uses = {name: left[name] for name in sub.uses if name in left}
    settings = profile.for_sub_experiment(sub.id)
    name = getattr(handler, "__qualname__", type(handler).__name__)
    step = Step(
        kind="sub_experiment",
        label=f"{experiment.short}/{sub.id} seed {seed} by hand",
        profile=profile.name,
        identity={
            "kind": "sub_experiment",
            "experiment": experiment.id,
            "sub_experiment": sub.id,
            "profile": profile.name,
            "handler": f"{getattr(handler, '__module__', '?')}:{name}",
            "by_hand": run_id,
            "parameters": settings.parameters,
            "seed": seed,
            **({"uses": uses} if uses else {}),
        },
        needs=uses,
        work={"criteria": criteria_of(experiment, sub)},
    )

    def note(**changes: object) -> None:
        runs.update_sub_experiment(home, experiment.id, run_id, sub.id, attempts=1, **changes)

    note(status="running", steps={seed: step.fingerprint})
    attempt = open_attempt(
        home,
        step.fingerprint,
        call_id=CALL,
        run_id=run_id,
        usd_per_second=0.0,
        log_path=f"ledger/{run_id}.log",  # there is none: it is on the screen
        log_offset=0,
    )
    workbench = Workbench(
        folder=attempt.folder(home),
        artifacts=Artifacts(attempt.artifacts(home)),
        root=home.root,
        progress=lambda fraction, text: print(f"{sub.id} {fraction:4.0%} {text}"),
    )
    meter = Meter("cpu", 0.0)
    try:
        with one_thread():
            _require_used(sub, uses)
            output = runner.run_handler(handler, _assignment(sub, profile, seed, uses), workbench)
        publish(home, step, attempt, output, meter.lap())
    except BaseException as error:  # the boundary: however a handler ends, its attempt says so
        trouble = trouble_of(error, home.root)
        logger.exception("%s failed", step.label)
        text = "".join(traceback.format_exception(error))
        seconds = meter.lap().seconds
        close_failed(home, attempt, cause=trouble.cause, error=trouble.error, traceback=text, seconds=seconds)
        note(status="failed", error=trouble.error, failed_seeds={seed: trouble.error})
        print(f"{sub.id} failed: {trouble.error}")
        if not isinstance(error, (Exception, SystemExit)):  # a person stopped it, and meant all
            raise
        return None
    close_finished(home, attempt)
    note(status="completed")
    return step


def _left_before(home: Home, experiment: Experiment, profile: Profile, seed: int) -> dict[str, str]:
    """Sub-experiment -> the step of this seed that the newest results of this profile show."""
    shown = document.of_experiment(
        home, runs.list_runs(home, experiment.id), profile=profile.name, plan_hash=experiment.hash
    )
    records = shown.records if shown else {}
    return {sub_id: one.fingerprint for sub_id, of in records.items() for one in of if one.seed == seed}


def _require_used(sub: SubExperiment, uses: Mapping[str, str]) -> None:
    if missing := [name for name in sub.uses if name not in uses]:
        raise UserError(
            f"{sub.id} uses {', '.join(missing)}, which has not finished for this seed. Register its handler too, or "
            "run it first."
        )


def _assignment(sub: SubExperiment, profile: Profile, seed: int, uses: Mapping[str, str]) -> Assignment:
    """What the profile gives the sub-experiment, but for features: those are made by steps."""
    settings = profile.for_sub_experiment(sub.id)
    names = [settings.data] if settings.data else []
    choices = {role: profile.models[role] for role in sub.models if role in profile.models}
    return Assignment(
        sub_experiment=sub.id,
        seed=seed,
        config=settings.parameters,
        data_specs={name: DataSpec(name=name, **profile.data[name].model_dump()).to_json() for name in names},
        split=profile.split_of(sub).fractions,
        uses=uses,
        model_specs={
            role: {"role": role, "id": model.id, "revision": model.revision or "", "stand_in": model.stand_in}
            for role, model in choices.items()
        },
        stand_ins=frozenset(role for role, model in choices.items() if model.stand_in),
    )
