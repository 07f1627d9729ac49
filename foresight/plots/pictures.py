"""Pictures of pictures: originals and reconstructions side by side, boxes over them, where the errors are.

Pictures are float [N, H, W, 3] in [0, 1]. They are shown at least 1.1 inches wide (165 px), photographs enlarged by
Lanczos; `pixelated=True` shows each pixel as a square.

Many pictures lie in one pair of axes: making, measuring and drawing a pair for each took most of a figure's time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from foresight.plots.style import INK, PALETTE, QUIET, SMALL, TEXT, figure, png

_CELL = 1.15  # inches, and so are the next two
_LABEL = 1.0
_WORDS = 0.18
_SIDE = 0.965  # what a picture fills of its place
Extent = tuple[float, float, float, float]  # left, right, bottom, top
_OUTLINE = withStroke(linewidth=2.6, foreground="black")  # so that a box shows on any ground


def image_grid(
    rows: Mapping[str, np.ndarray],
    *,
    title: str,
    caption: str,
    scores: Mapping[str, Sequence[float] | np.ndarray] | None = None,
    score_name: str = "LPIPS",
    column_labels: Sequence[str] | None = None,
    columns: int = 8,
    pixelated: bool = False,
) -> bytes:
    """PNG: one labelled row per entry, the first `columns` pictures of each; under a picture its score, if it has one.

    A row of a single picture (a baseline) is repeated in each column. `scores[row]` has one number a picture,
    NaN where there is none.
    """
    scores = scores or {}
    columns = min(columns, max(len(images) for images in rows.values()))
    made = figure(_LABEL + _CELL * columns, (_CELL + _WORDS) * len(rows) + 0.75, title, caption)
    sheet = _Sheet.on(made, len(rows), columns, pitch=1 + _WORDS / _CELL, headed=bool(column_labels))
    for row, (name, images) in enumerate(rows.items()):
        for column in range(columns):
            if row == 0 and column_labels:
                sheet.write(row, column, column_labels[column], above=True, color=QUIET)
            if column and column >= len(images) > 1:
                continue
            sheet.place(row, column, images[column if len(images) > 1 else 0], pixelated)
            if name in scores and np.isfinite(scores[name][column]):
                sheet.write(row, column, f"{score_name} {float(scores[name][column]):.3f}", color=INK)
        middle = (-0.06, row * sheet.pitch + 0.5)
        sheet.axes.text(*middle, name.replace(", ", ",\n"), fontsize=TEXT, color=INK, ha="right", va="center")
    return png(made)


def box_overlay(
    images: np.ndarray,
    true_boxes: np.ndarray | Sequence[np.ndarray],
    predicted_boxes: Mapping[str, np.ndarray | Sequence[np.ndarray]],
    *,
    title: str,
    caption: str,
    scores: Mapping[str, Sequence[float] | np.ndarray] | None = None,
    names: Mapping[str, Sequence[Sequence[str]]] | None = None,
    columns: int = 6,
    limit: int = 18,
) -> bytes:
    """PNG: the true boxes of each picture (white on black) and each predictor's in its colour; IoU above, if given.

    Boxes are [x0, y0, x1, y1] in 0..1, one a picture ([N, 4]) or several (N of [n, 4]). `names[predictor]` has a short
    text for each box, written over it. At most `limit` pictures are shown.
    """
    count = min(limit, len(images))
    columns = min(columns, count)
    rows = -(-count // columns)
    cell = 1.9 if names else 1.4  # what is written over boxes needs room
    made = figure(max(4.5, cell * columns), (cell + 0.3 if scores else cell) * rows + 1.1, title, caption)
    sheet = _Sheet.on(made, rows, columns, pitch=1.2 if scores else 1.0, headed=bool(scores))
    for index in range(count):
        at = divmod(index, columns)
        extent = sheet.place(*at, images[index], pixelated=False)
        _boxes(sheet.axes, true_boxes[index], extent, "white")
        texts = []
        for number, (name, boxes) in enumerate(predicted_boxes.items()):
            written = names[name][index] if names and name in names else ()
            _boxes(sheet.axes, boxes[index], extent, _predictor_colour(number), written)
            if scores and name in scores:
                texts.append(f"{float(scores[name][index]):.2f}")
        if texts:
            sheet.write(*at, "IoU " + " / ".join(texts), above=True, color=INK)
    one_each = np.ndim(true_boxes[0]) == 1
    handles = [
        Line2D(
            [],
            [],
            color="white",
            linewidth=1.4,
            path_effects=[_OUTLINE],
            label="true box" if one_each else "true boxes",
        )
    ]
    handles += [
        Line2D([], [], color=_predictor_colour(number), linewidth=1.4, path_effects=[_OUTLINE], label=name)
        for number, name in enumerate(predicted_boxes)
    ]
    scored = " / ".join(name for name in predicted_boxes if scores and name in scores)
    sheet.axes.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.01),
        ncols=len(handles),
        fontsize=TEXT,
        frameon=False,
        title=f"IoU above each picture: {scored}" if scored else None,
        title_fontsize=SMALL,
    )
    return png(made)


def error_maps(
    pictures: Mapping[str, np.ndarray],
    errors: Mapping[str, np.ndarray],
    *,
    title: str,
    caption: str,
    unit: str = "squared error",
    columns: int = 6,
) -> bytes:
    """PNG: rows of pictures, then rows of error maps [N, H, W] on one colour scale, so that rows can be compared.

    The scale ends at the 99th percentile of all errors shown; brighter is worse.
    """
    names = [*pictures, *errors]
    columns = min(columns, *(len(values) for values in (*pictures.values(), *errors.values())))
    made = figure(_LABEL + _CELL * columns + 0.8, _CELL * len(names) + 0.8, title, caption)
    grid = made.subplots(len(names), columns, squeeze=False)
    shown = np.concatenate([np.ravel(values[:columns]) for values in errors.values()])
    top = max(float(np.quantile(shown, 0.99)), 1e-12)
    scale = ScalarMappable(Normalize(0, top), "inferno")
    for row, name in enumerate(names):
        for column in range(columns):
            axes = grid[row, column]
            _blank(axes)
            if name in pictures:
                _picture(axes, pictures[name][column], pixelated=False)
            else:
                axes.imshow(errors[name][column], cmap=scale.cmap, norm=scale.norm, interpolation="nearest")
        _row_label(grid[row, 0], name)
    bar = made.colorbar(scale, ax=grid[len(pictures) :, :], fraction=0.03, pad=0.01, extend="max")
    bar.set_label(unit, fontsize=TEXT)
    bar.ax.tick_params(labelsize=SMALL)
    return png(made)


@dataclass(frozen=True)
class _Sheet:
    """Axes without a frame that many pictures share, each in a place of one unit a side."""

    axes: Axes
    pitch: float  # from row to row, downwards

    @classmethod
    def on(cls, made: Figure, rows: int, columns: int, *, pitch: float, headed: bool) -> _Sheet:
        """`headed` leaves room for words above the first row."""
        axes = made.add_subplot()
        axes.set_axis_off()
        axes.set(xlim=(0, columns), ylim=(rows * pitch, 1 - pitch if headed else 0), aspect="equal", autoscale_on=False)
        return cls(axes, pitch)

    def place(self, row: int, column: int, image: np.ndarray, pixelated: bool) -> Extent:
        """Show a picture as large as its place allows."""
        height, width = image.shape[:2]
        half_x, half_y = (_SIDE / 2 * side / max(height, width) for side in (width, height))
        x, y = column + 0.5, row * self.pitch + 0.5
        extent = (x - half_x, x + half_x, y + half_y, y - half_y)
        _picture(self.axes, image, pixelated, extent)
        return extent

    def write(self, row: int, column: int, text: str, *, color: str, above: bool = False) -> None:
        """A few words under a picture, or above it."""
        y, anchor = (0.5 - 0.52 * _SIDE, "bottom") if above else (0.5 + 0.52 * _SIDE, "top")
        place = (column + 0.5, row * self.pitch + y)
        self.axes.text(*place, text, fontsize=SMALL, color=color, ha="center", va=anchor, in_layout=False)


def _picture(axes: Axes, image: np.ndarray, pixelated: bool, extent: Extent | None = None) -> None:
    """Over all of the axes, or where `extent` says."""
    shown = axes.imshow(np.clip(image, 0, 1), interpolation="nearest" if pixelated else "lanczos", extent=extent)
    shown.set_in_layout(False)  # it lies within the axes


def _blank(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _row_label(axes: Axes, name: str) -> None:
    axes.set_ylabel(
        name.replace(", ", ",\n"), fontsize=TEXT, color=INK, rotation=0, ha="right", va="center", labelpad=6
    )


def _predictor_colour(number: int) -> str:
    return (PALETTE[1], PALETTE[5], PALETTE[4], PALETTE[2])[number % 4]


def _boxes(axes: Axes, boxes: np.ndarray, extent: Extent, colour: str, names: Sequence[str] = ()) -> None:
    """One box [4] or several [n, 4] over a picture, with what is written over each."""
    left, right, bottom, top = extent
    several = np.asarray(boxes, dtype=float).reshape(-1, 4)
    for x0, y0, x1, y1 in several:
        corner = (left + x0 * (right - left), top + y0 * (bottom - top))
        length, rise = (x1 - x0) * (right - left), (y1 - y0) * (bottom - top)
        axes.add_patch(
            Rectangle(
                corner,
                length,
                rise,
                fill=False,
                edgecolor=colour,
                linewidth=1.4,
                path_effects=[_OUTLINE],
                in_layout=False,
            )
        )
    for (x0, y0, _, _), name in zip(several, names, strict=False):
        place = (left + x0 * (right - left), top + max(y0 - 0.013, 0.06) * (bottom - top))
        axes.text(*place, name, fontsize=5.5, color=colour, va="bottom", path_effects=[_OUTLINE], in_layout=False)
