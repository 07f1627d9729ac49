"""What a user asked for, checked before anything starts.

A `RunRequest` carries the shell's options under their own names; `resolve` turns it into a `Job` (plan, profile,
experiments, seeds) or raises one `UserError`. Flows and the shell share it, so that a form in the Prefect UI and a
command line are refused for the same reasons in the same words.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from foresight.compute.gpus import CPU, GPU_CLASSES, gpu_class
from foresight.errors import UserError
from foresight.plan.loader import load_plan_and_profile
from foresight.plan.parts import unknown
from foresight.plan.schema import Experiment, Plan, Profile, SubExperiment

COMPUTES = ("local", "modal")
MOST_SEEDS = 100  # more is a typing mistake, or a seed where their number is wanted


@dataclass(frozen=True)
class RunRequest:
    experiments: tuple[str, ...] = ()  # ids or short names; none: every experiment of the plan
    sub_experiments: tuple[str, ...] = ()  # none: all
    stub_mode: bool = False
    profile: str = "tiny"
    compute: str = "local"
    gpu: str | None = None
    budget: float | None = None
    seeds: int | None = None
    refresh: bool = False
    plan: str | None = None

    def command(self) -> str:
        """What to type in a shell for it."""
        words = ["run", *self.experiments] if len(self.experiments) == 1 else ["program"]
        if len(self.experiments) > 1:
            words += [word for name in self.experiments for word in ("--experiment", name)]
        words += [word for name in self.sub_experiments for word in ("--sub-experiment", name)]
        defaults = RunRequest()
        for name in ("profile", "compute", "gpu", "budget", "seeds", "plan"):
            if (value := getattr(self, name)) != getattr(defaults, name):
                words += [f"--{name}", f"{value:g}" if isinstance(value, float) else str(value)]
        words += [f"--{name.replace('_', '-')}" for name in ("stub_mode", "refresh") if getattr(self, name)]
        return f"foresight {shlex.join(words)}"


@dataclass(frozen=True)
class Selection:
    """What to run of one experiment, and what of it has no handler."""

    experiment: Experiment
    sub_experiments: tuple[SubExperiment, ...]
    not_implemented: tuple[str, ...]

    def brought_along(self, asked: Sequence[str]) -> dict[str, str]:
        """Sub-experiments that nobody asked for, each with one that uses it: `{"e_p2_3": "e_p2_4"}`."""
        unasked = [sub.id for sub in self.sub_experiments if asked and sub.id not in asked]
        return {name: next(sub.id for sub in self.sub_experiments if name in sub.uses) for name in unasked}


@dataclass(frozen=True)
class Job:
    request: RunRequest
    plan: Plan
    profile: Profile
    selections: tuple[Selection, ...]
    skipped: tuple[str, ...]  # experiments left out for want of handlers
    seeds: tuple[int, ...]

    @property
    def brought_along(self) -> str:
        """What runs though it was not asked for, and why, as a sentence; empty if nothing does."""
        found = {
            name: user
            for selection in self.selections
            for name, user in selection.brought_along(self.request.sub_experiments).items()
        }
        return "; ".join(f"{name} belongs to it, since {user} reads what {name} leaves" for name, user in found.items())


def resolve(request: RunRequest) -> Job:
    """Raise `UserError` on anything that cannot be run as asked; read only the plan, import nothing heavy."""
    plan, profile = load_plan_and_profile(Path(request.plan) if request.plan else None, request.profile)
    if request.compute not in COMPUTES:
        raise UserError(f"There is {unknown('--compute', request.compute, COMPUTES)}")
    if request.gpu is not None:
        gpu_class(request.gpu)
        if request.compute == "local":
            raise UserError("--gpu chooses a GPU class of Modal and does nothing with --compute local. Leave it out.")
    if request.budget is not None and not request.budget > 0:
        raise UserError(f"A budget must be more than 0 dollars, not {request.budget:g}.")
    if request.seeds is not None and not 1 <= request.seeds <= MOST_SEEDS:
        raise UserError(f"--seeds must be 1 to {MOST_SEEDS}, not {request.seeds}: it is how many, not which.")

    wanted = [plan.experiment(name) for name in request.experiments] or list(plan.experiments)
    selections, skipped = [], []
    for experiment in dict.fromkeys(wanted):
        selection = _select(experiment, request)
        if selection is None:
            skipped.append(experiment.id)
        else:
            selections.append(selection)
    strange = [s for s in request.sub_experiments if not any(s == sub.id for e in wanted for sub in e.sub_experiments)]
    if strange:
        where = f"of {wanted[0].short}" if len(wanted) == 1 else "in this plan"
        known = [sub.id for e in wanted for sub in e.sub_experiments]
        raise UserError(f"There is {unknown('sub-experiment', strange[0], known, where)}")
    if not selections:
        raise UserError(
            f"{', '.join(skipped)}: not implemented, none of the sub-experiments has a handler. "
            "`foresight plan show` says what is; --stub-mode rehearses it without measuring anything."
        )
    if request.gpu is not None and not request.stub_mode:
        _require_enough_gpu(request.gpu, profile, selections)
    return Job(request, plan, profile, tuple(selections), tuple(skipped), _seeds(request, profile))


def _require_enough_gpu(name: str, profile: Profile, selections: Sequence[Selection]) -> None:
    """`--gpu` may give a step more memory than its plan asks for, never less, and only one that runs on a GPU."""
    wanted: dict[str, str] = {}
    for sub in (sub for selection in selections for sub in selection.sub_experiments):
        if profile.needs_of(sub):
            wanted.setdefault(profile.resources_of("extract").device or CPU, "the extraction of features")
        wanted.setdefault(profile.resources_of("sub_experiment", sub).device or CPU, sub.id)
    wanted.pop(CPU, None)
    if not wanted:
        raise UserError(f"--gpu {name} changes nothing: in profile {profile.name} no step of this runs on a GPU.")
    chosen = gpu_class(name)
    for asked, step in wanted.items():
        if GPU_CLASSES[chosen].memory_gb < GPU_CLASSES[asked].memory_gb:
            raise UserError(
                f"--gpu {chosen} has {GPU_CLASSES[chosen].memory_gb} GB, and {step} asks for {asked} "
                f"({GPU_CLASSES[asked].memory_gb} GB) in profile {profile.name}. Choose {asked} or larger, "
                "or lower `device` in the profile, which changes no result."
            )


def _select(experiment: Experiment, request: RunRequest) -> Selection | None:
    chosen = [s for s in experiment.sub_experiments if not request.sub_experiments or s.id in request.sub_experiments]
    if request.stub_mode:
        return Selection(experiment, tuple(chosen), ()) if chosen else None
    missing = tuple(s.id for s in chosen if s.handler is None)
    if request.sub_experiments and missing:
        raise UserError(
            f"{experiment.id}/{missing[0]} is not implemented: the plan gives it no handler. "
            "Leave it out, or rehearse it with --stub-mode."
        )
    ready = experiment.with_used([s for s in chosen if s.handler is not None])
    return Selection(experiment, ready, missing) if ready else None


def _seeds(request: RunRequest, profile: Profile) -> tuple[int, ...]:
    seeds: Sequence[int] = profile.seeds
    if request.seeds is None or request.seeds == len(seeds):
        return tuple(seeds)
    if request.seeds < len(seeds):
        return tuple(seeds[: request.seeds])
    extra = (seed for seed in count() if seed not in seeds)
    return (*seeds, *(next(extra) for _ in range(request.seeds - len(seeds))))
