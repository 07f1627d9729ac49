"""`foresight results list | show | verify`."""

from __future__ import annotations

from typing import Annotated

import typer

from foresight.cli.output import console, print_json
from foresight.cli.output import table as plain_table
from foresight.cli.run import AsJson
from foresight.errors import UserError
from foresight.home import Home
from foresight.plan.loader import load_plan
from foresight.results import runs, table, view
from foresight.results.verify import verify as find_problems

app = typer.Typer(no_args_is_help=True, help="What came out: list, show, verify.")


@app.command("list", help="One line an experiment.")
def list_(as_json: AsJson = False) -> None:
    home = Home.from_environment()
    contents = [c for name in runs.list_experiments(home) if (c := view.read(home, name)) is not None]
    if as_json:
        print_json(contents)
    elif not contents:
        console.print("no results yet; `foresight run c1` makes the first")
    else:
        console.print(table.overview(contents))


@app.command(help="Findings, criteria with intervals and baselines, verdict.")
def show(
    experiment: Annotated[str, typer.Argument(help="Short name or id, e.g. c1.")],
    as_json: AsJson = False,
) -> None:
    home = Home.from_environment()
    experiment_id = load_plan().experiment(experiment).id
    content = view.read(home, experiment_id)
    if content is None:
        raise UserError(f"{experiment_id} has no results here. `foresight run {experiment}` makes some.")
    if as_json:
        print_json(content)
    else:
        console.print(table.experiment(content, home.results / experiment_id))


@app.command(help="Every record, artifact, shard and results.yaml against its hash and schema. Exit 1 on a problem.")
def verify(as_json: AsJson = False) -> None:
    problems = find_problems(Home.from_environment())
    if as_json:
        print_json([vars(problem) for problem in problems])
    elif not problems:
        console.print("everything is as it was written")
    else:
        console.print(plain_table(["file", "problem", "what to do"], [[p.path, p.what, p.remedy] for p in problems]))
    raise typer.Exit(1 if problems else 0)
