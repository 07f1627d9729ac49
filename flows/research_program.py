"""The whole programme: phase after phase, each behind its gate."""

from __future__ import annotations

from dataclasses import replace

from prefect import flow
from prefect.logging import get_run_logger
from prefect.states import State

from flows import forms
from flows.cancellation import stop_remote_calls
from flows.outcome import Outcome
from flows.pipeline import CALLS, ended, run_job
from foresight.compute.request import Job, RunRequest, resolve
from foresight.home import Home
from foresight.results import gates


@flow(
    name="research-program",
    flow_run_name="program-{profile}",
    version=forms.version(),
    task_runner=CALLS,
    on_cancellation=[stop_remote_calls],
)
def research_program(
    experiment: forms.Experiments = None,
    sub_experiment: forms.SubExperiments = None,
    stub_mode: forms.StubMode = False,
    profile: forms.Profile = "tiny",
    compute: forms.Compute = "local",
    gpu: forms.Gpu = None,
    budget: forms.Budget = None,
    seeds: forms.Seeds = None,
    refresh: forms.Refresh = False,
    plan: forms.PlanFile = None,
) -> Outcome | State:
    """Run every experiment that has handlers; a phase starts only if the gate before it lets it."""
    request = RunRequest(
        tuple(experiment or ()),
        tuple(sub_experiment or ()),
        stub_mode,
        profile,
        compute,
        gpu,
        budget,
        seeds,
        refresh,
        plan,
    )
    return ended(lambda: run_program(resolve(request), Home.from_environment()))


def run_program(job: Job, home: Home) -> Outcome:
    """Phases in order. A gate that does not let the next phase start ends the programme, and the log says why."""
    logger = get_run_logger()
    total: Outcome | None = None
    skipped = job.skipped
    for phase in sorted({selection.experiment.phase for selection in job.selections}):
        profile = job.profile
        gate = gates.before_phase(home, job.plan, phase, profile=profile.name, moves_gates=profile.moves_gates)
        if gate is not None:
            logger.info(f"{gate.gate}: {gate.verdict}: {gate.reason}")
            for decision in gate.overrides:
                logger.info(f"{gate.gate}: overridden by {decision.by}, {decision.date[:10]}: {decision.reason}")
            if not gate.opens:
                logger.warning(f"phase {phase} is not started: {gate.gate} is {gate.verdict}")
                break
        selections = tuple(s for s in job.selections if s.experiment.phase == phase)
        outcome = run_job(replace(job, selections=selections, skipped=skipped), home)
        skipped = ()
        total = outcome if total is None else total.plus(outcome)
    return total or Outcome("", {}, ())
