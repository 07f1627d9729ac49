"""Numbers as people read them: dollars, durations, sizes."""

from __future__ import annotations


def usd(value: float | None) -> str:
    """`$1.23`, `<$0.01`, `–` where it is not known."""
    if value is None:
        return "–"
    return "<$0.01" if 0 < value < 0.01 else f"${value:,.2f}"


def duration(seconds: float | None) -> str:
    """`12.3 s`, `4 min 10 s`, `2 h 05 min`, `–` where it is not known."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def size(value: int | None) -> str:
    """`1.2 kB`, `3.4 MB`, `5.6 GB`, `–` where it is not known."""
    if value is None:
        return "–"
    if value >= 1e9:
        return f"{value / 1e9:.1f} GB"
    return f"{value / 1e6:.1f} MB" if value >= 1e5 else f"{value / 1e3:.1f} kB"
