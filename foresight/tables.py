"""One kind of table for the shell: columns of words that stay whole, and a last one of prose.

At 80 columns nothing is cut. Where the prose would be left with a sliver, it stands below its row; where even the words
do not fit side by side, they are folded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

SLIVER = 24  # columns; prose that has fewer is hard to read
INDENT = 4


class Listing:
    """Headings and rows of text; `style` of a row as `rich` has it."""

    def __init__(self, *headings: str, title: str = "") -> None:
        self._headings, self._title = headings, title
        self._rows: list[tuple[list[Text], str]] = []

    def add_row(self, *cells: str | Text, style: str = "") -> None:
        self._rows.append(([cell if isinstance(cell, Text) else Text(cell) for cell in cells], style))

    @classmethod
    def of(cls, headings: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> Listing:
        made = cls(*headings)
        for row in rows:
            made.add_row(*row)
        return made

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        if self._title:
            yield Text(self._title, style="bold")
        widths = [self._width(column) for column in range(len(self._headings))]
        words = sum(widths[:-1]) + 2 * (len(widths) - 1)
        room = options.max_width
        if words + min(widths[-1], SLIVER) <= room:
            yield self._table(len(self._headings), keep=True)
        elif words <= room:
            yield from self._with_prose_below(console, options)
        else:
            yield self._table(len(self._headings), keep=False)

    def _width(self, column: int) -> int:
        cells = [Text(self._headings[column]), *(cells[column] for cells, _ in self._rows)]
        return max(line.cell_len for cell in cells for line in cell.split(allow_blank=True))

    def _table(self, columns: int, *, keep: bool) -> Table:
        """Of the first `columns`; the words of all but the last kept together or folded."""
        table = bare_table()
        last = len(self._headings) - 1
        for column, heading in enumerate(self._headings[:columns]):
            table.add_column(heading, no_wrap=keep and column < last, overflow="fold")
        for cells, style in self._rows:
            table.add_row(*cells[:columns], style=style)
        return table

    def _with_prose_below(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        lines = console.render_lines(self._table(len(self._headings) - 1, keep=True), options, pad=False)
        head = len(lines) - len(self._rows)
        for number, line in enumerate(lines):
            yield Text.assemble(*((segment.text, segment.style or "") for segment in line))
            prose = self._rows[number - head][0][-1] if number >= head else Text()
            if prose.plain:
                wrapped = prose.wrap(console, options.max_width - INDENT, overflow="fold", no_wrap=False)
                yield from (Text.assemble(" " * INDENT, part) for part in wrapped)


def bare_table() -> Table:
    """Without edges: what is copied out of it is text."""
    return Table(box=SIMPLE_HEAD, show_edge=False, collapse_padding=True, pad_edge=False)
