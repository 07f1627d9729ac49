"""The sentences of a report. Each is made from what was measured; none is fixed text beside a number."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from foresight.results import rehearsal
from foresight.results.findings import number
from foresight.results.report.facts import CriterionFacts, ExperimentFacts
from foresight.results.report.numbers import listed, measured
from foresight.results.report.origin import Data

MEANS = {
    "proceed": "the idea holds by its own criteria",
    "pivot": "the idea does not hold in this form",
    "investigate": "the measurements do not settle it",
    "pending": "not everything that decides has been measured",
}
RULE = {
    "proceed": "every criterion is met",
    "pivot": "one criterion that is not met is enough",
    "investigate": "none is not met, but one at least is marginal, or was tried and failed",
    "pending": "none is not met, but one at least is not measured",
}
CAVEAT = re.compile(r"insufficient|stand-in|not (scored|measured|extracted)|say (it )?nothing|says nothing|no score")
PICTURES = {
    "learning_curve": "Loss after each epoch, in training and on validation; the mark is the epoch that was kept.",
    "reconstruction": "Each column is one held-out picture: the original above, what was read or painted of it below.",
    "map_": "Each dot is one picture (or token). Groups of one colour would show that the space keeps kinds apart.",
    "confusion": "Rows are the truth, columns what was read; a perfect reading is a diagonal.",
    "edges": "Each column is one held-out picture, with the edges found in it below.",
    "boxes": "True boxes and those that were read, on held-out pictures.",
    "detections": "True boxes and the surest detections, on held-out pictures.",
}
DECIDES = {"proceed": "met", "pivot": "not met", "investigate": "marginal", "pending": "not measured"}
ROLES = {"vlm": "Qwen2.5-VL", "vae": "LTX-Video's VAE", "dino": "DINOv2"}
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
    first = f"{badge(facts).capitalize()}: "
    first += "the rule gives this word, and on stand-ins it decides nothing; " if content["stand_ins"] else ""
    first += f"{MEANS[recommendation]}; " if not content["stand_ins"] else ""
    first += f"of {len(rows)} criteria {listed(counts)}." if len(rows) > 1 else f"its one criterion is {said[0]}."
    decides = [row for row in rows if row["verdict"] == DECIDES[recommendation]]
    decides = decides or [row for row in rows if row["verdict"] == "not measured"] or list(rows)
    row = max(decides, key=_how_far)
    asked = f"{AT[row['direction']]} {number(row['acceptable'])}{_unit(row)} is acceptable"
    if row["value"] is None:
        return first, f"Open is {row['name']}, where {asked}: {row['reason']}."
    head = "The narrowest is" if recommendation == "proceed" else "What decides is"
    return first, f"{head} {row['name']}, {number(row['value'])}{_unit(row)} where {asked}: {row['reason']}."


def badge(facts: ExperimentFacts) -> str:
    """The verdict in a word, with what it must not be quoted without."""
    return rehearsal.recommendation(facts.content)


def rule(facts: ExperimentFacts) -> str:
    """By which rule the verdict came."""
    recommendation = facts.content["recommendation"]
    words = "; ".join(f"{word}, {meaning}" for word, meaning in MEANS.items())
    return f"What the words stand for: {words}. Here the rule says {recommendation}, since {RULE[recommendation]}."


def sure(facts: ExperimentFacts) -> str:
    """How complete the measuring was, which is what results.yaml calls confidence."""
    rows, confidence = facts.content["criteria"], facts.content["assessment"]["confidence"]
    if not rows:
        return "No criterion, so nothing to be sure of."
    whole = [row for row in rows if all(isinstance(row[what], Mapping) for what in ("interval", "difference"))]
    seeds = min(row["seeds"] for row in rows)
    said = (
        f"Protocol {'complete' if confidence == 'high' else 'incomplete'}: {len(whole)} of {len(rows)} "
        f"{'criteria have' if len(rows) > 1 else 'criterion has'} an interval over sources and seeds and a trivial "
        f"baseline beside it, with {seeds} seed{'s' if seeds != 1 else ''} (three are asked for)"
    )
    if facts.content["stand_ins"]:
        return said + ". That is about the measuring alone: of the real models there is nothing to be confident of."
    return f"{said}. results.yaml calls this confidence {confidence}."


def answers(facts: ExperimentFacts) -> list[tuple[str, str]]:
    """Sub-experiment and the head of its finding, of those that a criterion is read from."""
    deciding = dict.fromkeys(row["sub_experiment"] for row in facts.content["criteria"])
    return _heads(facts, deciding)


def beside(facts: ExperimentFacts) -> list[tuple[str, str]]:
    """The same of those that have no criterion and yet a score of a criterion's kind, plain or along the points."""
    deciding = {row["sub_experiment"] for row in facts.content["criteria"]}
    also = {sub.id for criterion in facts.criteria for sub, _ in criterion.elsewhere}
    also |= {step.series.sub_experiment for step in facts.steps}
    return _heads(facts, [sub.id for sub in facts.subs if sub.id in also - deciding])


def _heads(facts: ExperimentFacts, sub_ids: Iterable[str]) -> list[tuple[str, str]]:
    found = {sub.id: sub.entry["finding"] for sub in facts.subs}
    return [(sub_id, _head(found[sub_id])) for sub_id in sub_ids if found.get(sub_id)]


