"""`foresight results compare`."""

from __future__ import annotations

from typing import Annotated

import typer

from foresight.cli.output import console, print_json
from foresight.cli.run import AsJson
from foresight.home import Home
from foresight.results import comparison_text
from foresight.results.sides import compare_named


def add_to(app: typer.Typer) -> None:
    app.command("compare", help="Two runs, or two git commits: what moved beyond its interval, what flipped.")(compare)


def compare(
    before: Annotated[str, typer.Argument(metavar="A", help="A run id, or a git commit.")],
    after: Annotated[str, typer.Argument(metavar="B", help="What it is compared with.")],
    experiment: Annotated[str | None, typer.Option("--experiment", metavar="ID", help="Only this one.")] = None,
    as_json: AsJson = False,
) -> None:
    found = compare_named(Home.from_environment(), before, after, experiment)
    if as_json:
        print_json([comparison_text.as_json(one) for one in found])
        return
    for one in found:
        console.print("\n".join(comparison_text.lines(one)), markup=False)
