"""A verdict as Markdown, for a Prefect artifact or a pull request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from foresight.results.gates import GateState


def verdict(document: Mapping[str, Any]) -> str:
    """The criteria with interval and baseline, then the findings. `document` is the content of a results.yaml."""
    lines = [
        f"# {document['title']}: {document['recommendation']}",
        "",
        document["question"],
        "",
        f"Profile `{document['profile']}`, status {document['status']}, "
        f"confidence {document['assessment']['confidence']}, run `{document['run_id']}`.",
    ]
    if document["stand_ins"]:
        lines.append(
            f"Measured on stand-ins ({', '.join(document['stand_ins'])}): this says nothing about the real models."
        )
    lines += [
        "",
        "| criterion | value | 95 % interval | acceptable | best baseline | n / seeds | verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in document["criteria"]:
        sign = "≥" if row["direction"] == "higher" else "≤"
        baseline = row["baseline"]
        cells = [
            f"{row['name']} ({row['sub_experiment']})",
            _number(row["value"]),
            _interval(row["interval"]),
            f"{sign} {row['acceptable']:g}",
            "–" if baseline is None else f"{baseline['name']} {_number(baseline['value'])}",
            f"{row['n']} / {row['seeds']}",
            f"**{row['verdict']}**: {row['reason']}",
        ]
        lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    lines += ["", "| sub-experiment | status | finding |", "|---|---|---|"]
    for sub_id, entry in document["results"]["experiments"].items():
        text = entry["finding"] or entry.get("error", "") or "; ".join(entry["notes"])
        lines.append(f"| {sub_id} {entry['title']} | {entry['status']} | {text.replace('|', '/')} |")
    return "\n".join(lines) + "\n"


def gates(states: Sequence[GateState]) -> str:
    """Each gate with its measured verdict, and beside it what people decided."""
    lines = ["| gate | unlocks | measured | why | decided |", "|---|---|---|---|---|"]
    for state in states:
        phase = "evaluation" if state.unlocks_phase is None else f"phase {state.unlocks_phase}"
        decided = "<br>".join(
            f"opened by {one.by}, {one.date[:10]} (then: {one.measured}): {one.reason}" for one in state.overrides
        )
        cells = [state.gate, phase, f"**{state.verdict}**", state.reason, decided or "–"]
        lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"


def _interval(value: Mapping[str, Any] | str | None) -> str:
    if value is None or isinstance(value, str):
        return value or "–"
    return f"{value['low']:.3f} to {value['high']:.3f}"
