"""One criterion on one scale: what was measured with its interval, the thresholds as bands, the baselines beneath.

SVG by hand, a few lines: it takes the page's colours (light, dark, print), its text is text, and it is drawn once wide
and once for a phone, since a scaled-down drawing has scaled-down letters. Nothing is told by colour alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from itertools import combinations, product
from typing import Any

from foresight.results.findings import number
from foresight.results.report.numbers import measured

WIDE, NARROW = 680, 330
EDGE, BAND, ROW = 12.0, 16.0, 16.0  # px
LETTER, BOLD_LETTER = 6.6, 7.5  # px, the mean width of one at 12 px
LEVELS = ("failure", "acceptable", "target")
REACH = 1.2  # how far the axis follows a baseline that lies outside, in widths of what decides


@dataclass(frozen=True)
class Mark:
    at: float
    label: str


def draw(row: Mapping[str, Any], baselines: Mapping[str, float], oracle: float | None = None) -> str:
    """Both drawings, of which a page shows one; empty where nothing was measured."""
    if row["value"] is None:
        return ""
    text = escape(in_words(row, baselines, oracle), quote=True)
    return "".join(
        _draw(row, baselines, oracle, size, name, text) for size, name in ((WIDE, "wide"), (NARROW, "narrow"))
    )


def in_words(row: Mapping[str, Any], baselines: Mapping[str, float], oracle: float | None = None) -> str:
    """What the drawing shows, for who does not see it."""
    unit = f" {row['unit']}" if row.get("unit") else ""
    parts = [f"{row['name']} {measured(row['value'])}{unit}"]
    if isinstance(row["interval"], Mapping):
        parts[0] += f", 95 % interval {measured(row['interval']['low'])} to {measured(row['interval']['high'])}"
    parts += [f"{level} {number(row[level])}" for level in reversed(LEVELS)]
    if oracle is not None:
        parts.append(f"oracle {measured(oracle)}")
    parts += [f"baseline {name.replace('_', ' ')} {measured(value)}" for name, value in baselines.items()]
    return f"{'; '.join(parts)}. {row['direction'].capitalize()} is better."


class _Axis:
    """Values to pixels. What lies too far outside is drawn at the edge, with an arrow in its label."""

    def __init__(self, width: float, core: Sequence[float], others: Iterable[float]) -> None:
        low, high = min(core), max(core)
        reach = REACH * ((high - low) or abs(high) or 1.0)
        near = [value for value in others if low - reach <= value <= high + reach]
        self.low, self.high = min([low, *near]), max([high, *near])
        margin = 0.05 * ((self.high - self.low) or 1.0)
        self.low, self.high = self.low - margin, self.high + margin
        self.width = width

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(EDGE + min(max(share, 0.0), 1.0) * (self.width - 2 * EDGE), 1)

    def mark(self, value: float, text: str) -> Mark:
        arrow = ("← ", "") if value < self.low else ("", " →") if value > self.high else ("", "")
        return Mark(self(value), f"{arrow[0]}{text} {(number if text in LEVELS else measured)(value)}{arrow[1]}")


def _draw(
    row: Mapping[str, Any],
    baselines: Mapping[str, float],
    oracle: float | None,
    width: int,
    name: str,
    words: str,
) -> str:
    interval = row["interval"] if isinstance(row["interval"], Mapping) else None
    levels = {level: float(row[level]) for level in LEVELS}
    ends = [interval["low"], interval["high"]] if interval else []
    others = [*baselines.values(), *([] if oracle is None else [oracle])]
    axis = _Axis(width, [*levels.values(), row["value"], *ends], others)

    parts = []
    # What was measured, above the bands
    value = axis(row["value"])
    label, y = _labels([axis.mark(row["value"], "measured")], width, top=0, to=ROW + 10, kind="value")
    parts += label
    y += 9
    if interval:
        low, high = axis(interval["low"]), axis(interval["high"])
        caps = "".join(f'<line class="whisker" x1="{x}" x2="{x}" y1="{y - 5}" y2="{y + 5}"/>' for x in (low, high))
        parts.append(f'<line class="whisker" x1="{low}" x2="{high}" y1="{y}" y2="{y}"/>{caps}')
    parts.append(f'<circle class="value" cx="{value}" cy="{y}" r="5"/>')
    y += 11

    # The bands between the thresholds, worst first, and the thresholds' names beneath
    edges = [axis.low if row["direction"] == "higher" else axis.high, *levels.values()]
    edges.append(axis.high if row["direction"] == "higher" else axis.low)
    for kind, one, other in zip(("failed", "short", "fine", "aim"), edges, edges[1:], strict=False):
        left, right = sorted((axis(one), axis(other)))
        parts.append(f'<rect class="{kind}" x="{left}" y="{y}" width="{max(right - left, 0):.1f}" height="{BAND:g}"/>')
    for level in levels.values():
        parts.append(f'<line class="tick" x1="{axis(level)}" x2="{axis(level)}" y1="{y}" y2="{y + BAND + 4}"/>')
    marks = [axis.mark(level, level_name) for level_name, level in levels.items()]
    label, y = _labels(marks, width, top=y + BAND + 4, to=y + BAND, kind="level")
    parts += label

    # What could be reached at best, a full diamond; then the baselines, hollow ones, by value, each on a row of its own
    y += 10
    beneath = [] if oracle is None else [(axis.mark(oracle, "oracle"), "ceiling")]
    for value_, name_ in sorted((value, name) for name, value in baselines.items()):
        beneath.append((axis.mark(value_, name_.replace("_", " ")), "diamond"))
    for mark, kind in beneath:
        parts += _row(mark, width, y, kind)
        y += ROW
    y -= 0 if beneath else 10
    body = "".join(parts)
    return f'<svg class="scale {name}" role="img" aria-label="{words}" viewBox="0 0 {width} {y + 4:g}">{body}</svg>'


def _row(mark: Mark, width: float, y: float, kind: str) -> list[str]:
    """A mark on a row of its own, its text beside it where there is room."""
    right = mark.at + 9 + len(mark.label) * LETTER <= width
    x, anchor = (mark.at + 9, "start") if right else (mark.at - 9, "end")
    shape = f'<path class="{kind}" d="M{mark.at} {y - 5}l5 5l-5 5l-5 -5z"/>'
    return [
        f'<line class="rule" x1="{EDGE}" x2="{width - EDGE}" y1="{y:g}" y2="{y:g}"/>',
        shape,
        f'<text class="baseline" text-anchor="{anchor}" x="{x:.1f}" y="{y + 4:g}">{escape(mark.label)}</text>',
    ]


@dataclass(frozen=True)
class _Place:
    """Where the text of a threshold stands: its row, and its left and right end."""

    at: float
    row: int
    left: float
    right: float

    def crosses(self, other: _Place) -> bool:
        """The texts overlap, or the line down to the lower one strikes the upper one through."""
        if self.row == other.row:
            return self.left < other.right + LETTER and other.left < self.right + LETTER
        upper, lower = (self, other) if self.row < other.row else (other, self)
        return upper.left - 2 < lower.at < upper.right + 2


def _labels(marks: Sequence[Mark], width: float, *, top: float, to: float, kind: str) -> tuple[list[str], float]:
    """Texts under their marks in as few rows as keep them apart and unstruck, and where the last row ends.

    A text in a lower row is tied to its mark (at height `to`) by a hairline. Few marks, so every arrangement is tried,
    the plainest first.
    """
    letter = BOLD_LETTER if kind == "value" else LETTER

    def place(mark: Mark, row: int, side: float) -> _Place:
        room = len(mark.label) * letter
        left = min(max(mark.at - room * side, 0.0), max(width - room, 0.0))
        return _Place(mark.at, row, left, left + room)

    chosen: list[_Place] = []
    for plan in _arrangements(len(marks)):
        chosen = [place(mark, *how) for mark, how in zip(marks, plan, strict=True)]
        if not any(one.crosses(other) for one, other in combinations(chosen, 2)):
            break
    lines, texts = [], []
    for mark, one in zip(marks, chosen, strict=True):
        y = top + ROW * one.row
        if one.row:
            lines.append(f'<line class="tie" x1="{mark.at}" x2="{mark.at}" y1="{to:g}" y2="{y + 4:g}"/>')
        texts.append(f'<text class="{kind}" x="{one.left:.1f}" y="{y + 12:g}">{escape(mark.label)}</text>')
    return lines + texts, top + ROW * (1 + max(one.row for one in chosen))


@cache
def _arrangements(count: int) -> list[tuple[tuple[int, float], ...]]:
    """A row and a side (0.5: centred, 0: to the right, 1: to the left) for each mark; the plainest first."""
    ways = [(row, side) for row in range(count) for side in (0.5, 0.0, 1.0)]
    return sorted(product(ways, repeat=count), key=lambda plan: sum(4 * row + (side != 0.5) for row, side in plan))
