"""The profile: how big a run is. Models and revisions, data, sizes, seeds, head sizes and resources.

The code path is the same in every profile; a profile only names numbers and things. Only one with `moves_gates` decides
anything: the others are rehearsals, and a gate says *not applicable* in them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, FiniteFloat, model_validator

from foresight.plan.schema import IMAGE_SIDE_PX, Frozen, Id, Need, NeedText, Resources, SubExperiment, parse_need

FULL_MODEL_SIDE_PX = 224
"""28 px (Qwen2.5-VL's merged patch) and 32 px (LTX's latent cell) both divide it: tokens and cells cover the same pixels."""

StepKind = Literal["extract", "sub_experiment"]


class ModelChoice(Frozen):
    """Exactly which model plays a role."""

    id: str = Field(min_length=1, description="Hub id, or the id of a shipped stand-in.")
    revision: str | None = Field(
        description="Commit of the hub repository (40 hex digits), or the stand-in's own revision. null = not pinned yet."
    )
    stand_in: bool = Field(description="A tiny model of the real class, not the one that the programme asks about.")
    licence: str = Field(min_length=1, description="SPDX id or the licence's own name.")
    dtype: Literal["float32", "bfloat16"] = Field(description="Of the forward pass; part of the identity of its features.")
    batch_size: Annotated[int, Field(ge=1)] = Field(description="Images a forward pass; never part of an identity.")


class DataChoice(Frozen):
    """Which recipe of `foresight.data` makes a data set, and with what."""

    recipe: Id = Field(description="`photographs`, `single_object`, `categories`, `coco_single_object`, `ssv2_frames`.")
    parameters: dict[str, Any] = Field(default_factory=dict, description="Keyword arguments of the recipe.")


class Split(Frozen):
    """Shares of the *sources*, never of the images."""

    train: FiniteFloat = Field(gt=0)
    validation: FiniteFloat = Field(gt=0)
    test: FiniteFloat = Field(gt=0)

    @model_validator(mode="after")
    def _shares_of_one_or_counts(self) -> Split:
        if self.counts is None and abs(sum(self.fractions) - 1) > 1e-9:
            raise ValueError(f"fractions of a split add up to {sum(self.fractions):g}, not to 1; counts are whole numbers >= 1")
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
    needs: tuple[NeedText, ...] | None = Field(default=None, description="Instead of the plan's needs; None = the plan's.")
    parameters: dict[str, Any] = Field(default_factory=dict, description="`runner.config`: epochs, head sizes and the like.")
    split: Split | None = Field(default=None, description="Instead of the profile's split.")
    resources: Resources = Field(default=Resources(), description="Over the plan's and the profile's defaults.")


class ProfileResources(Frozen):
    """Defaults by kind of step. Over them stand the plan's resources of a sub-experiment, and over those its settings'."""

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
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1, description="Each varies split and initialisation.")
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
        """What image sides must be a multiple of: stand-ins take any whole token, full models whole tokens and cells."""
        return IMAGE_SIDE_PX if all(model.stand_in for model in self.models.values()) else FULL_MODEL_SIDE_PX


class ProfileFile(Frozen):
    """The content of a profiles file."""

    version: Literal[1] = Field(description="Of this format.")
    profiles: tuple[Profile, ...] = Field(min_length=1)