def parts(criterion: CriterionFacts) -> str:
    """What an interval is made of: how much of it is which sources were tested, and how much the seeds."""
    row, seeds = criterion.row, criterion.from_seeds
    if not isinstance(row["interval"], Mapping):
        return ""
    if row["seeds"] < 2:
        return "from sources; of one seed, what others would give is not in it"
    centre = row["interval"].get("estimate", row["value"])
    widths = [centre - row["interval"]["low"], row["interval"]["high"] - centre]
    sources = [math.sqrt(max(0.0, width**2 - seeds**2)) for width in widths]
    if seeds < 0.01 * max(sources):
        return "all from sources, none from seeds"
    said = f"seeds \u00b1 {measured(seeds)}, sources \u2212{measured(sources[0])} +{measured(sources[1])}"
    return f"mostly seeds: {said}" if seeds > max(sources) else said


def reading_help(name: str) -> str:
    """What to look at in a picture of a common kind; empty for others."""
    return next((said for start, said in PICTURES.items() if name.startswith(start)), "")


def data(one: Data, split: Sequence[float]) -> str:
    """What a data set holds, as far as its manifest and the records say."""
    if not one.shape:
        return "its manifest does not lie here"
    frames = f" of {one.shape[1]} frames" if len(one.shape) == 5 else ""
    height, width = one.shape[-3:-1]
    kind = "clips" if frames else "pictures"
    origin = "drawn by a generator" if one.origins == ("drawn",) else f"from {listed(list(one.origins[:6]))}"
    said = f"{one.shape[0]:,} {kind}{frames}, {width} x {height} px, {origin}, of {one.sources:,} source"
    said += "s" if one.sources != 1 else ""
    if len(split) == 3:
        shares = " / ".join(f"{share:.0%}" if share <= 1 else f"{share:g}" for share in split)
        said += f"; train / validation / test {shares} of the sources, drawn anew for each seed"
    return said


def stand_ins(facts: ExperimentFacts) -> str:
    """Why this says nothing of the models that the programme asks about; empty where it does."""
    names = facts.content.get("stand_ins")
    if not names:
        return ""
    return (
        f"Measured on {listed(names)}: the real model code with tiny weights. Every number here says whether the "
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
    if facts.content["stand_ins"]:
        replaced = sorted({role for role, *_, stand_in in facts.source.models if stand_in})
        lines.append(
            f"The real models ({listed([ROLES.get(role, role) for role in replaced])}): stand-ins took their place."
            if replaced
            else "The real models: stand-ins took their place."
        )
    for row in facts.content["criteria"]:
        if row["verdict"] == "not measured":
            lines.append(f"Criterion {row['name']}: {row['reason']}.")
        else:
            for what in ("interval", "difference"):
                if row[what] is None or isinstance(row[what], str):
                    name = {"interval": "interval", "difference": "comparison with a trivial baseline"}[what]
                    lines.append(f"Criterion {row['name']} has no {name}: {row[what] or 'no per-sample scores'}.")
    noted: dict[str, list[str]] = {}
    for sub in facts.subs:
        entry = sub.entry
        if entry["status"] != "completed":
            why = entry.get("error") or "; ".join(entry.get("notes", [])) or "it has not run"
            lines.append(f"{sub.id} {entry['title']} is {entry['status']}: {why}.")
            continue
        if missing := sorted(set(facts.run.seeds) - set(entry["seeds"])):
            lines.append(f"{sub.id} has no result of seed {', '.join(map(str, missing))}.")
        for text in filter(CAVEAT.search, entry.get("notes", [])):
            noted.setdefault(note(text), []).append(sub.id)
    lines += [f"{listed(sub_ids)}: {text}" for text, sub_ids in noted.items()]
    return [line.replace("..", ".") for line in lines]


def note(text: str) -> str:
    """A handler's note; `insufficient` is also a verdict's word, so what lacks data is said to have none."""
    return text.replace(": insufficient, ", ": no data, ")


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


def citation(facts: ExperimentFacts) -> str:
    """How another text names these results; only what the records and the checkout say."""
    run, source = facts.run, facts.source
    said = [
        f"Foresight, {facts.short.upper()} \u201c{facts.content['title']}\u201d",
        f"profile {run.level}" + (", a rehearsal on stand-ins" if facts.content["stand_ins"] else ""),
        f"run {run.run_id} of {run.started_at[:10]}",
    ]
    if source.commits:
        changed = " with changes that were not committed" if source.dirty else ""
        several = "s" if len(source.commits) > 1 else ""
        said.append(f"code at commit{several} {listed([one[:12] for one in source.commits])}{changed}")
    else:
        said.append("code of no known commit")
    said.append(f"criteria {run.criteria_hash[:12]}")
    return ", ".join(said) + "." + (f" {source.repository}" if source.repository else "")


def devices(facts: ExperimentFacts) -> str:
    """What computed it."""
    return listed(sorted({row.device for row in facts.cost.rows if row.device}) or ["an unknown device"])


def seconds_a_step(facts: ExperimentFacts, sub_id: str) -> float:
    """What one seed of a sub-experiment took; 0 where nobody knows."""
    return next((row.seconds / row.steps for row in facts.cost.sub_experiments if row.what == sub_id), 0.0)


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


def _head(finding: str) -> str:
    """Its first sentence, as far as the first semicolon outside of brackets."""
    depth = 0
    for at, letter in enumerate(finding):
        depth += (letter in "([") - (letter in ")]")
        if not depth and (letter == ";" or finding[at : at + 2] == ". "):
            return finding[:at] + "."
    return finding


def _unit(row: Mapping[str, Any]) -> str:
    return f" {row['unit']}" if row.get("unit") else ""
