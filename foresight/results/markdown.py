"""A verdict as Markdown, for a Prefect artifact or a pull request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foresight.results import caveats, points, rehearsal
from foresight.results.comparison import Side
from foresight.results.findings import number
from foresight.results.gates import GateState
from foresight.results.pictures import CURVE, data_uri
from foresight.results.table import BETTER, VERDICTS


def verdict(document: Mapping[str, Any]) -> str:
    """The criteria with interval and baseline, then the findings. `document` is the content of a results.yaml."""
    lines = [
        f"# {document['title']}: {rehearsal.recommendation(document)}",
        "",
        document["question"],
        "",
        f"Profile `{document['profile']}`, status {document['status']}, "
        f"{rehearsal.confidence(document)}, run `{document['run_id']}`.",
    ]
    if document["stand_ins"]:
        lines.append(
            f"Measured on stand-ins ({', '.join(document['stand_ins'])}): the rule "
            "gives the words below, and they decide nothing about the real models."
        )
    # Short words and numbers, or the UI cuts the last column off; it does not wrap a cell either.
    lines += [
        "",
        f"| criterion | {rehearsal.heading(document)} | value | 95 % interval | accept | best baseline | n/seeds |",
        7 * "|---" + "|",
    ]
    for row in document["criteria"]:
        unit, baseline = row.get("unit"), row["baseline"]
        cells = [
            row["name"] + (f", {unit}" if unit else ""),
            f"**{row['verdict']}**",
            "–" if row["value"] is None else number(row["value"]),
            _interval(row["interval"]),
            f"{BETTER[row['direction']]} {number(row['acceptable'])}",
            "–" if baseline is None else f"{baseline['name'].replace('_', ' ')} {number(baseline['value'])}",
            f"{row['n']}/{row['seeds']}",
        ]
        lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    lines += ["", "## Why", ""]
    entries = document["results"]["experiments"]
    for row in document["criteria"]:
        lines.append(f"- {row['name']} ({row['sub_experiment']}): {row['reason']}")
        lines += [f"  - {caveat}" for caveat in caveats.of(row, entries[row["sub_experiment"]])]
    lines += _across(document)
    lines += ["", "## What was found", ""]
    for sub_id, entry in entries.items():
        text = entry["finding"] or entry.get("error", "") or "; ".join(entry["notes"])
        state = "" if entry["status"] == "completed" else f", {entry['status']}"
        lines.append(f"- **{sub_id}** {entry['title']}{state}: {text}")
    return "\n".join(lines) + "\n"


def in_short(document: Mapping[str, Any]) -> str:
    """The verdict in a line: `pivot, confidence medium: 2 marginal, 2 not met`."""
    verdicts = [row["verdict"] for row in document["criteria"]]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in VERDICTS if verdict in verdicts)
    said = f"{rehearsal.recommendation(document)}, {rehearsal.confidence(document)}"
    return f"{said}: {counts or 'no criteria'}"


def _across(document: Mapping[str, Any]) -> list[str]:
    """The same score at several extraction points; nothing where no sub-experiment compares them."""
    found = points.across(document)
    if not found:
        return []
    columns = points.in_order({point for series in found for point in series.at})
    lines = [
        "",
        "## Along the extraction points",
        "",
        f"| score | {' | '.join(columns)} |",
        (len(columns) + 1) * "|---" + "|",
    ]
    for series in found:
        metrics = document["results"]["experiments"][series.sub_experiment]["metrics"]
        cells = [number(metrics[series.at[point]]) if point in series.at else "–" for point in columns]
        how = f", {series.how}" if series.how else ""
        better = "more" if series.higher_is_better else "less"
        lines.append(f"| {series.metric} ({series.sub_experiment}{how}; {better} is better) | {' | '.join(cells)} |")
    return lines


def findings(document: Mapping[str, Any], folder: Path, pictures_each: int = 2) -> str:
    """What each sub-experiment found, and its first pictures inside the page. `folder`: of the results.yaml."""
    lines = [f"# {document['title']}: findings", ""]
    for sub_id, entry in document["results"]["experiments"].items():
        lines += [f"## {sub_id} {entry['title']}", "", entry["finding"] or entry.get("error") or entry["status"], ""]
        lines += [f"*Note: {note}*\n" for note in entry["notes"]]
        names = [name for name in entry["artifacts"] if name.endswith(".png") and "/seed-" not in name]
        names.sort(key=lambda name: CURVE in name)
        for name in names[:pictures_each]:
            address = data_uri(folder / name)
            if address is not None:
                lines += [f"![{Path(name).stem.replace('_', ' ')}]({address})", ""]
        if more := len(entry["artifacts"]) - len(names[:pictures_each]):
            lines += [f"{more} more in `{folder / 'artifacts' / sub_id}`", ""]
    return "\n".join(lines) + "\n"


def cost(side: Side) -> str:
    """What this run computed, by sub-experiment; what it took from records cost nothing again."""
    lines = [
        "| sub-experiment | seeds computed | seeds from records | seconds | dollars | on |",
        "|---|---|---|---|---|---|",
    ]
    for sub_id, seeds in side.records.items():
        own = [record for record in seeds.values() if record.fingerprint in side.computed]
        if seeds:
            devices = ", ".join(sorted({record.usage.device for record in own})) or "–"
            seconds, usd = sum(one.usage.seconds for one in own), sum(one.usage.cost_usd for one in own)
            lines.append(f"| {sub_id} | {len(own)} | {len(seeds) - len(own)} | {seconds:.1f} | {usd:.2f} | {devices} |")
    lines.append(f"| **all** | {len(side.computed)} | | {side.seconds:.1f} | **{side.cost_usd:.2f}** | |")
    return "\n".join(lines) + "\n\nExtractions and failed attempts are not in it: `foresight status` has them.\n"


def gates(states: Sequence[GateState]) -> str:
    """Each gate with its measured verdict, and beside it what people decided."""
    lines = ["| gate | unlocks | measured | decided |", "|---|---|---|---|"]
    for state in states:
        phase = "evaluation" if state.unlocks_phase is None else f"phase {state.unlocks_phase}"
        decided = ", ".join(f"opened by {one.by}, {one.date[:10]}" for one in state.overrides)
        lines.append(f"| {state.gate} | {phase} | **{state.verdict}** | {decided or '–'} |")
    lines.append("")
    for state in states:
        lines.append(f"- {state.gate}, measured: {state.reason}")
        lines += [f"- {state.gate}, {one.by} (then: {one.measured}): {one.reason}" for one in state.overrides]
    return "\n".join(lines) + "\n"


def _interval(value: Mapping[str, Any] | str | None) -> str:
    if value is None or isinstance(value, str):
        return value or "–"
    return f"{number(value['low'])} … {number(value['high'])}"
