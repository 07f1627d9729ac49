"""The plan, which says what is measured and what it is judged against; and the profile, which says how big a run is.

A plan is fixed before its results exist. What could change a verdict (criteria, handlers, needs) goes into
`Experiment.hash`; what only helps a reader (titles, aims, resources) does not, so that a better title never orphans a
result. A profile names models and revisions, data, sizes, seeds, head sizes and resources; the code path is the same
in all. Only a profile with `moves_gates` decides anything: the others are rehearsals.

Everything is frozen and closed: an unknown field is an error. `foresight.plan.loader` reads YAML and names the line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, FiniteFloat, model_validator

from foresight.errors import UserError
from foresight.files import canonical_json, sha256_bytes
from foresight.plan.parts import (
    IMAGE_SIDE_PX,
    Block,
    ExperimentId,
    Frozen,
    HandlerText,
    Id,
    Need,
    NeedText,
    Resources,
    Several,
    parse_need,
    unknown,
)

FULL_MODEL_SIDE_PX = 224
"""28 px (Qwen2.5-VL's merged patch) and 32 px (LTX's latent cell) divide it: both cover the same pixels."""

StepKind = Literal["extract", "sub_experiment"]


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
            relation = (
                "target >= acceptable > failure" if self.direction == "higher" else "target <= acceptable < failure"
            )
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
    handler: HandlerText | None = Field(
        default=None, description="`package.module:function`; absent = not implemented."
    )
    needs: Several[NeedText] = Field(default=(), description="Features it reads; a profile may override them.")
    uses: Several[Id] = Field(
        default=(),
        description="Sub-experiments above it in the same experiment, whose files of the same seed it reads.",
    )
    models: Several[Id] = Field(
        default=(), description="Roles of the models that the handler itself loads, e.g. `vae`."
    )
    metric_weights: Several[Literal["lpips-alex"]] = Field(
        default=(),
        description="Learned metrics whose weights its scores rest on; their hash is part of the step's identity.",
    )
    timed: bool = Field(
        default=False,
        description="Its numbers are times: of one device, which is part of its identity, and never twice the same.",
    )
    resources: Resources = Field(
        default=Resources(), description="Where it differs from the profile's default for probes."
    )

    @property
    def implemented(self) -> bool:
        return self.handler is not None

    @property
    def identity(self) -> dict[str, Any]:
        """What could change a result, as JSON."""
        named = {"id", "handler", "needs", "models", "metric_weights", *(["uses"] if self.uses else [])}
        return self.model_dump(mode="json", include=named)


class Experiment(Frozen):
    """A claim, a question or a pivot, and the sub-experiments that decide it."""

    id: ExperimentId = Field(description="Long name, e.g. `c1-vlm-latent-sufficiency`.")
    short: Id = Field(description="What one types: `c1`.")
    title: str = Field(min_length=1)
    kind: Literal["claim", "question", "pivot"]
    phase: Annotated[int, Field(ge=1)]
    question: str = Field(min_length=1)
    depends_on: Several[str] = Field(default=(), description="Short names of the experiments to run first.")
    replaces: Several[str] = Field(default=(), description="Short names of what a pivot stands in for.")
    sub_experiments: Several[SubExperiment] = Field(min_length=1)
    criteria: Several[Criterion] = Field(min_length=1)

    @property
    def implemented(self) -> bool:
        """Whether anything of it can run; `not_implemented` says what cannot."""
        return any(sub.implemented for sub in self.sub_experiments)

    @property
    def not_implemented(self) -> tuple[str, ...]:
        """Ids of the sub-experiments without a handler."""
        return tuple(sub.id for sub in self.sub_experiments if not sub.implemented)

    @property
    def hash(self) -> str:
        """64 hex digits over the criteria and what identifies the sub-experiments; not titles, aims or resources."""
        criteria = sorted((c.model_dump(mode="json") for c in self.criteria), key=lambda c: c["name"])
        subs = sorted((sub.identity for sub in self.sub_experiments), key=lambda s: s["id"])
        return sha256_bytes(canonical_json({"id": self.id, "criteria": criteria, "sub_experiments": subs}))

    def with_used(self, chosen: Sequence[SubExperiment]) -> tuple[SubExperiment, ...]:
        """`chosen` and all that they use, in the plan's order: what is used stands before what uses it."""
        wanted, used = {sub.id for sub in chosen}, {sub_id for sub in chosen for sub_id in sub.uses}
        for sub in reversed(self.sub_experiments):  # a plan's checks see to it that nothing uses what stands below it
            if sub.id in used:
                wanted.add(sub.id)
                used |= set(sub.uses)
        return tuple(sub for sub in self.sub_experiments if sub.id in wanted)

    def sub_experiment(self, sub_id: str) -> SubExperiment:
        """Raises `UserError` naming what there is."""
        for sub in self.sub_experiments:
            if sub.id == sub_id:
                return sub
        ids = [sub.id for sub in self.sub_experiments]
        raise UserError(f"There is {unknown('sub-experiment', sub_id, ids, f'of {self.short}')}")

    def criterion(self, name: str) -> Criterion:
        """Raises `UserError` naming what there is."""
        for criterion in self.criteria:
            if criterion.name == name:
                return criterion
        names = [c.name for c in self.criteria]
        raise UserError(f"There is {unknown('criterion', name, names, f'of {self.short}')}")


