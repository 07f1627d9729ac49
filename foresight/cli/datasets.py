"""`foresight datasets prepare | list | verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from foresight.cli.output import console, print_json, table
from foresight.cli.run import AsJson, ProfileName
from foresight.data.manifest import IMAGES, MANIFEST, DataSpec, find
from foresight.errors import UserError
from foresight.home import Home
from foresight.plan.loader import load_profile
from foresight.plan.parts import unknown

app = typer.Typer(no_args_is_help=True, help="Data sets: make them, list them, check every pixel.")
Name = Annotated[str | None, typer.Argument(help="A data set of the profile; all of them by default.")]


@app.command(help="Make a profile's data sets; those with raw files need to be told where they lie.")
def prepare(
    name: Name = None,
    profile: ProfileName = "tiny",
    source: Annotated[Path | None, typer.Option("--from", metavar="FOLDER", help="The downloaded raw files.")] = None,
) -> None:
    from foresight.data.dataset import prepare as make

    home = Home.from_environment()
    home.require_writable()
    specs = _specs(name, profile)
    if source is not None and not any(spec.definition.raw for spec in specs):
        names = ", ".join(spec.name for spec in specs)
        raise UserError(f"--from names downloaded files, and of {names} none is made from any. Leave it out.")
    if source is not None and not source.is_dir():
        raise UserError(f"--from {source} is no folder. Check the path.")
    for spec in specs:
        manifest = make(spec, home, root=source).manifest
        console.print(
            f"{spec.name}: {len(manifest.items)} items from {len(manifest.sources)} sources, {manifest.sha256[:12]}"
        )


@app.command("list", help="What a profile needs, and what of it is here.")
def list_(profile: ProfileName = "tiny", as_json: AsJson = False) -> None:
    from foresight.data.dataset import catalogue

    rows = catalogue(_specs(None, profile), Home.from_environment())
    if as_json:
        print_json([{**vars(row), "folder": str(row.folder), "licences": list(row.licences)} for row in rows])
        return
    cells = [
        [
            row.name,
            row.state,
            _text(row.n_items),
            _text(row.n_sources),
            (row.sha256 or "–")[:12],
            str(row.folder),
        ]
        for row in rows
    ]
    console.print(table(["data set", "state", "items", "sources", "sha256", "folder"], cells))


@app.command(help="Compare every pixel with its hash. Exit 1 if one differs.")
def verify(name: Name = None, profile: ProfileName = "tiny") -> None:
    home = Home.from_environment()
    broken = False
    for spec in _specs(name, profile):
        if not (spec.folder(home) / MANIFEST).exists():
            console.print(f"{spec.name}: not prepared")
            continue
        problems = _problems(spec, home)
        broken |= bool(problems)
        console.print(f"{spec.name}: " + ("; ".join(problems[:5]) if problems else "whole"))
    if broken:
        console.print("`foresight datasets prepare` makes what is damaged anew; so does the next run.")
    raise typer.Exit(1 if broken else 0)


def _problems(spec: DataSpec, home: Home) -> list[str]:
    """What is wrong with a data set that was made. Reads only: `dataset.prepare` would mend it in passing."""
    import numpy as np

    from foresight.data.dataset import Dataset
    from foresight.data.dataset import verify as problems_of

    folder, manifest = spec.folder(home), find(spec, home)
    if manifest is None:
        return [f"{MANIFEST} is damaged"]
    try:
        images = np.load(folder / IMAGES, mmap_mode="r")
    except (OSError, ValueError) as error:
        return [f"{IMAGES} cannot be read ({error})"]
    if images.shape != manifest.shape or images.dtype != np.uint8:
        return [f"{IMAGES} is {images.dtype} {images.shape}, the manifest says uint8 {manifest.shape}"]
    return problems_of(Dataset(manifest, folder, images))


def _specs(name: str | None, profile_name: str) -> list[DataSpec]:
    data = load_profile(profile_name).data
    if name is not None and name not in data:
        raise UserError(f"There is {unknown('data set', name, list(data), f'in profile {profile_name}')}")
    return [DataSpec(name=key, **choice.model_dump()) for key, choice in data.items() if name in (None, key)]


def _text(value: int | None) -> str:
    return "–" if value is None else str(value)
