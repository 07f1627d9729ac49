"""results.yaml for the eye: rich renderables of its content, for a terminal of 80 columns or more.

Everything is made of `Text`, never of markup, because findings hold brackets. Colour repeats what the words say, so
nothing is lost where there is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from foresight.results import caveats, published, rehearsal
from foresight.results.findings import number
from foresight.results.gates import GateState
from foresight.results.spending import Spent
from foresight.tables import Listing, bare_table
from foresight.units import duration, usd

COLOURS = {
    "met": "green",
    "marginal": "yellow",
    "not met": "red",
    "not measured": "dim",
    "proceed": "green",
    "investigate": "yellow",
    "pivot": "red",
    "pending": "dim",
    "completed": "green",
    "failed": "red",
    "running": "cyan",
    "in_progress": "cyan",
    "skipped": "dim",
    "stub": "magenta",
    "pass": "green",
    "fail": "red",
    "not applicable": "dim",
}
VERDICTS = ("met", "marginal", "not met", "not measured")
BETTER = {"higher": "≥", "lower": "≤"}
NAME_WIDTH = 13  # of a criterion


def experiment(
    content: Mapping[str, Any], folder: Path, *, with_published: bool = False, spent: Spent | None = None
) -> RenderableType:
    """What a run ends with, and `results show` shows. `folder` is where the results.yaml lies."""
    title = Text(content.get("title", content["experiment_id"]), style="bold")
    about = f"  {content['experiment_id']} · profile {content.get('profile', 'unknown')} · {content['status']}"
    title.append(about, style="not bold dim")
    parts: list[RenderableType] = [title]
    if content.get("question"):
        parts.append(Text(content["question"], style="italic"))
    why, figures = reasons(content), published_figures(content) if with_published else None
    parts += [Text(), sub_experiments(content), *([Text(), figures] if figures else [])]
    parts += [Text(), criteria(content), Text(), *why, *([Text()] if why else [])]
    parts += [verdict_line(content), *warnings(content), *([_spent(spent)] if spent else []), _files(content, folder)]
    return Group(*parts)


def sub_experiments(content: Mapping[str, Any]) -> Listing:
    """What each found, or why it found nothing."""
    table = Listing("sub-experiment", "status", "finding")
    for sub_id, entry in content["results"]["experiments"].items():
        if entry["status"] == "failed":
            said = Text(entry["error"], style="red")
        else:
            said = Text(entry["finding"] or entry.get("title", ""), style="" if entry["finding"] else "dim")
        table.add_row(Text(sub_id), _coloured(entry["status"]), said)
    return table


def criteria(content: Mapping[str, Any]) -> Table:
    """Each criterion with its value, interval, thresholds, best trivial baseline, and verdict."""
    judged = content.get("criteria", [])
    longest = max((len(one["verdict"]) for one in judged), default=0)
    most = NAME_WIDTH - max(longest - len("marginal"), 0)  # at 80 columns
    names = [_folded(one["name"] + (f", {one['unit']}" if one.get("unit") else ""), most) for one in judged]
    counts = [f"{one['n']}/{one['seeds']}" if one.get("seeds") else "–" for one in judged]
    table = bare_table()
    table.add_column("criterion", overflow="fold", width=min(max(_widest(names), 9), most))
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("95 % interval", no_wrap=True)
    table.add_column("accept (aim)", no_wrap=True)
    table.add_column("best baseline", overflow="fold", min_width=8)
    table.add_column("n / seeds", justify="right", width=max(_widest(counts), 5))
    table.add_column(rehearsal.heading(content), no_wrap=True)
    for name, count, one in zip(names, counts, judged, strict=True):
        aim = f" ({number(one['target'])})" if "target" in one else ""
        table.add_row(
            Text(name),
            Text("–" if one["value"] is None else number(one["value"])),
            Text(_interval(one.get("interval"))),
            Text(f"{BETTER[one['direction']]} {number(one['acceptable'])}{aim}"),
            Text(_baseline(one.get("baseline"))),
            Text(count),
            _coloured(one["verdict"]),
        )
    return table


def gate_line(state: GateState) -> Text:
    """Whether the next phase may start, and who decided otherwise."""
    what = f"phase {state.unlocks_phase}" if state.unlocks_phase else "the final evaluation"
    line = Text.assemble(
        ("gate      ", "dim"), (state.verdict, COLOURS.get(state.verdict, "")), f"  {state.gate}, before {what}: "
    )
    line.append(state.reason)
    for one in state.overrides:
        line.append(f"; opened by {one.by}, {one.date[:10]}: {one.reason}")
    return line


def reasons(content: Mapping[str, Any]) -> list[Text]:
    """Why each criterion that is not met is not, and what must be read beside any."""
    lines, entries = [], content["results"]["experiments"]
    for one in content.get("criteria", []):
        said = [] if one["verdict"] == "met" else [one["reason"]]
        said += caveats.of(one, entries.get(one["sub_experiment"], {}))
        lines += [Text.assemble((f"  {one['name']} ", COLOURS[one["verdict"]]), text) for text in said]
    return lines


def verdict_line(content: Mapping[str, Any]) -> Text:
    """One line: what follows from it."""
    colour = f"bold {COLOURS[content['recommendation']]}"
    verdicts = [one["verdict"] for one in content.get("criteria", [])]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in VERDICTS if verdict in verdicts)
    line = Text.assemble(("verdict   ", "dim"), (rehearsal.recommendation(content), colour))
    line.append(f"  {rehearsal.confidence(content)}; {counts or 'no criteria'}")
    fixed = content.get("criteria_hash", "")[:12]
    return line.append(f"; criteria {fixed}, fixed before the run" if fixed else "", style="dim")


def warnings(content: Mapping[str, Any]) -> Iterator[Text]:
    """What must be read beside the numbers: stubs, stand-ins, the handlers' own notes."""
    if content["status"] == "stub":
        yield Text("stub      a rehearsal without any computation; nothing here was measured", style="magenta")
    if content.get("stand_ins"):
        yield Text(
            f"stand-ins measured on {' and '.join(content['stand_ins'])}: tiny models of the real classes. "
            "The numbers say whether the code works, and nothing about the models that the programme asks about.",
            style="yellow",
        )
    seen: dict[str, list[str]] = {}
    for sub_id, entry in content["results"]["experiments"].items():
        for note in entry.get("notes", []):
            seen.setdefault(note, []).append(sub_id)
    for note, subs in seen.items():
        yield Text.assemble((f"note      {', '.join(subs)}: ", "dim"), note)