class Gate(Frozen):
    """Experiments that must be decided before a phase may start."""

    id: Id
    experiments: Several[str] = Field(
        min_length=1, description="Short names; every criterion of each must be measured."
    )
    unlocks_phase: Annotated[int, Field(ge=2)] | None = Field(description="None: nothing but the final evaluation.")
    note: str = Field(default="", description="Why the membership is what it is, and since when.")


class Plan(Frozen):
    """All experiments and the gates between their phases."""

    version: Literal[1] = Field(description="Of this format.")
    experiments: Several[Experiment] = Field(min_length=1)
    gates: Several[Gate] = ()
    profiles: str | None = Field(
        default=None, description="Profiles file of this plan, relative to the plan's; None = the packaged ones."
    )

    def experiment(self, name: str) -> Experiment:
        """By long id or short name. Raises `UserError` listing near matches."""
        for experiment in self.experiments:
            if name in (experiment.id, experiment.short):
                return experiment
        known = [n for e in self.experiments for n in (e.short, e.id)]
        raise UserError(
            f"There is {unknown('experiment', name, known, 'in this plan')} `foresight plan show` lists them all."
        )

    def gate(self, gate_id: str) -> Gate:
        """Raises `UserError` naming what there is."""
        for gate in self.gates:
            if gate.id == gate_id:
                return gate
        ids = [g.id for g in self.gates]
        raise UserError(f"There is {unknown('gate', gate_id, ids, 'in this plan')}")

    def phases(self) -> dict[int, list[Experiment]]:
        """Experiments by phase, phases in order, plan order within."""
        return {
            phase: [e for e in self.experiments if e.phase == phase]
            for phase in sorted({e.phase for e in self.experiments})
        }

    def gate_before(self, phase: int) -> Gate | None:
        """The gate that unlocks `phase`, if any."""
        return next((gate for gate in self.gates if gate.unlocks_phase == phase), None)

    @property
    def hash(self) -> str:
        """64 hex digits over every experiment's hash, the dependencies, the phases and the gates."""
        graph = [[e.short, e.hash, e.phase, sorted(e.depends_on), sorted(e.replaces)] for e in self.experiments]
        gates = [[g.id, sorted(g.experiments), g.unlocks_phase] for g in self.gates]
        return sha256_bytes(canonical_json({"experiments": sorted(graph), "gates": sorted(gates)}))


class ModelChoice(Frozen):
    """Exactly which model plays a role."""

    id: str = Field(min_length=1, description="Hub id, or the id of a shipped stand-in.")
    revision: str = Field(
        default="", description="Commit of the hub repository, 40 hex digits. A stand-in may leave it out: one ships."
    )
    stand_in: bool = Field(description="A tiny model of the real class, not the one that the programme asks about.")
    licence: str = Field(min_length=1, description="SPDX id or the licence's own name.")
    dtype: Literal["float32", "bfloat16"] = Field(
        description="Of the forward pass; part of the identity of its features."
    )
    batch_size: Annotated[int, Field(ge=1)] = Field(description="Images a forward pass; never part of an identity.")


