"""What all pictures share: size, fonts, colours that every eye can tell apart, and the line that says what is shown.

Figures are objects of their own: pyplot and its global state are never touched, so a handler may draw from any thread.
The same input gives the same bytes. Every picture carries a caption line with n, seed and profile, since pictures
travel without the page that they were made for.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DPI = 150
#: Okabe and Ito (2008): distinct under the common colour-vision deficiencies; blue and orange first.
PALETTE: tuple[str, ...] = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#F0E442")
MARKERS: tuple[str, ...] = ("o", "s", "^", "D", "v", "P", "X", "*")
INK, QUIET, GRID = "#1a1a1a", "#595959", "#e3e3e3"
_COMPRESSION = 4  # of zlib: one per cent larger than with its usual 6, in a third of the time
TEXT, SMALL, TITLE = 9.0, 7.5, 10.5  # points


@dataclass(frozen=True)
class Estimate:
    """A number with its interval, if it has one."""

    value: float
    low: float | None = None
    high: float | None = None


def caption(*, n: int, seed: int | None, profile: str, unit: str = "held-out pictures", note: str = "") -> str:
    """One line for under a picture: `n = 40 held-out pictures · seed 0 · profile tiny · stand-in models`."""
    parts = [f"n = {n} {unit}", "all seeds" if seed is None else f"seed {seed}", f"profile {profile}", note]
    return " · ".join(part for part in parts if part)


def figure(width: float, height: float, title: str, caption: str) -> Figure:
    """An empty figure of width x height inches with its title above and its caption below; axes arrange themselves."""
    made = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(made)
    per_line = max(30, int(width * 17))
    made.suptitle(textwrap.fill(title, int(per_line * 0.75)), fontsize=TITLE, fontweight="bold", color=INK)
    made.supxlabel(textwrap.fill(caption, per_line), fontsize=SMALL, color=QUIET)
    return made


def frame(axes: Axes, x_label: str = "", y_label: str = "", *, grid: str = "y") -> None:
    """Labels, two spines and quiet grid lines (`x`, `y`, `both` or none)."""
    axes.set_xlabel(x_label, fontsize=TEXT, color=INK)
    axes.set_ylabel(y_label, fontsize=TEXT, color=INK)
    axes.tick_params(which="both", labelsize=SMALL, colors=INK, length=3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid, color=GRID, linewidth=0.8)  # type: ignore[arg-type]


def reference_lines(axes: Axes, lines: Mapping[str, float], style: str, *, horizontal: bool = True) -> None:
    """Lines across the axes (label -> place) in greys, their values in the legend; dashed baselines, dotted limits."""
    draw = axes.axhline if horizontal else axes.axvline
    for index, (label, place) in enumerate(lines.items()):
        grey = (INK, "#6e6e6e", "#a0a0a0")[index % 3]
        draw(place, color=grey, linestyle=style, linewidth=1.6, label=f"{label} ({place:.3g})")


def legend(axes: Axes, columns: int = 1) -> None:
    """The legend beside the axes, never over the data."""
    axes.legend(
        fontsize=SMALL, frameon=False, ncols=columns, borderaxespad=0, loc="upper left", bbox_to_anchor=(1.01, 1)
    )


def png(made: Figure) -> bytes:
    """The figure as PNG bytes, without the date and version that would make equal pictures differ.

    Its title and caption are in it as text too, so that a page can say in words what it shows.
    """
    stream = io.BytesIO()
    words = {"Title": made.get_suptitle(), "Description": made.get_supxlabel()}
    metadata = {"Software": None, **{key: " ".join(text.split()) for key, text in words.items()}}
    if (engine := made.get_layout_engine()) is not None:  # `savefig` would draw everything for it, and then again
        engine.execute(made)
        made.set_layout_engine(None)
    made.savefig(
        stream, format="png", dpi=DPI, facecolor="white", metadata=metadata, pil_kwargs={"compress_level": _COMPRESSION}
    )
    return stream.getvalue()
