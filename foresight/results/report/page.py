"""Filling the templates: one HTML file with everything inside, or Markdown with its pictures in a folder beside it."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from foresight.errors import UserError
from foresight.files import write_atomic
from foresight.results import rehearsal, table
from foresight.results.findings import number
from foresight.results.report import along, glossary, numbers, scale, wording
from foresight.results.report.facts import ExperimentFacts, ProgrammeFacts

LARGE_BYTES = 200_000  # a PNG of photographs: as JPEG it is a fifth, and no eye sees the difference
JPEG_QUALITY = 90


@dataclass(frozen=True)
class Report:
    """A report as it will be written: its text, and what lies beside it (name -> where it is now)."""

    text: str
    beside: Mapping[str, Path]


@dataclass(frozen=True)
class Picture:
    """A picture as a page holds it."""

    source: str  # a data URI, or a path
    width: int
    height: int
    title: str
    caption: str


def render(facts: ExperimentFacts | ProgrammeFacts, output: Path, *, moving: str, origin: str) -> Report:
    """The report by the suffix of `output`: `.html`, which holds its pictures, or `.md`, whose pictures lie in a folder
    beside it. Raises `UserError` on another.

    `moving`: the profile whose verdicts move gates. `origin`: the command that made the report.
    """
    kinds = {".html": "page.html", ".htm": "page.html", ".md": "page.md"}
    if output.suffix.lower() not in kinds:
        raise UserError(f"{output}: a report is written as .html or .md, by the suffix of its name.")
    template = kinds[output.suffix.lower()]
    beside: dict[str, Path] = {}
    picture = _inline if template == "page.html" else partial(_linked, folder=f"{output.stem}_pictures", beside=beside)
    whole = facts if isinstance(facts, ProgrammeFacts) else None
    experiments = whole.experiments if whole else (facts,)
    text = (
        _environment(template.endswith(".html"))
        .get_template(template)
        .render(programme=whole, experiments=experiments, picture=picture, moving=moving, origin=origin)
    )
    return Report(re.sub(r"\n{3,}", "\n\n", text).strip() + "\n", beside)


def write(report: Report, output: Path) -> None:
    """Pictures first. Raises `UserError` where there is no such folder."""
    if not output.parent.is_dir():
        raise UserError(f"{output.parent} is no folder. Make it first, or choose another place for {output.name}.")
    for name, source in report.beside.items():
        write_atomic(output.parent / name, source.read_bytes())
    write_atomic(output, report.text)


@cache
def _environment(html: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("foresight.results.report"),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "wording": wording,
        "along": along,
        "rehearsal": rehearsal,
        "number": number,
        "measured": numbers.measured,
        "aligned": lambda value, spread: numbers.measured(value, spread),
        "counted": numbers.counted,
        "published_number": table.published_number,
        "scale": lambda *what: Markup(scale.draw(*what)),
        "words": _Words,
    }
    environment.filters |= {
        "words": wording.words,
        "prose": numbers.prose,
        "duration": wording.duration,
        "money": wording.money,
        "size": lambda count: f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.0f} MB",
        "cell": lambda text: str(text).replace("|", "\\|").replace("\n", " "),
        "breakable": _breakable,
    }
    return environment


class _Words:
    """The glossary, its drawing as markup."""

    WORDS = glossary.WORDS
    points = staticmethod(glossary.points)
    terms = staticmethod(glossary.terms)

    @staticmethod
    def diagram(facts: Iterable[ExperimentFacts]) -> Markup:
        return Markup(glossary.diagram(facts))


def _breakable(name: Any) -> Markup:
    """A long name may break behind its underscores, and be copied whole all the same."""
    return Markup(str(escape(name)).replace("_", "_<wbr>"))


def _inline(path: Path) -> Picture | None:
    """None for a file that is no picture, whatever its name."""
    from PIL import Image, UnidentifiedImageError

    data, kind = path.read_bytes(), "png"
    try:
        image = Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        return None
    title, caption = _words(image, path)
    if image.format == "JPEG":
        kind = "jpeg"
    elif len(data) > LARGE_BYTES:
        smaller = io.BytesIO()
        image.convert("RGB").save(smaller, "JPEG", quality=JPEG_QUALITY)
        if smaller.tell() < len(data):
            data, kind = smaller.getvalue(), "jpeg"
    uri = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return Picture(uri, *image.size, title, caption)


def _linked(path: Path, folder: str, beside: dict[str, Path]) -> Picture | None:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            size, (title, caption) = image.size, _words(image, path)
    except UnidentifiedImageError:
        return None
    name = f"{folder}/{path.parent.parent.name[:8]}-{path.name}"  # of which step it is keeps equal names apart
    beside[name] = path
    return Picture(name, *size, title, caption)


def _words(image: Any, path: Path) -> tuple[str, str]:
    """The title and the caption that a plot carries; for other pictures, their name."""
    text = getattr(image, "text", {})
    return text.get("Title") or wording.words(path.stem).capitalize(), text.get("Description", "")
