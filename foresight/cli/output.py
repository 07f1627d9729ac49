"""Where the shell writes: results on stdout, and JSON that another program can read."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from foresight.files import canonical_json
from foresight.tables import Listing

console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def note(line: str) -> None:
    """Beside the answer: on stderr, so that it is in no program's way."""
    print(f"foresight: {line}", file=sys.stderr)


def print_json(value: Any) -> None:
    print(canonical_json(value))


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Listing:
    """`rows` may hold rich's markup."""
    return Listing.of(headings, ([Text.from_markup(cell) for cell in row] for row in rows))
