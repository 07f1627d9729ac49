"""Keeping the run.json of each experiment of a job up to date while its steps end, from whoever drives them."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Literal

from foresight.compute.planner import Seeded, StepPlan
from foresight.compute.provenance import checkout
from foresight.compute.request import Job
from foresight.compute.step import Step
from foresight.home import Home
from foresight.results import document, runs, spending, view
from foresight.results.record import Record, read_record

NOT_IMPLEMENTED = "not implemented: the plan gives it no handler"


class Tracker:
    """One run, over the experiments of a job. `step_ended` may be called from any thread, and is quick: see `show`."""

    def __init__(self, home: Home, job: Job, run_id: str, *, started_by: str = "") -> None:
        self._home, self._job, self._run_id, self._started_by = home, job, run_id, started_by
        self._seeds: Mapping[str, Seeded] = {}
        self._open: dict[tuple[str, str], set[int]] = defaultdict(set)
        self._errors: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
        self._left: dict[tuple[str, str], str] = {}  # what was not started, and why
        self._steps_of: dict[str, set[str]] = defaultdict(set)  # experiment id -> all that it needs
        self._moved_on: set[str] = set()  # experiments that are not shown as far as they are
        self._lock = threading.Lock()

    def begin(self, plan: StepPlan | None) -> None:
        """Write every run.json, criteria and fingerprints in it, before the first step. None: a stub run.

        A flow run that Prefect retries keeps its run id and goes on in the run that is there.
        """
        commit, dirty = checkout()
        for selection in self._job.selections:
            experiment = selection.experiment
            if not (runs.folder(self._home, experiment.id, self._run_id) / "run.json").exists():
                runs.new_run(
                    self._home,
                    experiment,
                    self._run_id,
                    profile=self._job.profile.name,
                    rank=self._job.profile.rank,
                    seeds=self._job.seeds,
                    stub=self._job.request.stub_mode,
                    skipped=dict.fromkeys(selection.not_implemented, NOT_IMPLEMENTED),
                    options={key: value for key, value in vars(self._job.request).items() if value},
                    git_commit=commit or "",
                    git_dirty=dirty,
                    started_by=self._started_by,
                )
            else:
                runs.go_on(self._home, experiment.id, self._run_id)
            began: dict[str, dict[str, Any]] = {}
            for sub in selection.sub_experiments:
                if plan is None:
                    began[sub.id] = {"status": "stub"}
                    continue
                steps = plan.of(experiment.id, sub.id)
                self._open[experiment.id, sub.id] = set(steps)
                fingerprints = {seed: step.fingerprint for seed, step in steps.items()}
                fresh = {"status": "running", "error": "", "failed_seeds": {}, "note": ""}
                began[sub.id] = {**fresh, "steps": fingerprints}
            runs.update_sub_experiments(self._home, experiment.id, self._run_id, began)
        if plan is not None:
            self._seeds = {step.fingerprint: key for key, step in plan.seeded.items()}
            for key, step in plan.seeded.items():
                smoke = {plan.smoke.fingerprint} if plan.smoke else set()
                self._steps_of[key.experiment_id] |= {step.fingerprint, *step.needs.values(), *smoke}

    def step_ended(self, step: Step, error: str | None) -> None:
        """Note how a seed ended; the sub-experiment ends with its last seed."""
        key = self._seeds.get(step.fingerprint)
        if key is None:
            return
        pair = (key.experiment_id, key.sub_experiment)
        with self._lock:
            self._open[pair].discard(key.seed)
            if error is not None:
                self._errors[pair][key.seed] = error.splitlines()[0] if error else "failed"
            if self._open[pair]:
                return
            errors = dict(self._errors[pair])
        first = next(iter(errors.values()), "")
        status = "failed" if errors else "pending" if pair in self._left else "completed"
        changes = {"status": status, "error": first, "failed_seeds": errors, "note": self._left.get(pair, "")}
        runs.update_sub_experiment(self._home, key.experiment_id, self._run_id, key.sub_experiment, **changes)
        with self._lock:
            self._moved_on.add(key.experiment_id)

    def show(self) -> None:
        """Rebuild what people read of the experiments that have moved on, and note what they have cost.

        For when nothing waits for the caller."""
        with self._lock:
            moved_on, self._moved_on = self._moved_on, set()
        for experiment_id in sorted(moved_on):
            self._note_spending(experiment_id)
            view.rebuild(self._home, experiment_id)

    def step_not_started(self, step: Step, why: str) -> None:
        """A seed that the run left for another; unless other seeds of it failed, its sub-experiment stays pending."""
        key = self._seeds.get(step.fingerprint)
        if key is None:
            return
        pair = (key.experiment_id, key.sub_experiment)
        with self._lock:
            self._left[pair] = why
        self.step_ended(step, None)

    def finish(self, status: Literal["completed", "failed", "cancelled"]) -> None:
        """End every run and rebuild what people read."""
        for selection in self._job.selections:
            self._note_spending(selection.experiment.id)
            runs.finish(self._home, selection.experiment.id, self._run_id, status)
            view.rebuild(self._home, selection.experiment.id)

    def documents(self) -> dict[str, dict[str, Any]]:
        """results.yaml by experiment: the experiment's, or this run's own where a higher profile hides it there."""
        found = {}
        for selection in self._job.selections:
            experiment_id = selection.experiment.id
            run = runs.read_run(self._home, experiment_id, self._run_id)
            shown = view.read(self._home, experiment_id)
            if shown is None or (shown["profile"], shown["plan_hash"]) != (run.level, run.plan_hash):
                shown = document.of_run(self._home, run).content
            found[experiment_id] = dict(shown)
        return found

    def _note_spending(self, experiment_id: str) -> None:
        spent = spending.of_steps(self._home, self._steps_of[experiment_id], run_id=self._run_id)
        runs.update(self._home, experiment_id, self._run_id, lambda run: run.model_copy(update={"spent": spent}))


def earlier_record(home: Home, step: Step) -> Record | None:
    """The newest record of the same seed of the same sub-experiment under another fingerprint, to say what changed."""
    identity = step.identity
    if step.kind != "sub_experiment":
        return None
    for run in reversed(runs.list_runs(home, identity["experiment"])):
        sub = run.sub_experiments.get(identity["sub_experiment"])
        fingerprint = sub.steps.get(identity["seed"]) if sub and run.profile == identity["profile"] else None
        if fingerprint is None or fingerprint == step.fingerprint:
            continue
        try:
            record = read_record(home, fingerprint)
        except ValueError:
            continue
        if record is not None:
            return record
    return None
