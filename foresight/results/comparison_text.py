"""A comparison in words: lines for a log or a terminal, Markdown for an artifact. What matters most comes first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from foresight.metrics.statistics import Interval
from foresight.results.comparison import LEVEL_OF_CHANCE, Change, Comparison, Flip, Side
from foresight.results.findings import number
from foresight.units import duration, usd

ARROW = "→"


def lines(comparison: Comparison) -> list[str]:
    """`c1-…: since 20261126-020000-ab12cd …`, then one line a piece of news; a single line if there is none."""
    head = f"{comparison.experiment_id}: {_since(comparison)}"
    if not comparison.is_news:
        return [f"{head}: nothing new; {_quiet(comparison)}"]
    found = [f"{head}:"]
    found += [f"  flipped   {flip_line(flip)}" for flip in comparison.flips]
    found += [f"  failed    {sub}: {why}" for sub, why in comparison.failed.items()]
    found += [f"  mended    {sub}" for sub in comparison.mended]
    found += [f"  moved     {_moved(change)}" for change in comparison.moved]
    found.append(f"  else      {_quiet(comparison)}")
    found += [f"  note      {caveat}" for caveat in comparison.caveats]
    return found


def flip_line(flip: Flip) -> str:
    return f"{flip.what}: {flip.before} {ARROW} {flip.after}" + (f" ({flip.reason})" if flip.reason else "")


def markdown(comparison: Comparison) -> str:
    """The same as tables, with what did not move below."""
    text = [
        f"# {comparison.experiment_id}: what changed",
        "",
        f"{_since(comparison)[0].upper()}{_since(comparison)[1:]}.",
    ]
    text += [f"**Note**: {caveat}." for caveat in comparison.caveats]
    text.append("")
    if comparison.flips:
        text += _flip_table("flipped", comparison.flips)
    if comparison.failed or comparison.mended:
        text += ["| sub-experiment | now | |", "|---|---|---|"]
        text += [_row(sub, "**failed**", why) for sub, why in comparison.failed.items()]
        text += [_row(sub, "works again", "") for sub in comparison.mended] + [""]
    rest = [change for change in comparison.changes if change.kind != "moved"]
    for heading, changes in (("moved beyond its interval", comparison.moved), ("did not", rest)):
        if changes:
            text += [f"| {heading} | before | now | difference (95 %) | how |", "|---|---|---|---|---|"]
            text += [_change_row(change) for change in changes] + [""]
    if not comparison.is_news:
        text += ["Nothing new.", ""]
    text.append(_sentence(_quiet(comparison)))
    return "\n".join(text) + "\n"


def _since(comparison: Comparison) -> str:
    def named(side: Any) -> str:
        return side.name + (f" (commit {side.git_commit[:8]})" if side.git_commit else "")

    return f"run {named(comparison.after)} against {named(comparison.before)}"


def _quiet(comparison: Comparison) -> str:
    return "; ".join(_quiet_parts(comparison))


def _quiet_parts(comparison: Comparison) -> Iterator[str]:
    if comparison.same:
        yield f"{', '.join(comparison.same)} from the same records"
    tested, moved = comparison.tested, len(comparison.moved)
    if tested:
        chance = f", about {LEVEL_OF_CHANCE * tested:.1f} would by chance" if moved else ""
        yield f"{moved} of {tested} metrics moved beyond their interval{chance}"
    without = sum(change.kind == "no interval" for change in comparison.changes)
    if without:
        yield f"{without} values differ without an interval to judge them by"
    yield f"computed for {_spent(comparison.after)} (then {_spent(comparison.before)})"


def _spent(side: Side) -> str:
    return f"{duration(side.spent.seconds)}, {usd(side.spent.cost_usd)}"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _moved(change: Change) -> str:
    word = {True: "better", False: "worse", None: "changed"}[change.better]
    return f"{change.sub_experiment} {change.metric}: {_values(change)}, {word} by {_interval(change)}, {change.how}"


def _values(change: Change) -> str:
    return f"{_value(change.before)} {ARROW} {_value(change.after)}"


def _value(value: float | None) -> str:
    return "–" if value is None else number(value)


def _interval(change: Change) -> str:
    one = change.difference
    if not isinstance(one, Interval):
        return "–" if one is None else one.reason
    return f"{one.estimate:+.3g} [{one.low:+.3g}, {one.high:+.3g}]"


def _change_row(change: Change) -> str:
    word = {True: "better", False: "**worse**", None: ""}[change.better]
    kind = change.kind if change.kind in ("appeared", "vanished") else ""
    how = "; ".join(part for part in (word, change.how.replace(" by source", ""), kind) if part)
    name = f"{change.sub_experiment} {change.metric}"
    return _row(name, _value(change.before), _value(change.after), _interval(change), how)


def _flip_table(heading: str, flips: Sequence[Flip]) -> list[str]:
    """The reasons stand below: a table of the UI does not wrap what is long."""
    rows = [_row(flip.what, flip.before, f"**{flip.after}**") for flip in flips]
    reasons = [f"- {flip.what}: {flip.reason}" for flip in flips if flip.reason]
    return [_row(heading, "before", "now"), "|---|---|---|", *rows, "", *reasons, ""]


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def as_json(comparison: Comparison) -> dict[str, Any]:
    """For programs."""

    def change(one: Change) -> dict[str, Any]:
        difference = vars(one.difference) if one.difference is not None else None
        return {**vars(one), "difference": difference, "better": one.better}

    def side(one: Any) -> dict[str, Any]:
        spent = one.spent.model_dump(include={"seconds", "cost_usd"})
        return {"run_id": one.name, "git_commit": one.git_commit, **spent}

    return {
        "experiment_id": comparison.experiment_id,
        "before": side(comparison.before),
        "after": side(comparison.after),
        "changes": [change(one) for one in comparison.changes],
        "flips": [vars(flip) for flip in comparison.flips],
        "failed": dict(comparison.failed),
        "mended": list(comparison.mended),
        "same": list(comparison.same),
        "caveats": list(comparison.caveats),
    }


def program(comparisons: Sequence[Comparison], gates: Sequence[Flip]) -> str:
    """What a whole programme has changed, as one artifact: gates first."""
    text = []
    if gates:
        text += _flip_table("gate", gates)
    news = [one for one in comparisons if one.is_news]
    quiet = [one.experiment_id for one in comparisons if not one.is_news]
    text += [markdown(one) for one in news]
    if quiet:
        text.append(f"Nothing new in {', '.join(quiet)}.")
    return "\n".join(text) + "\n"
