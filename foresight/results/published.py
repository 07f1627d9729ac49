"""Published figures: what the first implementation of the programme reported, to stand beside our own numbers.

Facts with their source, kept apart from everything that is measured here: no verdict reads them. A figure that cannot
be compared says why. Experiments of a team's own plan have none, unless they bear the programme's ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, FiniteFloat, model_validator

from foresight.plan.parts import Frozen, Several
from foresight.yaml_text import parse_yaml

PATH = Path(__file__).with_name("published.yaml")


class Source(Frozen):
    """Where all of it was read."""

    repository: str
    commit: str
    hardware: str


class Figure(Frozen):
    """One published number."""

    name: str = Field(min_length=1, description="What was measured, for people.")
    record: FiniteFloat | None = Field(default=None, description="As its results file has it.")
    elsewhere: FiniteFloat | None = Field(
        default=None, description="As its written findings, plans or paper have it, where that differs."
    )
    unit: str = ""
    ours: str | None = Field(default=None, description="Our metric of the same sub-experiment that asks the same.")

    @model_validator(mode="after")
    def _stands_somewhere(self) -> Figure:
        if self.record is None and self.elsewhere is None:
            raise ValueError(f"'{self.name}' has neither a record nor another source")
        return self


class Trivial(Frozen):
    """What a guess without any model scores on the published data, measured with the published generators."""

    name: str = Field(min_length=1)
    value: FiniteFloat


class Study(Frozen):
    """What was published of one sub-experiment."""

    figures: Several[Figure] = ()
    reasons: Several[str] = Field(default=(), description="Why its figures do not compare with ours, best first; keys.")
    trivial: Several[Trivial] = ()
    notes: Several[str] = ()


class ExperimentFigures(Frozen):
    """What was published of one experiment."""

    verdict: Literal["proceed", "pivot", "none"]
    notes: Several[str] = ()
    sub_experiments: dict[str, Study]


class Published(Frozen):
    """The content of published.yaml."""

    version: Literal[1]
    source: Source
    reasons: dict[str, str] = Field(description="Key -> one sentence.")
    experiments: dict[str, ExperimentFigures]

    @model_validator(mode="after")
    def _reasons_are_known_and_used(self) -> Published:
        used = {
            key for one in self.experiments.values() for study in one.sub_experiments.values() for key in study.reasons
        }
        if wrong := sorted(used ^ self.reasons.keys()):
            raise ValueError(f"reasons that are not both defined and used: {', '.join(wrong)}")
        return self


@dataclass(frozen=True)
class Beside:
    """A published figure and ours."""

    sub_experiment: str
    figure: Figure
    ours: float | None  # None: ours has no such metric, or has not measured it
    reasons: tuple[str, ...]  # sentences; none: nothing speaks against comparing


@cache
def load() -> Published:
    return Published.model_validate(parse_yaml(PATH.read_text()))


def of(experiment_id: str) -> ExperimentFigures | None:
    """What was published of the experiment, if it is one of the programme's."""
    return load().experiments.get(experiment_id)


def beside(content: Mapping[str, Any]) -> list[Beside]:
    """Every published figure of the experiment of a results.yaml, beside our own metric where there is one."""
    figures, reasons = of(content["experiment_id"]), load().reasons
    entries = content["results"]["experiments"]
    return [
        Beside(
            sub_id,
            figure,
            entries[sub_id]["metrics"].get(figure.ours),
            tuple(reasons[key] for key in study.reasons),
        )
        for sub_id, study in (figures.sub_experiments.items() if figures else ())
        if sub_id in entries
        for figure in study.figures
    ]