class DataChoice(Frozen):
    """Which recipe of `foresight.data` makes a data set, and with what."""

    recipe: Id = Field(description="One of `foresight.data.recipes`: `photographs`, `textures`, `ssv2_frames`, …")
    parameters: Block = Field(default_factory=dict, description="Keyword arguments of the recipe.")


class Split(Frozen):
    """Shares of the *sources*, never of the images."""

    train: FiniteFloat = Field(gt=0)
    validation: FiniteFloat = Field(gt=0)
    test: FiniteFloat = Field(gt=0)

    @model_validator(mode="after")
    def _shares_of_one_or_counts(self) -> Split:
        if self.counts is None and abs(sum(self.fractions) - 1) > 1e-9:
            raise ValueError(
                f"fractions of a split add up to {sum(self.fractions):g}, not to 1; counts are whole numbers >= 1"
            )
        return self

    @property
    def fractions(self) -> tuple[float, float, float]:
        return (self.train, self.validation, self.test)

    @property
    def counts(self) -> tuple[int, int, int] | None:
        """Sources a part, if the split is written as whole numbers."""
        if all(part >= 1 and part == int(part) for part in self.fractions):
            return (int(self.train), int(self.validation), int(self.test))
        return None


class Settings(Frozen):
    """What a profile says about one sub-experiment."""

    data: Id | None = Field(default=None, description="Name of the profile's data set that it runs on.")
    needs: Several[NeedText] | None = Field(default=None, description="Instead of the plan's needs; None = the plan's.")
    parameters: Block = Field(default_factory=dict, description="`runner.config`: epochs, head sizes and the like.")
    split: Split | None = Field(default=None, description="Instead of the profile's split.")
    resources: Resources = Field(default=Resources(), description="Over the plan's and the profile's defaults.")


class ProfileResources(Frozen):
    """Defaults by kind of step. Over them stand a sub-experiment's resources in the plan, over those its settings'."""

    extract: Resources
    sub_experiment: Resources
    everything_on: Literal["cpu"] | None = Field(
        default=None, description="`cpu`: no step goes to a GPU, whatever the plan asks; stand-ins fit a laptop."
    )


class Profile(Frozen):
    """One size of the whole programme."""

    name: Id
    rank: Annotated[int, Field(ge=1)] = Field(description="A view shows the highest rank that has run (stub runs: 0).")
    moves_gates: bool = Field(description="Whether its verdicts count.")
    description: str = Field(min_length=1)
    models: dict[Id, ModelChoice] = Field(description="By role.")
    data: dict[Id, DataChoice] = Field(description="By name.")
    sub_experiments: dict[Id, Settings] = Field(default_factory=dict, description="By sub-experiment id.")
    seeds: Several[Annotated[int, Field(ge=0)]] = Field(
        min_length=1, description="Each varies split and initialisation."
    )
    split: Split
    resources: ProfileResources

    def for_sub_experiment(self, sub_id: str) -> Settings:
        """Its settings; empty ones if the profile says nothing about it."""
        return self.sub_experiments.get(sub_id) or Settings()

    def needs_of(self, sub: SubExperiment) -> tuple[Need, ...]:
        """The features that `sub` reads in this profile."""
        override = self.for_sub_experiment(sub.id).needs
        return tuple(parse_need(text) for text in (sub.needs if override is None else override))

    def split_of(self, sub: SubExperiment) -> Split:
        return self.for_sub_experiment(sub.id).split or self.split

    def resources_of(self, kind: StepKind, sub: SubExperiment | None = None) -> Resources:
        """What a step needs: an extraction (`sub` is not asked), or a seed of `sub`."""
        if kind == "extract" or sub is None:
            resources = self.resources.extract if kind == "extract" else self.resources.sub_experiment
        else:
            own = self.for_sub_experiment(sub.id).resources
            resources = own.over(sub.resources.over(self.resources.sub_experiment))
        everywhere = self.resources.everything_on
        return Resources(device=everywhere).over(resources) if everywhere else resources

    @property
    def side_multiple_px(self) -> int:
        """What image sides must be multiples of: whole tokens for stand-ins, whole cells too for full models."""
        return IMAGE_SIDE_PX if all(model.stand_in for model in self.models.values()) else FULL_MODEL_SIDE_PX


class ProfileFile(Frozen):
    """The content of a profiles file."""

    version: Literal[1] = Field(description="Of this format.")
    profiles: Several[Profile] = Field(min_length=1)
