"""What a run is about to do, in a few lines: what is asked, what is recorded already, what will run and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from foresight.compute.backend import Call
from foresight.compute.request import Job
from foresight.compute.step import Step


def beginning(job: Job, steps: int, recorded: int) -> str:
    """One line."""
    names = ", ".join(selection.experiment.short for selection in job.selections)
    seeds = f"seed{'s' if len(job.seeds) > 1 else ''} {', '.join(map(str, job.seeds))}"
    known = f"{recorded} recorded and not computed again, " if recorded else ""
    left = f"{steps - recorded} to run" if recorded < steps else "nothing to run"
    return f"{names} · profile {job.profile.name} · {seeds} · {job.request.compute}: {steps} steps, {known}{left}"


def to_run(calls: Sequence[Call], reasons: Mapping[str, str]) -> list[str]:
    """One line a reason, seeds of one sub-experiment together. `reasons`: fingerprint -> why, of what will run."""
    lines: dict[str, list[str]] = {}
    for call in calls:
        ours = [step for step in call.steps if step.fingerprint in reasons]
        for why in dict.fromkeys(reasons[step.fingerprint] for step in ours):
            same = [step for step in ours if reasons[step.fingerprint] == why]
            lines.setdefault(why, []).append(_names(same))
    return [f"to run, {why}: {', '.join(_seeds_together(names))}" for why, names in lines.items()]


def _names(steps: Sequence[Step]) -> str:
    return steps[0].label + (f" and {len(steps) - 1} more of the same model" if len(steps) > 1 else "")


def _seeds_together(labels: Sequence[str]) -> list[str]:
    """`c1/e1_3 seed 0`, `c1/e1_3 seed 1` -> `c1/e1_3 seeds 0 1`."""
    seeds: dict[str, list[str]] = {}
    for label in labels:
        name, _, seed = label.partition(" seed ")
        seeds.setdefault(name, []).extend([seed] if seed else [])
    return [f"{name} seed{'s' if len(of) > 1 else ''} {' '.join(of)}" if of else name for name, of in seeds.items()]
