"""One sentence for all seeds: a finding is a template, and its fields are filled with what the seeds found together."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from itertools import pairwise, takewhile
from string import Formatter

Finding = tuple[str, Mapping[str, float]]
"""A seed's template and the metrics that fill its fields."""

SIGN = re.compile(r"^((?:.?[<>=^])?)[+ ]")
_TOKEN = re.compile(r"\{\{|\}\}|\{[^{}]*\}|\w+(?:\.\w+)*|\s|[^\w\s]")
_WORD = re.compile(r"\w")


def pool_findings(findings: Sequence[Finding]) -> str:
    """`[(template, metrics)]`, one a seed, as one text.

    Every `{metric}` field is the mean over seeds, with `± standard deviation` where they differ. Where seeds come to
    different words, both stand there, counted: "a weak (2 of 3 seeds) or a good (1) separation". Seeds whose sentences
    have little in common are told apart: "2 of 3 seeds: …; 1 of 3 seeds: …", most first.
    """
    said: dict[str, list[Mapping[str, float]]] = {}
    for template, metrics in findings:
        if template:
            said.setdefault(template, []).append(metrics)
    everyone = len(findings) == sum(map(len, said.values()))
    if not said:
        return ""
    if len(said) == 1 and everyone:
        return _fill(*next(iter(said.items())))
    ordered = sorted(said.items(), key=lambda item: (-len(item[1]), item[0]))
    shared = _shared([_TOKEN.findall(template) for template, _ in ordered]) if everyone else None
    if shared is not None:
        return "".join(_alternatives(place, [seeds for _, seeds in ordered]) for place in shared)
    filled = [(len(seeds), _fill(template, seeds).rstrip(".")) for template, seeds in ordered]
    return "; ".join(f"{count} of {len(findings)} seeds: {text}" for count, text in filled)


def _shared(templates: Sequence[Sequence[str]]) -> list[list[str]] | None:
    """The sentences side by side, from place to place: what each says there, all the same or not.

    None if fewer than half of the shortest one's words are shared, or they part more than three times.
    """
    first, *others = templates
    partner = [_partners(first, other) for other in others]
    common = [at for at in range(len(first)) if all(at in of for of in partner)]
    ends = [[at, *(of[at] for of in partner)] for at in common]
    runs: list[list[list[int]]] = []  # of places where all go on together
    for end in ends:
        if runs and end == [at + 1 for at in runs[-1][-1]]:
            runs[-1].append(end)
        else:
            runs.append([end])
    runs = [run for run in runs if any(_WORD.search(first[end[0]]) for end in run)]
    words = sum(bool(_WORD.search(first[end[0]])) for run in runs for end in run)
    if 2 * words < min(sum(map(bool, map(_WORD.search, template))) for template in templates):
        return None
    places, at = [], [0] * len(templates)
    for run in [*runs, [list(map(len, templates))]]:
        places.append(["".join(t[a:b]) for t, a, b in zip(templates, at, run[0], strict=True)])
        at = [end + 1 for end in run[-1]]
        places.append(["".join(first[run[0][0] : at[0]])] * len(templates))
    for parted, after in pairwise(places):
        if after[0].startswith(")") and all(text.count("(") > text.count(")") for text in parted):
            parted[:], after[:] = [text + ")" for text in parted], [text[1:] for text in after]
    return places if sum(len(set(place)) > 1 for place in places) <= 3 else None


def _partners(first: Sequence[str], other: Sequence[str]) -> dict[int, int]:
    blocks = SequenceMatcher(None, first, other, autojunk=False).get_matching_blocks()
    return {block.a + i: block.b + i for block in blocks for i in range(block.size)}


def _alternatives(place: Sequence[str], seeds: Sequence[Sequence[Mapping[str, float]]]) -> str:
    """What the sentences say at one place, each with the number of its seeds; once, if all say the same."""
    total = sum(map(len, seeds))
    said: dict[str, list[Mapping[str, float]]] = {}
    for text, its in zip(place, seeds, strict=True):
        said.setdefault(text, []).extend(its)
    if len(said) == 1:
        return _fill(place[0], said[place[0]])
    before, after = _edge(place), _edge([text[::-1] for text in place])[::-1]
    written: list[str] = []
    for text, its in sorted(said.items(), key=lambda item: -len(item[1])):
        words = _fill(text[len(before) : len(text) - len(after)], its)
        if written and words[1:2].islower():
            words = words[0].lower() + words[1:]
        if words:
            written.append(f"{words} ({len(its)})" if written else f"{words} ({len(its)} of {total} seeds)")
    return before + " or ".join(written) + after


def _edge(texts: Sequence[str]) -> str:
    """The spaces and punctuation that all begin with."""
    same = takewhile(lambda letters: len(set(letters)) == 1 and letters[0] in " .,;:", zip(*texts, strict=False))
    return "".join(letters[0] for letters in same)


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
