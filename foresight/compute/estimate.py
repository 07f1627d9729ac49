"""What a job will take, before anything is asked of anybody: seconds, dollars, bytes, and what each number rests on.

A number rests on what earlier records of the same work took, scaled between GPU classes, or it is not given: then
only the bound is known that the step's timeout sets, for one attempt. It needs neither models nor data: without them
nobody can tell what is recorded already, and every step is counted. Not counted: the start of a container, and the
moments that it idles before it goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from foresight.compute import planner
from foresight.compute.history import History, expected_seconds, read_history, work_of
from foresight.compute.planner import StepPlan
from foresight.compute.rates import Rates
from foresight.compute.request import Job
from foresight.compute.step import Resources
from foresight.data.manifest import DataSpec, find
from foresight.features.points import feature_bytes
from foresight.home import Home
from foresight.plan.schema import Need


@dataclass(frozen=True)
class Line:
    """One step."""

    label: str
    resources: Resources
    recorded: bool  # it costs nothing any more
    seconds: float | None  # of its container; None: unknown
    seconds_rest_on: str
    size_bytes: int | None
    bytes_rest_on: str
    usd_per_second: float

    @property
    def work(self) -> str:
        return work_of(self.label)

    @property
    def usd(self) -> float | None:
        """What it will cost; None: unknown."""
        if self.recorded or self.usd_per_second == 0:
            return 0.0
        return None if self.seconds is None else self.seconds * self.usd_per_second

    @property
    def at_most_usd(self) -> float:
        """What one attempt can cost, by its timeout."""
        return 0.0 if self.recorded else self.resources.timeout_s * self.usd_per_second


@dataclass(frozen=True)
class Estimate:
    lines: tuple[Line, ...]
    rates: Rates
    unprepared: str  # what is not here yet, so that nobody can tell what is recorded; "": everything is here

    @property
    def to_run(self) -> tuple[Line, ...]:
        return tuple(line for line in self.lines if not line.recorded)

    @property
    def known_usd(self) -> float:
        """Of the steps whose cost is known."""
        return sum(line.usd for line in self.to_run if line.usd is not None)

    @property
    def unknown(self) -> tuple[Line, ...]:
        return tuple(line for line in self.to_run if line.usd is None)

    @property
    def unknown_at_most_usd(self) -> float:
        """The bound that timeouts set to the rest."""
        return sum(line.at_most_usd for line in self.unknown)


def estimate(job: Job, home: Home, rates: Rates) -> Estimate:
    """Every step of the job, in the planner's order."""
    try:
        plan, unprepared = planner.plan_steps(job, home, "estimate"), ""
    except planner.Unprepared as missing:
        plan, unprepared = None, str(missing)
    history = read_history(home)
    recorded = _recorded(plan, home) if plan else frozenset()
    shapes = _shapes(job, home)
    return Estimate(
        tuple(
            _line(label, resources, label in recorded, job.profile.name, history, shapes, rates)
            for label, resources in _outline(job)
        ),
        rates,
        unprepared,
    )


def _outline(job: Job) -> Iterator[tuple[str, Resources]]:
    """The steps that a plan of the job will have: label and resources."""
    if planner.model_specs(job):
        yield planner.SMOKE_LABEL, planner.resources_of(job, "extract")
    for label in _extractions(job):
        yield label, planner.resources_of(job, "extract")
    for experiment, sub in planner.subs_of(job):
        for seed in job.seeds:
            resources = planner.resources_of(job, "sub_experiment", sub)
            yield planner.seed_label(experiment, sub, seed), resources


def _extractions(job: Job) -> dict[str, tuple[str, Need]]:
    """Label -> data set and need of every extraction; shared by all that need it."""
    found: dict[str, tuple[str, Need]] = {}
    for _, sub in planner.subs_of(job):
        data = job.profile.for_sub_experiment(sub.id).data
        for need in job.profile.needs_of(sub) if data else ():
            assert data is not None
            found.setdefault(planner.extract_label(data, need), (data, need))
    return found


def _recorded(plan: StepPlan, home: Home) -> frozenset[str]:
    return frozenset(step.label for step in plan.steps if planner.state_of(step, home) == "recorded")


def _shapes(job: Job, home: Home) -> Mapping[str, int]:
    """Bytes of each extraction whose shape is known from the plan: label -> size."""
    specs = planner.data_specs(job)
    sizes = {}
    for label, (data, need) in _extractions(job).items():
        items, side = _items_and_side(specs[data], home)
        if items is None or side is None:
            continue
        model = job.profile.models[need.role].id
        size = feature_bytes(model, need.point, items=items, side=need.side or side)
        if size is not None:
            sizes[label] = size
    return sizes


def _items_and_side(spec: DataSpec, home: Home) -> tuple[int | None, int | None]:
    """Of stills: from the manifest where the data is made, else from what the recipe is asked for."""
    manifest = find(spec, home)
    if manifest is not None:
        return manifest.shape[0] if len(manifest.shape) == 4 else None, manifest.shape[-2]
    is_clips = spec.parameters.get("frames", 1) > 1
    return None if is_clips else spec.parameters.get("n"), spec.parameters.get("side")


def _line(
    label: str,
    resources: Resources,
    recorded: bool,
    profile: str,
    history: History,
    shapes: Mapping[str, int],
    rates: Rates,
) -> Line:
    earlier = history.get((profile, work_of(label)), ())
    seconds, rest_on = expected_seconds(earlier, resources.device) or (None, "")
    size: int | None = shapes.get(label)
    bytes_rest_on = "shapes"
    if size is None:
        size, bytes_rest_on = (earlier[-1].size_bytes, "the newest record") if earlier else (None, "")
    return Line(label, resources, recorded, seconds, rest_on, size, bytes_rest_on, rates.usd_per_second(resources))
