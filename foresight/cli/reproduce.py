"""`foresight reproduce RECORD`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from foresight.cli.output import console, print_json, table
from foresight.cli.run import AsJson, PlanFile
from foresight.home import Home

if TYPE_CHECKING:
    from foresight.compute.reproduce import Reproduction


def add_to(app: typer.Typer) -> None:
    app.command(
        help="Compute a recorded step again in a scratch place and compare the numbers. Exit 1 if they differ."
    )(reproduce)


def reproduce(
    record: Annotated[str, typer.Argument(help="c1/e1_4, the beginning of a fingerprint, or a record.json's path.")],
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", help="With c1/e1_4: which. Default: the first.")
    ] = None,
    plan_file: PlanFile = None,
    as_json: AsJson = False,
) -> None:
    from foresight.compute import reproduce as again

    home = Home.from_environment()
    found = again.find_record(home, record, seed)
    if not as_json:
        then = f"it took {found.usage.seconds:.1f} s then"
        console.print(f"computing {found.label} again ({found.fingerprint[:12]}, {then})", markup=False)
    result = again.reproduce(home, found, str(plan_file.resolve()) if plan_file else None)
    if as_json:
        print_json(_json(result))
    else:
        _show(result)
    raise typer.Exit(0 if result.agrees else 1)


def _show(result: Reproduction) -> None:
    if result.extracted:
        console.print(f"what it reads and was gone or damaged was computed again: {', '.join(result.extracted)}")
    differing = [number for number in result.numbers if number.again != number.recorded]
    if differing:
        rows = [
            [
                number.name,
                f"{number.recorded:.9g}",
                "–" if number.again is None else f"{number.again:.9g}",
                f"{number.tolerance:.2g}",
                "agrees" if number.agrees else "differs",
            ]
            for number in differing
        ]
        console.print(table(["metric", "recorded", "again", "tolerance", ""], rows))
    asked = "bit for bit" if result.exact else "within tolerance"
    word = Text("it agrees" if result.agrees else "it does not agree", style="green" if result.agrees else "bold red")
    equal = len(result.numbers) - len(differing)
    console.print(
        word.append(
            f"  asked for: {asked}, because of {result.because}. "
            if result.exact
            else f"  asked for: {asked}, because {result.because}. ",
            style="default not bold",
        ).append(
            f"Equal to the last bit: {equal} of {len(result.numbers)} metrics, {result.scores[1]:,} of "
            f"{result.scores[0]:,} scores; byte by byte: {result.files[1]} of {result.files[0]} files.",
            style="default not bold",
        )
    )
    if not result.exact:
        from foresight.compute import reproduce as again

        share, value = again.SHARE_OF_ERROR, again.SHARE_OF_VALUE
        console.print(f"tolerance: {share:g} of the standard error of a metric's scores; {value:.0%} where it has none")


def _json(result: Reproduction) -> dict[str, Any]:
    return {
        "fingerprint": result.record.fingerprint,
        "label": result.record.label,
        "agrees": result.agrees,
        "asked": "bit for bit" if result.exact else "within tolerance",
        "because": result.because,
        "metrics": [{**vars(number), "agrees": number.agrees} for number in result.numbers],
        "scores": {"all": result.scores[0], "equal": result.scores[1]},
        "files": {"all": result.files[0], "equal": result.files[1]},
        "extracted": list(result.extracted),
        "seconds": result.again.usage.seconds,
    }
