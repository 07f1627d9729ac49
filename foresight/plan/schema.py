"""The plan: which experiments there are, what each measures, and what it is judged against.

A plan is fixed before its results exist. What could change a verdict (criteria, handlers, needs) goes into
`Experiment.hash`; what only helps a reader (titles, aims, resources) does not, so that a better title never orphans a
result. How *big* a run is (models, data, sizes, seeds) is not here but in a `Profile` (`foresight.plan.profile`).

Everything is frozen and closed: an unknown field is an error. `foresight.plan.loader` reads the YAML and names the line.
"""

from __future__ import annotations

import difflib
import re
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, model_validator

from foresight.errors import UserError
from foresight.files import canonical_json, sha256_bytes

IMAGE_SIDE_PX = 28
"""Image sides are multiples of this: 14 px patches of the vision tower, merged 2x2."""

GPU_ALIASES = {"A10G": "A10"}

Device = Annotated[
    Literal["cpu", "A10", "A100-40GB", "A100-80GB", "H100"],
    BeforeValidator(lambda name: GPU_ALIASES.get(name, name) if isinstance(name, str) else name),
]

_NEED = re.compile(r"(?P<role>[a-z][a-z0-9_]*):(?P<point>X[0-9]+(\.([0-9]+|last))?)(@(?P<side>[0-9]+))?")
_POINTS = re.compile(r"X1\.[1-9][0-9]*|X2|X3|X4\.([0-9]+|last)|X6|X7")
_HANDLER = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


