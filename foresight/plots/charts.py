"""Charts of scores: curves over an axis, bars, the spread over samples, and how a probe was trained.

Baselines and thresholds are drawn in every chart that has them: a score without them says little.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from foresight.plots.style import MARKERS, PALETTE, QUIET, SMALL, Estimate, figure, frame, legend, png, reference_lines

_PLAIN = FuncFormatter(lambda value, _: f"{value:g}")  # 0.2, not 2 x 10^-1


class Losses(Protocol):
    """What `learning_curve` reads of a `TrainingHistory`."""

    @property
    def train_loss(self) -> Sequence[float]: ...
    @property
    def validation_loss(self) -> Sequence[float]: ...
    @property
    def best_epoch(self) -> int: ...


def curve(
    x: Sequence[float] | Sequence[str],
    lines: Mapping[str, Sequence[Estimate | float]],
    *,
    title: str,
    caption: str,
    x_label: str,
    y_label: str,
    baselines: Mapping[str, float] | None = None,
    thresholds: Mapping[str, float] | None = None,
    log_x: bool = False,
) -> bytes:
    """PNG: a line with markers per entry, its 95 % interval as a band; baselines dashed, thresholds dotted.

    Text on the x axis (layers) is spaced evenly.
    """
    made = figure(6.6, 3.7, title, caption)
    axes = made.subplots()
    named = isinstance(x[0], str)
    places = np.arange(len(x)) if named else np.asarray(x, dtype=float)
    for number, (name, values) in enumerate(lines.items()):
        points = [_estimate(value) for value in values]
        colour = PALETTE[number % 8]
        axes.plot(places, [p.value for p in points], color=colour, marker=MARKERS[number % 8], markersize=5, label=name)
        band = [(p.low, p.high) for p in points if p.low is not None and p.high is not None]
        if len(band) == len(points):
            low, high = np.array(band).T
            axes.fill_between(places, low, high, color=colour, alpha=0.18, linewidth=0)
    _references(axes, baselines, thresholds)
    frame(axes, x_label, y_label)
    if log_x:
        axes.set_xscale("log")
    if named or len(x) <= 8:
        axes.set_xticks(places, [str(value) if named else f"{value:g}" for value in x])
        axes.minorticks_off()
    legend(axes)
    return png(made)


def bars(
    series: Mapping[str, Mapping[str, Estimate | float | None]],
    *,
    title: str,
    caption: str,
    y_label: str,
    baselines: Mapping[str, float] | None = None,
    thresholds: Mapping[str, float] | None = None,
    x_label: str = "",
) -> bytes:
    """PNG: for each series (a colour) a bar per category with its 95 % interval and its number above.

    `series[colour][category]`; a category may be missing in a series. What does not exist is None: no bar, and the word
    "insufficient" in its place. Baselines dashed, thresholds dotted.
    """
    categories = list(dict.fromkeys(category for values in series.values() for category in values))
    total = sum(len(values) for values in series.values())
    made = figure(min(10.0, max(4.6, 0.55 * total + 2.6)), 3.7, title, caption)
    axes = made.subplots()
    width = 0.8 / len(series)
    digits = _digits([_estimate(one).value for values in series.values() for one in values.values() if one is not None])
    first = {
        name: next((c for c, value in values.items() if value is not None), None) for name, values in series.items()
    }
    for number, (name, values) in enumerate(series.items()):
        for index, category in enumerate(categories):
            if category not in values:
                continue
            given = values[category]
            place = index + (number - (len(series) - 1) / 2) * width
            if given is None:
                axes.annotate(
                    "insufficient", (place, 0), xytext=(0, 3), textcoords="offset points",
                    ha="center", va="bottom", rotation=90, fontsize=SMALL, color=QUIET,
                )  # fmt: skip
                continue
            estimate = _estimate(given)
            label = name if category == first[name] else None
            axes.bar(place, estimate.value, width * 0.9, color=PALETTE[number % 8], label=label)
            top = estimate.value
            if estimate.low is not None and estimate.high is not None:
                error = [[max(0.0, estimate.value - estimate.low)], [max(0.0, estimate.high - estimate.value)]]
                axes.errorbar(place, estimate.value, yerr=error, color="black", capsize=3, linewidth=1.1)
                top = max(top, estimate.high)
            axes.annotate(
                f"{estimate.value:.{digits}f}", (place, max(top, 0)), xytext=(0, 3), textcoords="offset points",
                ha="center", fontsize=SMALL, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
            )  # fmt: skip
        if first[name] is None:
            axes.bar([0], [0], color=PALETTE[number % 8], label=f"{name}: insufficient")
    _references(axes, baselines, thresholds)
    frame(axes, x_label, y_label)
    long = max(len(category) for category in categories) > 10 and len(categories) > 3
    axes.set_xticks(range(len(categories)), categories, rotation=25 if long else 0, ha="right" if long else "center")
    axes.margins(y=0.12)
    if len(series) > 1 or baselines or thresholds:
        legend(axes)
    return png(made)


def iou_histogram(
    scores: Mapping[str, Sequence[float] | np.ndarray],
    *,
    title: str,
    caption: str,
    thresholds: Mapping[str, float] | None = None,
) -> bytes:
    """PNG: how many samples reach which IoU, an outline per head or baseline, bins of .05; means in the legend."""
    made = figure(6.6, 3.5, title, caption)
    axes = made.subplots()
    edges = np.linspace(0, 1, 21)
    for number, (name, values) in enumerate(scores.items()):
        counts, _ = np.histogram(np.clip(values, 0, 1), edges)
        axes.stairs(
            counts,
            edges,
            color=PALETTE[number % 8],
            fill=number == 0,
            alpha=0.35 if number == 0 else 1.0,
            linewidth=1.8,
        )
        axes.stairs(
            counts, edges, color=PALETTE[number % 8], linewidth=1.8, label=f"{name} (mean {np.mean(values):.2f})"
        )
    reference_lines(axes, thresholds or {}, ":", horizontal=False)
    frame(axes, "IoU of predicted and true box", "samples")
    axes.set_xlim(0, 1)
    legend(axes)
    return png(made)


def learning_curve(
    histories: Mapping[str, Losses], *, title: str, caption: str, y_label: str = "loss", log_y: bool = True
) -> bytes:
    """PNG: training loss dashed, validation loss solid, a dot at the epoch whose weights were kept."""
    made = figure(6.6, 3.5, title, caption)
    axes = made.subplots()
    for number, (name, history) in enumerate(histories.items()):
        colour = PALETTE[number % 8]
        axes.plot(history.train_loss, color=colour, linestyle="--", linewidth=1.1, label=f"{name}, train")
        axes.plot(history.validation_loss, color=colour, linewidth=1.7, label=f"{name}, validation")
        best = history.best_epoch
        axes.plot(best, history.validation_loss[best], "o", color=colour, markersize=7, markeredgecolor="black")
    axes.plot([], [], "o", color="white", markeredgecolor="black", markersize=7, label="weights kept")
    if log_y:
        axes.set_yscale("log")
        axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        axes.yaxis.set_major_formatter(_PLAIN)
        axes.yaxis.set_minor_formatter(_PLAIN)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))  # there is no epoch 2.5
    frame(axes, "epoch", y_label, grid="both")
    legend(axes)
    return png(made)


def _references(axes, baselines: Mapping[str, float] | None, thresholds: Mapping[str, float] | None) -> None:
    reference_lines(axes, baselines or {}, "--")
    reference_lines(axes, thresholds or {}, ":")


def _estimate(given: float | Estimate) -> Estimate:
    return given if isinstance(given, Estimate) else Estimate(float(given))


def _digits(values: Sequence[float]) -> int:
    """Behind the point: two, or as many as show two figures of the largest, as where only small differences stand."""
    largest = max(map(abs, values), default=0.0)
    return max(2, 1 - math.floor(math.log10(largest))) if 0 < largest < 1 else 2
