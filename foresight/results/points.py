"""One score at several extraction points: what is still there before the merger, behind it, in the language model.

Handlers name a metric for where it was read: `bbox_iou_x4_last`, `lpips_pre` (before the merger), `lpips_post`, with
how it was read behind that (`_own`, `_pooled`); the metric of a criterion carries the plain name, and its arm says
where it was read. From a results.yaml alone; only of what a criterion is about, since that is what the question asks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

MERGER = {"pre": "X2", "post": "X3"}
CHAIN = "X1 X2 X3 X4"  # one model, from the picture on; X6 and X7 are of others
AS_IT_IS = ("own", "full_width")
VIEWS = {
    "own": "as they are",
    "full_width": "as they are",
    "tokens": "from every token",
    "pooled": "from the mean token",
}
_POINT = re.compile(r"_(pre|post|x\d+(?:_(?:\d+|last))?)(?:_([a-z]\w*))?$")
_ARM = re.compile(r"\bX\d+(?:\.\w+)?")


@dataclass(frozen=True)
class Series:
    """The same score of one sub-experiment, read in the same way at several points."""

    sub_experiment: str
    metric: str  # the criterion's
    how: str  # in words; may be empty
    higher_is_better: bool
    at: Mapping[str, str] = field(default_factory=dict)  # point, in the model's order -> the metric's whole name


def across(content: Mapping[str, Any]) -> list[Series]:
    """Every score of a criterion's kind that a sub-experiment has at two points of the chain at least."""
    directions = {row["metric"]: row["direction"] for row in content.get("criteria", [])}
    plain = {
        (row["sub_experiment"], row["metric"]): found[0]
        for row in content.get("criteria", [])
        if (found := _ARM.search(row.get("arm", "")))
    }
    series = []
    for sub_id, entry in content["results"]["experiments"].items():
        names = entry.get("metrics", {})
        for metric, direction in directions.items():
            series += _series(sub_id, metric, direction == "higher", names, plain.get((sub_id, metric)))
    return series


def in_order(points: Iterable[str]) -> list[str]:
    """From the picture on: X2, X3, X4.7, X4.14, X4.last."""
    return sorted(points, key=place)


def step_name(before: str, after: str) -> str:
    """What lies between two points, in words; empty where there is no word for it."""
    kinds = (before.split(".")[0], after.split(".")[0])
    words = {("X2", "X3"): "the merger", ("X1", "X2"): "the rest of the vision encoder", ("X1", "X1"): "vision encoder"}
    return words.get(kinds, "language model" if kinds[1] == "X4" else "")


def _series(sub_id: str, metric: str, higher: bool, names: Iterable[str], plain: str | None) -> list[Series]:
    views: dict[str, dict[str, str]] = {}
    for name in names:
        found = _POINT.match(name, len(metric)) if name.startswith(metric) else None
        if found is None:
            continue
        point = MERGER.get(found[1]) or found[1].upper().replace("_", ".").replace(".LAST", ".last")
        if point.split(".")[0] in CHAIN.split() and (found[2] or "") in ("", *VIEWS):
            views.setdefault(found[2] or "", {})[point] = name
    if plain and metric in names:
        lacking = [at for at in views.values() if plain not in at]
        if lacking:
            max(lacking, key=len)[plain] = metric
    paired = any(view in AS_IT_IS for view in views) or "common_width" in names
    return [
        Series(
            sub_id, metric, VIEWS.get(view, "at one width" if paired else ""), higher, {p: at[p] for p in in_order(at)}
        )
        for view, at in views.items()
        if len(at) > 1
    ]


def place(point: str) -> tuple[str, float]:
    """What sorts points into that order."""
    name, _, block = point.partition(".")
    return name, float("inf") if block == "last" else float(block or 0)
