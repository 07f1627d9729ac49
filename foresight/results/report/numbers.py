"""Numbers and signs as a report prints them: the same number of digits down a column, a true minus, a true arrow."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from foresight.results.findings import number

DIGITS = 3
_MINUS = re.compile(r"(?<![\w.\-])-(?=[\d.])")


def measured(value: float, spread: float | None = None) -> str:
    """Three significant digits, trailing zeros too, and a standard deviation to the same place: `0.610 ± 0.022`."""
    if value == 0 and not spread:
        return "0"
    at = abs(value) or abs(spread or 1.0)
    if not 1e-4 <= at < 1e6:
        return minus(f"{value:.{DIGITS - 1}e}" + (f" ± {spread:.0e}" if spread else ""))
    places = max(0, DIGITS - 1 - math.floor(math.log10(at)))
    return minus(f"{value:,.{places}f}" + (f" ± {spread:,.{places}f}" if spread else ""))


def counted(values: Sequence[float], spread: float | None = None) -> str:
    """What may be a count: whole where every seed's is whole."""
    whole = all(value == int(value) for value in values)
    mean = sum(values) / len(values)
    return minus(number(mean)) if whole and not spread else measured(mean, spread)


def minus(text: str) -> str:
    """`-0.03` with a minus sign; what is no number stays: `e_q2-1`, `2026-11-26`."""
    return _MINUS.sub("\u2212", text)


def prose(text: str) -> str:
    """What a handler or a plan wrote, with true signs."""
    return minus(text).replace(" -> ", " \u2192 ")


def listed(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
