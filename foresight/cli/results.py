"""`foresight results list | show | compare | report | verify | export | prune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from foresight.cli import compare
from foresight.cli.output import console, print_json
from foresight.cli.report import spent_so_far
from foresight.cli.run import AsJson, PlanFile
from foresight.cli.state import say_what_was_killed
from foresight.errors import UserError
from foresight.home import Home
from foresight.plan.loader import load_plan
from foresight.results import document, runs, table, view
from foresight.results.verify import verify as find_problems

app = typer.Typer(no_args_is_help=True, help="What came out: list, show, compare, report, verify, export, prune.")
compare.add_to(app)


@app.callback()
def look() -> None:
    """Before anything is read: what was killed in the middle is not told as running."""
    say_what_was_killed(Home.from_environment())


@app.command("list", help="One line an experiment.")
def list_(as_json: AsJson = False) -> None:
    home = Home.from_environment()
    contents = [c for name in runs.list_experiments(home) if (c := _read(home, name)) is not None]
    if as_json:
        print_json(contents)
    elif not contents:
        console.print("no results yet; `foresight run c1` makes the first")
    else:
        console.print(table.overview(contents))


@app.command(help="Findings, criteria with intervals and baselines, published figures beside ours, verdict.")
def show(
    experiment: Annotated[str, typer.Argument(help="Short name or id, e.g. c1.")],
    as_json: AsJson = False,
) -> None:
    home = Home.from_environment()
    experiment_id = runs.find_experiment(home, experiment) or load_plan().experiment(experiment).id
    content = _read(home, experiment_id)
    if content is None:
        raise UserError(f"{experiment_id} has no results here. `foresight run {experiment}` makes some.")
    if as_json:
        print_json({**content, "spent": spent_so_far(home, content).model_dump()})
    else:
        spent, folder = spent_so_far(home, content), home.results / experiment_id
        console.print(table.experiment(content, folder, with_published=True, spent=spent))


@app.command(help="One file for a colleague: question, verdict and why, pictures, cost, provenance. HTML or Markdown.")
def report(
    experiment: Annotated[str | None, typer.Argument(help="Short name or id; default: the whole programme.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="FILE.html or FILE.md.")] = None,
    plan_file: PlanFile = None,
    as_json: AsJson = False,
) -> None:
    from foresight.results.gates import MOVING_PROFILE
    from foresight.results.report import facts, page

    home, plan = Home.from_environment(), load_plan(plan_file)
    output = output or Path(f"{experiment or 'programme'}.html")
    found = facts.experiment(home, experiment, plan) if experiment else facts.programme(home, plan)
    origin = f"foresight results report {experiment or ''}".strip()
    made = page.render(found, output, moving=MOVING_PROFILE, origin=origin)
    page.write(made, output)
    size = output.stat().st_size
    if as_json:
        print_json({"file": str(output), "size_bytes": size, "beside": sorted(made.beside)})
    else:
        pictures = f"{len(made.beside)} pictures in {output.stem}_pictures/ beside it" if made.beside else "in one file"
        console.print(
            f"{output}  {size / 1e6:.1f} MB, {pictures}" if size > 1e5 else f"{output}  {pictures}", markup=False
        )


@app.command(help="Every record, artifact, shard and results.yaml against its hash and schema. Exit 1 on a problem.")
def verify(as_json: AsJson = False) -> None:
    home = Home.from_environment()
    problems, records = find_problems(home), len(list(home.steps.glob("*/record.json")))
    if as_json:
        print_json([vars(problem) for problem in problems])
    elif not problems:
        console.print(
            f"everything is as it was written ({records} record{'s' if records > 1 else ''})"
            if records
            else f"nothing to verify: no record lies in {home.root} yet; `foresight run c1` makes the first"
        )
    else:
        for problem in problems:
            console.print(f"{problem.path}\n  {problem.what}\n  {problem.remedy}", markup=False, soft_wrap=True)
        console.print(f"{len(problems)} problem{'s' if len(problems) > 1 else ''}")
    raise typer.Exit(1 if problems else 0)


@app.command(help="Every number and every per-sample score as tidy CSV, with its columns described.")
def export(
    folder: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where to; may be new.")] = Path(
        "export"
    ),
    as_json: AsJson = False,
) -> None:
    from foresight.results.export import export as write

    written = write(Home.from_environment(), folder)
    if as_json:
        print_json({"folder": str(folder), "rows": written})
    else:
        for name, rows in written.items():
            console.print(f"{folder / name}  {rows:,} rows", markup=False)
        console.print(f"{folder / 'columns.csv'}  what the columns mean", markup=False)


@app.command(help="What nothing needs: old features, leftovers of failed attempts. Shows it; --yes deletes it.")
def prune(
    yes: Annotated[bool, typer.Option("--yes", help="Delete what is shown. Without it nothing is touched.")] = False,
    as_json: AsJson = False,
) -> None:
    from foresight.results import prune as pruning

    home = Home.from_environment()
    items = pruning.find(home)
    if yes:
        home.require_writable()
        pruning.remove(home, items)
    total = sum(item.size_bytes for item in items)
    if as_json:
        print_json({"deleted": yes, "size_bytes": total, "items": [vars(item) for item in items]})
    elif not items:
        console.print("nothing to prune: everything here is needed")
    else:
        for item in items:
            console.print(f"{item.size_bytes / 1e6:9.2f} MB  {item.path}  {item.what}", markup=False, soft_wrap=True)
        end = "deleted" if yes else "nothing was touched; --yes deletes it"
        console.print(f"{total / 1e6:9.2f} MB  in {len(items)} places; {end}")


def _read(home: Home, experiment_id: str) -> dict[str, Any] | None:
    """The results.yaml, or None without one. Raises `UserError` if it is not one any more."""
    try:
        content = view.read(home, experiment_id)
        wrong = document.validate(content or {}) if (home.results / experiment_id / "results.yaml").is_file() else []
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        content, wrong = None, [f"not YAML: {str(error).splitlines()[0]}"]
    if wrong:
        raise UserError(
            f"{home.results / experiment_id / 'results.yaml'} was edited or damaged ({wrong[0]}). "
            "Run the experiment again to have it rewritten from the records; nothing is recomputed for that."
        )
    return content