class Frozen(BaseModel):
    """Frozen, closed and strict: `"3"` is not a number and `1` is not true."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, revalidate_instances="never")


class Need(Frozen):
    """Features that a sub-experiment reads: written `role:point` or `role:point@side`, e.g. `vlm:X4.last`, `vlm:X3@168`."""

    role: str = Field(description="Which model of the profile, e.g. `vlm`, `vae`.")
    point: str = Field(description="Extraction point: X1.<k>, X2, X3, X4.<k>, X4.last (VLM), X6 (VAE), X7 (DINOv2).")
    side: int | None = Field(default=None, description="Image side in pixels; None = the data set's own.")

    def __str__(self) -> str:
        return f"{self.role}:{self.point}" + (f"@{self.side}" if self.side else "")


def parse_need(text: str) -> Need:
    """`"vlm:X3@168"` -> Need. Raises `ValueError` that says what a need looks like."""
    match = _NEED.fullmatch(text)
    if not match:
        raise ValueError(f"'{text}' is not a need; write role:point or role:point@side, such as vlm:X3 or vlm:X4.last@168")
    if not _POINTS.fullmatch(match["point"]):
        raise ValueError(f"'{match['point']}' is not an extraction point; use X1.<k> (k >= 1), X2, X3, X4.<k>, X4.last, X6 or X7")
    side = int(match["side"]) if match["side"] else None
    if side is not None and (side == 0 or side % IMAGE_SIDE_PX):
        raise ValueError(f"side {side} of '{text}' is not a multiple of {IMAGE_SIDE_PX} px")
    return Need(role=match["role"], point=match["point"], side=side)


def _need_text(text: str) -> str:
    return str(parse_need(text))


def _handler_text(text: str) -> str:
    if not _HANDLER.fullmatch(text):
        raise ValueError(f"'{text}' is not a handler; write package.module:function")
    return text


NeedText = Annotated[str, AfterValidator(_need_text)]
HandlerText = Annotated[str, AfterValidator(_handler_text)]
Id = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
ExperimentId = Annotated[str, Field(pattern=r"^[a-z][0-9a-z]*(-[a-z0-9]+)*$")]


class Resources(Frozen):
    """What a step needs to run. Never part of its identity. A field left out is inherited."""

    device: Device | None = Field(default=None, description="`cpu` or a GPU class: A10 (also A10G), A100-40GB, A100-80GB, H100.")
    timeout_s: Annotated[FiniteFloat, Field(gt=0)] | None = Field(default=None, description="Seconds, one attempt.")
    deadline_s: Annotated[FiniteFloat, Field(gt=0)] | None = Field(
        default=None, description="Seconds, all attempts together, waiting included. At least timeout_s."
    )
    memory_gb: Annotated[FiniteFloat, Field(gt=0)] | None = Field(default=None, description="Main memory.")

    @model_validator(mode="after")
    def _deadline_holds_an_attempt(self) -> Resources:
        if self.timeout_s is not None and self.deadline_s is not None and self.deadline_s < self.timeout_s:
            raise ValueError(f"deadline_s ({self.deadline_s:g}) is shorter than one attempt, timeout_s ({self.timeout_s:g})")
        return self

    def over(self, base: Resources) -> Resources:
        """These resources; what they leave out is taken from `base`."""
        return Resources(**{**base.model_dump(exclude_none=True), **self.model_dump(exclude_none=True)})


class Criterion(Frozen):
    """What an experiment is judged against, read from one designated sub-experiment and from no other."""

    name: str = Field(min_length=1, description="As in results.yaml, e.g. `spatial_iou`.")
    sub_experiment: str = Field(description="The designated sub-experiment, fixed before any result exists.")
    metric: str = Field(min_length=1, description="The metric of that sub-experiment that is read.")
    direction: Literal["higher", "lower"] = Field(description="Which way is better.")
    target: FiniteFloat = Field(description="What was hoped for.")
    acceptable: FiniteFloat = Field(description="The level a verdict is decided at.")
    failure: FiniteFloat = Field(description="At or beyond this the idea has failed.")
    arm: str = Field(min_length=1, description="What exactly is scored: extraction point, view, head, aggregation.")
    unit: str = Field(default="", description="Of the thresholds, e.g. `dB`, `frames`; empty for a ratio.")

    @model_validator(mode="after")
    def _thresholds_are_ordered(self) -> Criterion:
        levels = [self.target, self.acceptable, self.failure]
        if levels != sorted(levels, reverse=self.direction == "higher") or self.acceptable == self.failure:
            relation = "target >= acceptable > failure" if self.direction == "higher" else "target <= acceptable < failure"
            raise ValueError(
                f"thresholds of '{self.name}' are not ordered for direction {self.direction}: "
                f"target {self.target:g}, acceptable {self.acceptable:g}, failure {self.failure:g}; need {relation}"
            )
        return self


class SubExperiment(Frozen):
    """One study of an experiment: a handler, and what it reads."""

    id: Id = Field(description="Unique in the whole plan, e.g. `e1_4`.")
    title: str = Field(min_length=1)
    aim: str = Field(min_length=1, description="What it finds out, in a sentence.")
    handler: HandlerText | None = Field(default=None, description="`package.module:function`; absent = not implemented.")
    needs: tuple[NeedText, ...] = Field(default=(), description="Features it reads; a profile may override them.")
    models: tuple[Id, ...] = Field(default=(), description="Roles of the models that the handler itself loads, e.g. `vae`.")
    metric_weights: tuple[Literal["lpips-alex"], ...] = Field(
        default=(), description="Learned metrics whose weights its scores rest on; their hash is part of the step's identity."
    )
    resources: Resources = Field(default=Resources(), description="Where it differs from the profile's default for probes.")

    @property
    def implemented(self) -> bool:
        return self.handler is not None

    @property
    def uses_lpips(self) -> bool:
        return "lpips-alex" in self.metric_weights

    @property
    def identity(self) -> dict[str, Any]:
        """What could change a result, as JSON."""
        return self.model_dump(mode="json", include={"id", "handler", "needs", "models", "metric_weights"})


class Experiment(Frozen):
    """A claim, a question or a pivot, and the sub-experiments that decide it."""

    id: ExperimentId = Field(description="Long name, e.g. `c1-vlm-latent-sufficiency`.")
    short: Id = Field(description="What one types: `c1`.")
    title: str = Field(min_length=1)
    kind: Literal["claim", "question", "pivot"]
    phase: Annotated[int, Field(ge=1)]
    question: str = Field(min_length=1)
    depends_on: tuple[str, ...] = Field(default=(), description="Short names of the experiments to run first.")
    replaces: tuple[str, ...] = Field(default=(), description="Short names of what a pivot stands in for.")
    sub_experiments: tuple[SubExperiment, ...] = Field(min_length=1)
    criteria: tuple[Criterion, ...] = Field(min_length=1)

    @property
    def implemented(self) -> bool:
        """Whether every sub-experiment has a handler."""
        return all(sub.implemented for sub in self.sub_experiments)

    @cached_property
    def hash(self) -> str:
        """64 hex digits over the criteria and what identifies the sub-experiments; titles, aims and resources left out."""
        criteria = sorted((c.model_dump(mode="json") for c in self.criteria), key=lambda c: c["name"])
        subs = sorted((sub.identity for sub in self.sub_experiments), key=lambda s: s["id"])
        return sha256_bytes(canonical_json({"id": self.id, "criteria": criteria, "sub_experiments": subs}))

    def sub_experiment(self, sub_id: str) -> SubExperiment:
        """Raises `UserError` naming what there is."""
        for sub in self.sub_experiments:
            if sub.id == sub_id:
                return sub
        ids = [sub.id for sub in self.sub_experiments]
        raise UserError(f"{self.short} has no sub-experiment '{sub_id}'{did_you_mean(sub_id, ids)} It has: {', '.join(ids)}.")

    def criterion(self, name: str) -> Criterion:
        """Raises `UserError` naming what there is."""
        for criterion in self.criteria:
            if criterion.name == name:
                return criterion
        names = [c.name for c in self.criteria]
        raise UserError(f"{self.short} has no criterion '{name}'{did_you_mean(name, names)} It has: {', '.join(names)}.")


class Gate(Frozen):
    """Experiments that must be decided before a phase may start."""

    id: Id
    experiments: tuple[str, ...] = Field(min_length=1, description="Short names; every criterion of each must be measured.")
    unlocks_phase: Annotated[int, Field(ge=2)] | None = Field(description="None: nothing but the final evaluation.")
    note: str = Field(default="", description="Why the membership is what it is, and since when.")


class Plan(Frozen):
    """All experiments and the gates between their phases."""

    version: Literal[1] = Field(description="Of this format.")
    experiments: tuple[Experiment, ...] = Field(min_length=1)
    gates: tuple[Gate, ...] = ()
    profiles: str | None = Field(
        default=None, description="Profiles file of this plan, relative to the plan's; None = the packaged ones."
    )

    def experiment(self, name: str) -> Experiment:
        """By long id or short name. Raises `UserError` listing near matches."""
        for experiment in self.experiments:
            if name in (experiment.id, experiment.short):
                return experiment
        known = [n for e in self.experiments for n in (e.short, e.id)]
        shorts = ", ".join(e.short for e in self.experiments)
        raise UserError(f"There is no experiment '{name}'{did_you_mean(name, known)} The plan has: {shorts}.")

    def gate(self, gate_id: str) -> Gate:
        """Raises `UserError` naming what there is."""
        for gate in self.gates:
            if gate.id == gate_id:
                return gate
        ids = [g.id for g in self.gates]
        raise UserError(f"There is no gate '{gate_id}'{did_you_mean(gate_id, ids)} The plan has: {', '.join(ids) or 'none'}.")

    def phases(self) -> dict[int, list[Experiment]]:
        """Experiments by phase, phases in order, plan order within."""
        return {
            phase: [e for e in self.experiments if e.phase == phase] for phase in sorted({e.phase for e in self.experiments})
        }

    def gate_before(self, phase: int) -> Gate | None:
        """The gate that unlocks `phase`, if any."""
        return next((gate for gate in self.gates if gate.unlocks_phase == phase), None)

    @cached_property
    def hash(self) -> str:
        """64 hex digits over every experiment's hash, the dependencies, the phases and the gates."""
        graph = [[e.short, e.hash, e.phase, sorted(e.depends_on), sorted(e.replaces)] for e in self.experiments]
        gates = [[g.id, sorted(g.experiments), g.unlocks_phase] for g in self.gates]
        return sha256_bytes(canonical_json({"experiments": sorted(graph), "gates": sorted(gates)}))


def did_you_mean(name: str, known: list[str]) -> str:
    """`": did you mean 'x'?"` or `"."`, to end a sentence that says that `name` is unknown."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f": did you mean {' or '.join(repr(n) for n in near)}?" if near else "."
