"""The sentences of a report. Each is made from what was measured; none is fixed text beside a number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foresight.results.findings import number
from foresight.results.report.facts import ExperimentFacts

MEANS = {
    "proceed": "the idea holds by its own criteria",
    "pivot": "the idea does not hold in this form",
    "investigate": "the measurements do not settle it",
    "pending": "not everything that decides has been measured",
}
SURE = {
    "high": "every criterion has an interval over sources and seeds, trivial baselines beside it, and at least three "
    "seeds",
    "medium": "every criterion has an interval and trivial baselines beside it, but fewer than three seeds",
    "low": "at least one criterion has no interval, no baseline or no measurement",
}
DECIDES = {"proceed": "met", "pivot": "not met", "investigate": "marginal", "pending": "not measured"}
AT = {"higher": "at least", "lower": "at most"}


def verdict(facts: ExperimentFacts) -> tuple[str, str]:
    """What follows and why, in two sentences."""
    content = facts.content
    if content["status"] == "stub":
        return "Nothing was measured: this was a rehearsal without any computation.", "No verdict can rest on it."
    rows, recommendation = content["criteria"], content["recommendation"]
    if not rows:
        return f"{recommendation.capitalize()}: {MEANS[recommendation]}.", "The plan gives it no criterion."
    said = [row["verdict"] for row in rows]
    counts = [
        f"{count} {'is' if count == 1 else 'are'} {word}"
        for word in ("met", "marginal", "not met", "not measured")
        if (count := said.count(word))
    ]
    means = "as measured on stand-ins, which decides nothing" if content["stand_ins"] else MEANS[recommendation]
    first = f"{recommendation.capitalize()}: {means}; "
    first += f"of {len(rows)} criteria {_listed(counts)}." if len(rows) > 1 else f"its one criterion is {said[0]}."
    decides = [row for row in rows if row["verdict"] == DECIDES[recommendation]]
    decides = decides or [row for row in rows if row["verdict"] == "not measured"] or list(rows)
    row = max(decides, key=_how_far)
    asked = f"{AT[row['direction']]} {number(row['acceptable'])}{_unit(row)} is acceptable"
    if row["value"] is None:
        return first, f"Open is {row['name']}, where {asked}: {row['reason']}."
    head = "The narrowest is" if recommendation == "proceed" else "What decides is"
    return first, f"{head} {row['name']}, {number(row['value'])}{_unit(row)} where {asked}: {row['reason']}."


def sure(facts: ExperimentFacts) -> str:
    confidence = facts.content["assessment"]["confidence"]
    return f"Confidence {confidence}: {SURE[confidence]}."


def stand_ins(facts: ExperimentFacts) -> str:
    """Why this says nothing of the models that the programme asks about; empty where it does."""
    names = facts.content.get("stand_ins")
    if not names:
        return ""
    return (
        f"Measured on {_listed(names)}: tiny stand-in models of the real classes. Every number here says whether the "
        "code works, and nothing about the models that the programme asks about."
    )


def counts(facts: ExperimentFacts, moves_gates: bool) -> str:
    """Whether this run can move a gate."""
    if facts.content["status"] == "stub" or not moves_gates:
        return f"Profile {facts.run.level} is a rehearsal: its verdicts move no gate."
    return f"Profile {facts.run.level} is the one whose verdicts move gates."


def not_measured(facts: ExperimentFacts) -> list[str]:
    """What the plan asks for and nobody knows, one line each."""
    lines = []
    for row in facts.content["criteria"]:
        if row["verdict"] == "not measured":
            lines.append(f"Criterion {row['name']}: {row['reason']}.")
        else:
            for what in ("interval", "difference"):
                if row[what] is None or isinstance(row[what], str):
                    name = {"interval": "interval", "difference": "comparison with a trivial baseline"}[what]
                    lines.append(f"Criterion {row['name']} has no {name}: {row[what] or 'no per-sample scores'}.")
    for sub in facts.subs:
        entry = sub.entry
        if entry["status"] != "completed":
            why = entry.get("error") or "; ".join(entry.get("notes", [])) or "it has not run"
            lines.append(f"{sub.id} {entry['title']} is {entry['status']}: {why}.")
        elif missing := sorted(set(facts.run.seeds) - set(entry["seeds"])):
            lines.append(f"{sub.id} has no result of seed {', '.join(map(str, missing))}.")
    return [line.replace("..", ".") for line in lines]


def command(facts: ExperimentFacts) -> str:
    """What computes it all again, or finds it recorded."""
    options = facts.run.options
    words = ["foresight run", facts.short, "--profile", facts.run.profile]
    for name in ("compute", "seeds", "plan"):
        if options.get(name) and options[name] != "local":
            words += [f"--{name}", str(options[name])]
    if facts.run.stub:
        words.append("--stub-mode")
    return " ".join(words)


def duration(seconds: float) -> str:
    """`2 h 05 min`, `3 min 20 s`, `4.2 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def money(usd: float) -> str:
    return f"${usd:,.2f}" if usd == 0 or usd >= 0.005 else f"${usd:.4f}"


def words(name: str) -> str:
    """`mean_image` as one reads it."""
    return name.replace("_", " ")


def _how_far(row: Mapping[str, Any]) -> float:
    """How far the value is on the wrong side of acceptable, in units of the distance to failure."""
    if row["value"] is None:
        return 0.0
    scale = abs(row["failure"] - row["acceptable"])
    wrong = row["acceptable"] - row["value"] if row["direction"] == "higher" else row["value"] - row["acceptable"]
    return wrong / scale


def _unit(row: Mapping[str, Any]) -> str:
    return f" {row['unit']}" if row.get("unit") else ""


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