def published_figures(content: Mapping[str, Any]) -> RenderableType | None:
    """The published figures that a metric of ours asks the same as, beside it; letters for why they do not compare.

    None where nothing was published, or nothing of it has a counterpart. The others are in the report.
    """
    rows = [row for row in published.beside(content) if row.figure.ours]
    if not rows:
        return None
    letters: dict[str, str] = {}
    table = bare_table()
    table.add_column("sub-experiment", no_wrap=True)
    table.add_column("figure", overflow="fold")
    table.add_column("published", justify="right", no_wrap=True)
    table.add_column("ours", justify="right", no_wrap=True)
    table.add_column("but", no_wrap=True)
    above = ""
    for row in rows:
        for reason in row.reasons:
            letters.setdefault(reason, chr(ord("a") + len(letters)))
        table.add_row(
            Text(row.sub_experiment if row.sub_experiment != above else ""),
            Text(row.figure.name),
            Text(published_number(row.figure)),
            Text("–" if row.ours is None else number(row.ours) + unit(row.figure), style="bold"),
            Text(" ".join(sorted(letters[reason] for reason in row.reasons)), style="dim"),
        )
        above = row.sub_experiment
    source = published.load().source
    title = Text("published beside ours", style="bold")
    title.append(f"  {source.repository.removeprefix('https://')} at {source.commit}, unverified", style="not bold dim")
    if content.get("profile") != "repro":
        title.append("; repro is the profile to compare with", style="not bold dim")
    legend = Table.grid(padding=(0, 1))
    for reason, letter in letters.items():
        legend.add_row(Text(f"  {letter}", style="dim"), Text(reason, style="dim"))
    return Group(title, table, legend)


