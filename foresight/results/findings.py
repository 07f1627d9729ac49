"""One sentence for all seeds: a finding is a template, and its fields are filled with what the seeds found together."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from string import Formatter

SIGN = re.compile(r"^((?:.?[<>=^])?)[+ ]")


def pool_findings(findings: Sequence[tuple[str, Mapping[str, float]]]) -> str:
    """`[(template, metrics)]`, one a seed, as one text.

    Seeds that say the same are written once, every `{metric}` field with the mean over them, and `± standard deviation`
    where they differ. Seeds that come to different words are counted: "2 of 3 seeds: …; 1 of 3 seeds: …", most first.
    """
    said: dict[str, list[Mapping[str, float]]] = {}
    for template, metrics in findings:
        if template:
            said.setdefault(template, []).append(metrics)
    if not said:
        return ""
    if len(said) == 1 and len(findings) == sum(map(len, said.values())):
        return _fill(*next(iter(said.items())))
    ordered = sorted(said.items(), key=lambda item: (-len(item[1]), item[0]))
    filled = [(len(seeds), _fill(template, seeds).rstrip(".")) for template, seeds in ordered]
    return "; ".join(f"{count} of {len(findings)} seeds: {text}" for count, text in filled)


def number(value: float) -> str:
    """Three significant digits, or all of a whole number: 0.0312, 12.4, 1,284."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}" if abs(value) < 1e9 else f"{value:.3g}"
    return f"{value:.3g}"


def _fill(template: str, seeds: Sequence[Mapping[str, float]]) -> str:
    parts = []
    for literal, name, spec, _ in Formatter().parse(template):
        parts.append(literal)
        if name is not None:
            parts.append(_field(name, spec or "", [metrics[name] for metrics in seeds if name in metrics]))
    return "".join(parts)


def _field(name: str, spec: str, values: Sequence[float]) -> str:
    if not values:
        return "{" + name + "}"  # the field of a metric that no seed has stays visible, as the gap that it is
    write = (lambda value, of: format(value, of)) if spec else (lambda value, of: number(value))
    mean = write(statistics.fmean(values), spec)
    if len(values) < 2 or max(values) - min(values) <= 1e-12 * max(map(abs, values)):  # equal, rounding apart
        return mean
    return f"{mean} ± {write(statistics.stdev(values), SIGN.sub(lambda found: found[1], spec))}"
