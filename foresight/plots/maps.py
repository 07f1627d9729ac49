"""Maps of a space (t-SNE, PCA) and tables of numbers as colours.

A map is looked at and never measured. Categories differ in colour *and* shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, is_color_like
from matplotlib.ticker import MaxNLocator

from foresight.plots.style import MARKERS, PALETTE, QUIET, SMALL, TEXT, figure, frame, legend, png


def scatter_map(
    panels: Mapping[str, np.ndarray],
    labels: Sequence | np.ndarray,
    *,
    title: str,
    caption: str,
    label_name: str,
    axis_name: str = "t-SNE",
    columns: int = 3,
) -> bytes:
    """PNG: one panel per entry of `panels` (name -> coordinates [N, 2]), points coloured by `labels` [N].

    Text labels are categories (up to 64: 8 colours in 8 shapes); numbers with more than 10 values are a colour scale.
    """
    values = np.asarray(labels)
    continuous = np.issubdtype(values.dtype, np.number) and len(np.unique(values)) > 10
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    made = figure(3.3 * columns + 1.4, 3.1 * rows + 0.7, title, caption)
    grid = made.subplots(rows, columns, squeeze=False)
    scale = ScalarMappable(Normalize(values.min(), values.max()), "viridis") if continuous else None
    for index, axes in enumerate(grid.flat):
        if index >= len(panels):
            axes.set_visible(False)
            continue
        name, places = list(panels.items())[index]
        if scale:
            axes.scatter(places[:, 0], places[:, 1], c=values, cmap=scale.cmap, norm=scale.norm, s=16, linewidths=0)
        else:
            _categories(axes, places, values)
        axes.set_title(name, fontsize=TEXT)
        frame(axes, f"{axis_name} 1", f"{axis_name} 2", grid="")
        axes.set_xticks([])
        axes.set_yticks([])
    if scale:
        bar = made.colorbar(scale, ax=grid, fraction=0.04, pad=0.02)
        bar.set_label(label_name, fontsize=TEXT)
        bar.ax.tick_params(labelsize=SMALL)
    else:
        legend(grid[0, columns - 1], columns=1 + (len(np.unique(values)) > 18))
        grid[0, columns - 1].get_legend().set_title(label_name, prop={"size": TEXT})
    return png(made)


def heat_map(
    values: np.ndarray,
    *,
    title: str,
    caption: str,
    unit: str,
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    x_label: str = "",
    y_label: str = "",
    centre: float | None = None,
) -> bytes:
    """PNG: a matrix [R, C] as colours, with its numbers where there are at most 150.

    `centre` gives a diverging scale around that value; without it the scale is sequential. NaN is left white. An empty
    label leaves its row without a tick.
    """
    rows, columns = values.shape
    written = values.size <= 150
    cell = (0.55, 0.42) if written else (0.22, 0.22)
    made = figure(min(9.0, max(3.8, cell[0] * columns + 2.2)), min(9.0, max(2.6, cell[1] * rows + 1.6)), title, caption)
    axes = made.subplots()
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if centre is not None:
        reach = max(high - centre, centre - low, 1e-12)
        low, high = centre - reach, centre + reach
    image = axes.imshow(values, cmap="cividis" if centre is None else "PuOr_r", vmin=low, vmax=high, aspect="auto")
    frame(axes, x_label, y_label, grid="")
    axes.spines[:].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    if row_labels:
        named = [(place, label) for place, label in enumerate(row_labels) if label]
        axes.set_yticks([place for place, _ in named], [label for _, label in named], fontsize=SMALL)
    if column_labels:
        long = max(len(label) for label in column_labels) > 6
        named = [(place, label) for place, label in enumerate(column_labels) if label]
        axes.set_xticks(
            [place for place, _ in named],
            [label for _, label in named],
            fontsize=SMALL,
            rotation=35 if long else 0,
            ha="right" if long else "center",
        )
    if written:
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                colour = "white" if sum(image.cmap(image.norm(value))[:3]) < 1.5 else "black"
                axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=SMALL, color=colour)
    bar = made.colorbar(image, ax=axes, fraction=0.046, pad=0.02)
    bar.set_label(unit, fontsize=TEXT)
    bar.ax.tick_params(labelsize=SMALL)
    return png(made)


def block_names(labels: Sequence) -> list[str]:
    """For rows sorted by label: each label once, at the middle of its rows, and nothing elsewhere."""
    names = [""] * len(labels)
    for label in dict.fromkeys(labels):
        places = [place for place, other in enumerate(labels) if other == label]
        names[places[len(places) // 2]] = str(label)
    return names


def _categories(axes: Axes, places: np.ndarray, values: np.ndarray) -> None:
    labels = np.unique(values)
    named = all(is_color_like(str(label)) for label in labels)  # what is called green is drawn green
    for number, label in enumerate(labels):
        chosen = places[values == label]
        axes.scatter(
            chosen[:, 0],
            chosen[:, 1],
            color=str(label) if named else PALETTE[number % 8],
            marker=MARKERS[(number + number // 8) % 8],
            s=20,
            alpha=0.85,
            linewidths=0.3,
            edgecolors=QUIET,
            label=str(label),
        )
