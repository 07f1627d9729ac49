"""The whole programme: phase after phase, each behind its gate."""

from __future__ import annotations

from dataclasses import replace

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger
from prefect.states import State

from flows import forms
from flows.cancellation import stop_remote_calls
from flows.decision import ask as decision_about
from flows.outcome import Outcome
from flows.pipeline import CALLS, ended, run_job
from foresight.compute.request import Job, RunRequest, resolve
from foresight.home import Home
from foresight.results import comparison_text, gates, markdown
from foresight.results.comparison import gate_flips
from foresight.results.sides import since_previous
from tasks import news


@flow(
    name="research-program",
    flow_run_name="program-{profile}",
    version=forms.version(),
    task_runner=CALLS,
    on_cancellation=[stop_remote_calls],
)
def research_program(
    experiment: forms.Experiments = None,
    profile: forms.Profile = "tiny",
    sub_experiment: forms.SubExperiments = None,
    seeds: forms.Seeds = None,
    compute: forms.Compute = "local",
    gpu: forms.Gpu = None,
    budget: forms.Budget = None,
    refresh: forms.Refresh = False,
    stub_mode: forms.StubMode = False,
    plan: forms.PlanFile = None,
    ask: forms.Ask = False,
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
    return ended(lambda: run_program(resolve(request), Home.from_environment(), ask=ask))


def run_program(job: Job, home: Home, *, ask: bool = False) -> Outcome:
    """Phases in order. A gate that does not let the next phase start ends the programme, and the log says why."""
    logger = get_run_logger()
    before = _gates(job, home)
    total: Outcome | None = None
    skipped = job.skipped
    for phase in sorted({selection.experiment.phase for selection in job.selections}):
        profile = job.profile
        gate = gates.before_phase(home, job.plan, phase, profile=profile.name, moves_gates=profile.moves_gates)
        if gate is not None:
            logger.info(f"{gate.gate}: {gate.verdict}: {gate.reason}")
            for one in gate.overrides:
                logger.info(f"{gate.gate}: overridden by {one.by}, {one.date[:10]}: {one.reason}")
            if ask and not gate.opens and gate.verdict == "investigate":
                gate = decision_about(home, job.plan, gate)
            if not gate.opens:
                logger.warning(
                    f"phase {phase} is not started: {gate.gate} is {gate.verdict}. A person may open it: "
                    f'foresight gates override {gate.gate} --by NAME --reason "…", or the deployment override-gate'
                )
                break
        selections = tuple(s for s in job.selections if s.experiment.phase == phase)
        outcome = run_job(replace(job, selections=selections, skipped=skipped), home)
        skipped = ()
        total = outcome if total is None else total.plus(outcome)
        if outcome.stopped:
            break
    if total is None:
        return Outcome("", {}, ())
    _what_changed(total, before, _gates(job, home), home)
    return total


def _gates(job: Job, home: Home) -> list[gates.GateState]:
    profile = job.profile
    return [
        gates.evaluate(home, job.plan, gate.id, profile=profile.name, moves_gates=profile.moves_gates)
        for gate in job.plan.gates
    ]


def _what_changed(outcome: Outcome, before: list[gates.GateState], after: list[gates.GateState], home: Home) -> None:
    """One page for the whole programme: gates and verdicts that flipped, what moved, what failed, what it cost."""
    flips = gate_flips(before, after)
    for flip in flips:
        get_run_logger().warning(f"flipped   {comparison_text.flip_line(flip)}")
    if flips:
        news.flipped("gates", [comparison_text.flip_line(flip) for flip in flips])
    create_markdown_artifact(markdown.gates(after), key="gates", description="gates: measured, and decided by people")
    ran = [since_previous(home, experiment_id, outcome.run_id) for experiment_id in outcome.documents]
    page = comparison_text.program([one for one in ran if one is not None], flips)
    create_markdown_artifact(page, key="what-changed", description="against the last run of the same kind")
