"""`foresight plan show | validate | cost`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from foresight.cli.output import console, print_json
from foresight.cli.run import AsJson, Gpu, PlanFile, ProfileName, Seeds
from foresight.home import Home
from foresight.plan import render
from foresight.plan.loader import load_plan

app = typer.Typer(no_args_is_help=True, help="The plan: experiments, criteria fixed in advance, gates.")
File = Annotated[Path | None, typer.Argument(help="A plan file; default: the packaged one.")]


@app.command(help="Experiments by phase, what of them is implemented, criteria and gates.")
def show(file: File = None, as_json: AsJson = False) -> None:
    plan = load_plan(file)
    if as_json:
        print_json(render.as_json(plan))
        return
    for number, renderable in enumerate(render.renderables(plan)):
        console.print(*([""] if number else []), renderable, sep="\n")


@app.command(help="Check a plan strictly; every problem is named with its line. Exit 2 if there is one.")
def validate(file: File = None) -> None:
    plan = load_plan(file)
    subs = [sub for experiment in plan.experiments for sub in experiment.sub_experiments]
    ready = sum(sub.implemented for sub in subs)
    console.print(
        f"valid: {len(plan.experiments)} experiments, {len(subs)} sub-experiments ({ready} with handlers), "
        f"{sum(len(e.criteria) for e in plan.experiments)} criteria, {len(plan.gates)} gates"
    )


@app.command(help="What it will cost on Modal, before anything starts: dollars, time, bytes, and what each rests on.")
def cost(
    experiment: Annotated[str | None, typer.Argument(help="Short name or id, e.g. c1; default: all.")] = None,
    profile: ProfileName = "tiny",
    compute: Annotated[
        str, typer.Option("--compute", metavar="WHERE", help="modal, or local, which is free.")
    ] = "modal",
    gpu: Gpu = None,
    seeds: Seeds = None,
    plan_file: PlanFile = None,
    as_json: AsJson = False,
) -> None:
    from foresight.cli import cost as shown
    from foresight.compute.estimate import estimate
    from foresight.compute.rates import rates_of
    from foresight.compute.request import RunRequest, resolve

    request = RunRequest(
        experiments=(experiment,) if experiment else (),
        profile=profile,
        compute=compute,
        gpu=gpu,
        seeds=seeds,
        plan=str(plan_file.resolve()) if plan_file else None,
    )
    found = estimate(resolve(request), Home.from_environment(), rates_of(compute))
    if as_json:
        print_json(shown.as_json(found))
    else:
        shown.show(found)
