"""Where the shell writes: results on stdout, and JSON that another program can read."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from foresight.files import canonical_json

console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def print_json(value: Any) -> None:
    print(canonical_json(value))


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A plain table; the last column wraps, the others keep their words together."""
    result = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in headings[:-1]:
        result.add_column(heading, no_wrap=True)
    result.add_column(headings[-1], overflow="fold")
    for row in rows:
        result.add_row(*row)
    return result
