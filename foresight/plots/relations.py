"""How two numbers of the same things relate: points where there are few, where there are many how dense they lie."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm

from foresight.plots.style import INK, PALETTE, SMALL, TEXT, figure, frame, png

_FEW = 1500  # points that can still be told apart


def relation(
    panels: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    title: str,
    caption: str,
    x_label: str,
    y_label: str,
    unit: str = "pairs",
    identity: bool = False,
    columns: int = 3,
) -> bytes:
    """PNG: a panel per entry, name -> (x [N], y [N]).

    Over 1,500 points a panel shows how many `unit` lie in each hexagon, on one logarithmic scale. `identity` draws
    y = x, and then both axes have one range.
    """
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    made = figure(3.2 * columns + 1.0, 3.0 * rows + 0.8, title, caption)
    grid = made.subplots(rows, columns, squeeze=False)
    dense = []
    for index, axes in enumerate(grid.flat):
        if index >= len(panels):
            axes.set_visible(False)
            continue
        name, (x, y) = list(panels.items())[index]
        if len(x) > _FEW:
            dense.append(axes.hexbin(x, y, gridsize=32, mincnt=1, cmap="cividis", linewidths=0.1))
        else:
            axes.scatter(x, y, color=PALETTE[0], s=16, alpha=0.7, linewidths=0)
        if identity:
            low, high = min(np.min(x), np.min(y)), max(np.max(x), np.max(y))
            axes.plot([low, high], [low, high], color=INK, linestyle="--", linewidth=1.0)
        axes.set_title(name, fontsize=TEXT)
        frame(axes, x_label, y_label, grid="" if len(x) > _FEW else "both")
    if dense:
        norm = LogNorm(1, max(float(np.max(cells.get_array())) for cells in dense))
        for cells in dense:
            cells.set_norm(norm)
        bar = made.colorbar(ScalarMappable(norm, "cividis"), ax=grid, fraction=0.04, pad=0.02)
        bar.set_label(f"{unit} in a cell", fontsize=TEXT)
        bar.ax.tick_params(labelsize=SMALL)
    return png(made)
