"""Pictures of pictures: originals and reconstructions side by side, boxes over them, where the errors are.

Pictures are float [N, H, W, 3] in [0, 1]. They are shown at least 1.1 inches wide (165 px), photographs enlarged by
Lanczos; `pixelated=True` shows each pixel as a square.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from foresight.plots.style import INK, PALETTE, QUIET, SMALL, TEXT, figure, png

_CELL = 1.15  # inches
_LABEL = 1.0
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
    made = figure(_LABEL + _CELL * columns, (_CELL + 0.18) * len(rows) + 0.75, title, caption)
    grid = made.subplots(len(rows), columns, squeeze=False)
    for row, (name, images) in enumerate(rows.items()):
        for column in range(columns):
            axes = grid[row, column]
            _blank(axes)
            if column and column >= len(images) > 1:
                axes.set_visible(False)
                continue
            _picture(axes, images[column if len(images) > 1 else 0], pixelated)
            if name in scores and np.isfinite(scores[name][column]):
                axes.set_xlabel(
                    f"{score_name} {float(scores[name][column]):.3f}", fontsize=SMALL, color=INK, labelpad=2
                )
            if row == 0 and column_labels:
                axes.set_title(column_labels[column], fontsize=SMALL, color=QUIET, pad=3)
        _row_label(grid[row, 0], name)
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
    made = figure(max(4.5, cell * columns), (cell + 0.3) * rows + 1.1, title, caption)
    grid = made.add_gridspec(rows + 1, columns, height_ratios=[1.0] * rows + [0.2])
    for index in range(count):
        axes = made.add_subplot(grid[index // columns, index % columns])
        _blank(axes)
        _picture(axes, images[index], pixelated=False)
        _boxes(axes, true_boxes[index], images[index].shape, "white")
        texts = []
        for number, (name, boxes) in enumerate(predicted_boxes.items()):
            written = names[name][index] if names and name in names else ()
            _boxes(axes, boxes[index], images[index].shape, _predictor_colour(number), written)
            if scores and name in scores:
                texts.append(f"{float(scores[name][index]):.2f}")
        if texts:
            axes.set_title("IoU " + " / ".join(texts), fontsize=SMALL, color=INK, pad=3)
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
    key = made.add_subplot(grid[rows, :])
    key.set_axis_off()
    scored = " / ".join(name for name in predicted_boxes if scores and name in scores)
    key.legend(
        handles=handles,
        loc="center",
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


def _picture(axes: Axes, image: np.ndarray, pixelated: bool) -> None:
    axes.imshow(np.clip(image, 0, 1), interpolation="nearest" if pixelated else "lanczos")


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


def _boxes(axes: Axes, boxes: np.ndarray, shape: tuple[int, ...], colour: str, names: Sequence[str] = ()) -> None:
    """One box [4] or several [n, 4], with what is written over each."""
    height, width = shape[:2]
    several = np.asarray(boxes, dtype=float).reshape(-1, 4)
    for x0, y0, x1, y1 in several:
        corner, length, rise = (x0 * width - 0.5, y0 * height - 0.5), (x1 - x0) * width, (y1 - y0) * height
        axes.add_patch(
            Rectangle(corner, length, rise, fill=False, edgecolor=colour, linewidth=1.4, path_effects=[_OUTLINE])
        )
    for (x0, y0, _, _), name in zip(several, names, strict=False):
        place = (x0 * width, max(y0 * height - 1.5, 0.06 * height))
        axes.text(*place, name, fontsize=5.5, color=colour, va="bottom", path_effects=[_OUTLINE])
