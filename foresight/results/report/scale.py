"""One criterion on one scale: what was measured with its interval, the thresholds as bands, the baselines beneath.

SVG by hand, a few lines: it takes the page's colours (light, dark, print), its text is text, and it is drawn once wide
and once for a phone, since a scaled-down drawing has scaled-down letters. Nothing is told by colour alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from foresight.results.findings import number

WIDE, NARROW = 680, 330
EDGE, BAND, ROW = 12.0, 16.0, 16.0  # px
LETTER, BOLD_LETTER = 6.6, 7.5  # px, the mean width of one at 12 px
REACH = 1.2  # how far the axis follows a baseline that lies outside, in widths of what decides


@dataclass(frozen=True)
class Mark:
    at: float
    label: str


def draw(row: Mapping[str, Any], baselines: Mapping[str, float]) -> str:
    """Both drawings, of which a page shows one; empty where nothing was measured."""
    if row["value"] is None:
        return ""
    text = escape(in_words(row, baselines), quote=True)
    return "".join(_draw(row, baselines, width, name, text) for width, name in ((WIDE, "wide"), (NARROW, "narrow")))


def in_words(row: Mapping[str, Any], baselines: Mapping[str, float]) -> str:
    """What the drawing shows, for who does not see it."""
    unit = f" {row['unit']}" if row.get("unit") else ""
    parts = [f"{row['name']} {number(row['value'])}{unit}"]
    if isinstance(row["interval"], Mapping):
        parts[0] += f", 95 % interval {number(row['interval']['low'])} to {number(row['interval']['high'])}"
    parts += [f"{level} {number(row[level])}" for level in ("target", "acceptable", "failure")]
    parts += [f"baseline {name.replace('_', ' ')} {number(value)}" for name, value in baselines.items()]
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
        return Mark(self(value), f"{arrow[0]}{text} {number(value)}{arrow[1]}")


def _draw(row: Mapping[str, Any], baselines: Mapping[str, float], width: int, name: str, words: str) -> str:
    interval = row["interval"] if isinstance(row["interval"], Mapping) else None
    levels = {level: float(row[level]) for level in ("failure", "acceptable", "target")}
    ends = [interval["low"], interval["high"]] if interval else []
    axis = _Axis(width, [*levels.values(), row["value"], *ends], baselines.values())

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

    # The baselines, each a hollow diamond
    if baselines:
        y += 10
        marks = [axis.mark(value, name.replace("_", " ")) for name, value in baselines.items()]
        below, end = _labels(marks, width, top=y + 6, to=y, kind="baseline")
        parts += below
        parts.append(f'<line class="rule" x1="{EDGE}" x2="{width - EDGE}" y1="{y}" y2="{y}"/>')
        parts += [f'<path class="diamond" d="M{m.at} {y - 5}l5 5l-5 5l-5 -5z"/>' for m in marks]
        y = end
    body = "".join(parts)
    return f'<svg class="scale {name}" role="img" aria-label="{words}" viewBox="0 0 {width} {y + 4:g}">{body}</svg>'


def _labels(marks: Sequence[Mark], width: float, *, top: float, to: float, kind: str) -> tuple[list[str], float]:
    """Texts under their marks, in as many rows as keep them apart, and where the last row ends.

    A text in a lower row is tied to its mark (at height `to`) by a hairline, which passes behind the texts above.
    """
    ends: list[float] = []
    lines, texts = [], []
    for mark in sorted(marks, key=lambda one: one.at):
        room = len(mark.label) * (BOLD_LETTER if kind == "value" else LETTER)
        left = min(max(mark.at - room / 2, 0.0), max(width - room, 0.0))
        row = next((index for index, end in enumerate(ends) if left > end + LETTER), len(ends))
        ends[row : row + 1] = [left + room]
        y = top + ROW * row
        if row:
            lines.append(f'<line class="tie" x1="{mark.at}" x2="{mark.at}" y1="{to:g}" y2="{y + 4:g}"/>')
        texts.append(f'<text class="{kind}" x="{left:.1f}" y="{y + 12:g}">{escape(mark.label)}</text>')
    return lines + texts, top + ROW * len(ends)
