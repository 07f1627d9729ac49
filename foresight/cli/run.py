"""`foresight run`, `program`, `smoke-test`, `download-models`: what starts work."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from foresight import interrupts
from foresight.cli.output import console, print_json
from foresight.compute import ledger
from foresight.compute.request import Job, RunRequest, resolve
from foresight.elsewhere import planned_from
from foresight.home import Home
from foresight.plan.loader import load_profile

SubExperiments = Annotated[
    list[str] | None, typer.Option("--sub-experiment", metavar="ID", help="Only this one; may be repeated.")
]
StubMode = Annotated[bool, typer.Option("--stub-mode", help="Rehearse without measuring anything. Never assessed.")]
ProfileName = Annotated[str, typer.Option("--profile", metavar="P", help="How big: tiny, repro or real.")]
Compute = Annotated[str, typer.Option("--compute", metavar="WHERE", help="local or modal.")]
Gpu = Annotated[str | None, typer.Option("--gpu", metavar="NAME", help="GPU class over the plan's (modal).")]
Budget = Annotated[float | None, typer.Option("--budget", metavar="USD", help="Stop before more is spent.")]
Seeds = Annotated[
    int | None, typer.Option("--seeds", metavar="N", help="How many seeds, 1 to 100; default: the profile's.")
]
Refresh = Annotated[bool, typer.Option("--refresh", help="Compute again what is recorded already.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would run and why, and run nothing.")]
InProcess = Annotated[bool, typer.Option("--in-process", help="In this very process, without Prefect: for a debugger.")]
PlanFile = Annotated[Path | None, typer.Option("--plan", metavar="FILE", help="A plan of your own.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


def add_to(app: typer.Typer) -> None:
    app.command("run", help="Measure one experiment and judge it.")(run)
    app.command("program", help="Run every experiment that has handlers, phase by phase, through the gates.")(program)
    app.command("smoke-test", help="Load every model of a profile and do one forward pass each.")(smoke_test)
    app.command("download-models", help="Fetch a profile's models at their pinned revisions and verify them.")(
        download_models
    )


def run(
    experiment: Annotated[str, typer.Argument(help="Short name or id, e.g. c1.")],
    sub_experiment: SubExperiments = None,
    stub_mode: StubMode = False,
    profile: ProfileName = "tiny",
    compute: Compute = "local",
    gpu: Gpu = None,
    budget: Budget = None,
    seeds: Seeds = None,
    refresh: Refresh = False,
    dry_run: DryRun = False,
    in_process: InProcess = False,
    plan: PlanFile = None,
    as_json: AsJson = False,
) -> None:
    subs, plan_path = tuple(sub_experiment or ()), str(plan.resolve()) if plan else None
    request = RunRequest((experiment,), subs, stub_mode, profile, compute, gpu, budget, seeds, refresh, plan_path)
    job = resolve(request)
    _start("run_experiment", {"experiment": experiment}, job, dry_run=dry_run, in_process=in_process, as_json=as_json)


def program(
    experiment: Annotated[
        list[str] | None, typer.Option("--experiment", metavar="ID", help="Only this one; may be repeated.")
    ] = None,
    sub_experiment: SubExperiments = None,
    stub_mode: StubMode = False,
    profile: ProfileName = "tiny",
    compute: Compute = "local",
    gpu: Gpu = None,
    budget: Budget = None,
    seeds: Seeds = None,
    refresh: Refresh = False,
    dry_run: DryRun = False,
    in_process: InProcess = False,
    plan: PlanFile = None,
    as_json: AsJson = False,
) -> None:
    subs, plan_path = tuple(sub_experiment or ()), str(plan.resolve()) if plan else None
    chosen = tuple(experiment or ())
    request = RunRequest(chosen, subs, stub_mode, profile, compute, gpu, budget, seeds, refresh, plan_path)
    job = resolve(request)
    own = {"experiment": list(chosen) or None}
    _start("research_program", own, job, dry_run=dry_run, in_process=in_process, as_json=as_json)


def smoke_test(profile: ProfileName = "tiny", compute: Compute = "local") -> None:
    job = resolve(RunRequest(profile=profile, compute=compute))
    if compute == "modal":
        from foresight.compute.modal_preparation import require_ready

        require_ready()
    outcome = _flow("smoke_test", {"profile": profile, "compute": compute})
    console.print(f"smoke test of profile {job.profile.name}: {'failed' if outcome.failed else 'passed'}")
    raise typer.Exit(1 if outcome.failed else 0)


def download_models(profile: ProfileName = "tiny", compute: Compute = "local", as_json: AsJson = False) -> None:
    from foresight.compute.planner import model_spec
    from foresight.models.identity import identity

    resolve(RunRequest(profile=profile, compute=compute))
    home = Home.from_environment()
    home.require_writable()
    specs = {role: model_spec(role, choice) for role, choice in load_profile(profile).models.items()}
    if compute == "modal":
        from foresight.compute import modal_preparation

        modal_preparation.require_ready()
        modal_preparation.prepare(specs, {}, {}, (), home, console.print, verify=True)
    else:
        from foresight.models.download import make_available

        for spec in specs.values():
            make_available(spec, home, verify=True)
    identities = {role: identity(spec, planned_from(home, compute)) for role, spec in specs.items()}
    if as_json:
        print_json({role: identity.model_dump() for role, identity in identities.items()})
    for role, found in identities.items():
        if not as_json:
            kind = "stand-in, verified" if found.stand_in else "verified"
            where = " on Modal's volume" if compute == "modal" and not found.stand_in else ""
            console.print(
                f"{role:6} {found.id} at {found.revision[:12]}  weights {found.weights_sha256[:12]}  {kind}{where}"
            )


def _start(flow: str, own: dict[str, Any], job: Job, *, dry_run: bool, in_process: bool, as_json: bool) -> None:
    from foresight.cli import report, shortcut
    from foresight.compute import local

    home = Home.from_environment()
    home.require_writable()
    if dry_run:
        report.dry_run(job, home, as_json=as_json)
        return
    if not job.request.stub_mode and (documents := shortcut.recorded_already(job, home)) is not None:
        report.documents(
            documents, job, home, as_json=as_json, heading="Nothing to do: every step is recorded already."
        )
        return
    if job.request.compute == "modal" and not job.request.stub_mode:
        from foresight.compute.modal_preparation import require_ready  # the client takes a second to import

        require_ready()
    if in_process:
        documents, failed = shortcut.run_in_process(job, home)
        stopped = ""
    else:
        request = vars(job.request).copy()
        del request["experiments"]
        request["sub_experiment"] = list(request.pop("sub_experiments")) or None
        with local.warmed_up(job):
            outcome = _flow(flow, {**own, **request})
        documents, failed, stopped = outcome.documents, outcome.failed, outcome.stopped
    report.documents(documents, job, home, as_json=as_json, failed=failed, stopped=stopped)
    raise typer.Exit(1 if failed or stopped else 0)


def _flow(name: str, parameters: dict[str, Any]) -> Any:
    """Run a flow here and return its outcome, that of a failed one too. A signal stops local work, and says so."""
    from flows.launch import launch

    home = Home.from_environment()
    home.require_writable()
    try:
        return launch(name, parameters, home)
    except BaseException as error:
        if stopped := interrupts.behind(error):
            _interrupted(home, stopped)
        raise


def _interrupted(home: Home, stopped: interrupts.Interrupted) -> NoReturn:
    """What it did: local work has stopped, remote work goes on and is not lost sight of."""
    if alive := ledger.unfollowed(home):
        runs = " ".join(dict.fromkeys(call.run_id for call in alive))
        became = (
            f"{len(alive)} call(s) go on on Modal. The same command attaches to them again; "
            f"`foresight cancel {runs}` stops them; `foresight status` shows them."
        )
    else:
        became = "what is finished is kept; the same command goes on from there"
    print(f"foresight: stopped by {stopped.by}: {became}", file=sys.stderr)
    raise typer.Exit(stopped.exit_status)