def published_number(figure: published.Figure) -> str:
    """`0.828 (0.808)`: the record's, and in brackets what stands elsewhere; brackets alone where there is no record."""
    record = "" if figure.record is None else number(figure.record) + unit(figure)
    elsewhere = "" if figure.elsewhere is None else f"({number(figure.elsewhere)}{unit(figure)})"
    return f"{record} {elsewhere}".strip()


def unit(of: published.Figure) -> str:
    return f" {of.unit}" if of.unit else ""


def overview(contents: Iterable[Mapping[str, Any]]) -> Listing:
    """`results list`: one line an experiment; sub-experiments done, criteria met, and how sure that is."""
    table = Listing("experiment", "profile", "status", "done", "met", "recommendation")
    for content in contents:
        entries = content["results"]["experiments"].values()
        done = sum(entry["status"] == "completed" for entry in entries)
        verdicts = [one["verdict"] for one in content.get("criteria", [])]
        table.add_row(
            Text(content["experiment_id"]),
            Text(content.get("profile", "–")),
            _coloured(content["status"]),
            Text(f"{done}/{len(entries)}"),
            Text(f"{verdicts.count('met')}/{len(verdicts)}"),
            _coloured(content["recommendation"]).append(
                f" ({'rehearsal' if rehearsal.is_rehearsal(content) else content['assessment']['confidence']})",
                style="dim",
            ),
        )
    return table


def gates(states: Sequence[GateState]) -> RenderableType:
    """`gates show`: the measured verdict of each, and beside it what people decided."""
    table = Listing("gate", "unlocks", "measured", "why")
    for state in states:
        why = Text(state.reason)
        for one in state.overrides:
            why.append(
                f"\noverridden by {one.by}, {one.date[:10]} (then: {one.measured}): {one.reason}", style="magenta"
            )
        phase = "evaluation" if state.unlocks_phase is None else f"phase {state.unlocks_phase}"
        table.add_row(Text(state.gate), Text(phase), _coloured(state.verdict), why)
    return table


def _folded(name: str, most: int) -> str:
    """A name longer than `most` on several lines, broken behind underscores: `neighborhood_` above `recall_at_10`."""
    lines = [""]
    for part in re.findall(r"[^_]*_|[^_]+$", name):
        if lines[-1] and len(lines[-1] + part) > most:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _widest(names: Sequence[str]) -> int:
    return max((len(line) for name in names for line in name.split("\n")), default=0)


def _coloured(word: str) -> Text:
    return Text(word, style=COLOURS.get(word, ""))


def _baseline(baseline: Mapping[str, Any] | None) -> str:
    """With spaces, so that a narrow column can break the name."""
    return f"{baseline['name'].replace('_', ' ')} {number(baseline['value'])}" if baseline else "–"


def _interval(interval: Mapping[str, Any] | str | None) -> str:
    if interval is None:
        return "–"
    return "insufficient" if isinstance(interval, str) else f"{number(interval['low'])} … {number(interval['high'])}"


def _spent(spent: Spent) -> Text:
    line = Text.assemble(
        ("cost      ", "dim"), f"{usd(spent.cost_usd)} and {duration(spent.seconds)} of computing, by all runs of it"
    )
    if spent.failed_attempts:
        attempts = f"{spent.failed_attempts} failed attempt{'s' if spent.failed_attempts > 1 else ''}"
        line.append(f", of which {usd(spent.failed_cost_usd)} and {duration(spent.failed_seconds)} for {attempts}")
    return line


def _files(content: Mapping[str, Any], folder: Path) -> Text:
    count = sum(len(entry["artifacts"]) for entry in content["results"]["experiments"].values())
    return Text.assemble(
        ("files     ", "dim"), str(folder / "results.yaml"), f", and {count} in artifacts/ beside it" if count else ""
    )
