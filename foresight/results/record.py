"""The record: what a finished step leaves behind. A step is finished if and only if its record exists.

`steps/<fingerprint>/record.json` is written last and atomically, after every artifact that it names. Everything a
verdict needs is in it: the metrics, the score of each sample with the source it came from, the trivial baselines on
the same samples, and what produced them. Attempts that did not finish leave an `Attempt` in `attempts/<n>/`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from foresight.home import Home
from foresight.plan.schema import Criterion


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Artifact(_Frozen):
    """A file that a step made."""

    name: str = Field(description="File name as the handler gave it, e.g. `tsne.png`.")
    path: str = Field(description="Where it lies, relative to FORESIGHT_HOME.")
    sha256: str
    size_bytes: int


class Samples(_Frozen):
    """One metric, sample by sample: what an interval is computed from."""

    metric: str = Field(description="The metric whose mean over samples these scores are.")
    scores: list[FiniteFloat] = Field(description="One score a sample, length n.")
    groups: list[str] = Field(description="The source of each sample (photograph, clip, generator seed), length n.")
    baselines: dict[str, list[FiniteFloat]] = Field(
        default_factory=dict, description="Trivial baselines on the same samples: name -> scores, each of length n."
    )
    higher_is_better: bool

    @model_validator(mode="after")
    def _lengths_agree(self) -> Samples:
        n = len(self.scores)
        if n == 0 or len(self.groups) != n or any(len(scores) != n for scores in self.baselines.values()):
            raise ValueError(
                f"{self.metric}: scores, groups and every baseline need one entry a sample, and one at least"
            )
        return self


class Usage(_Frozen):
    """What the step took, this attempt only."""

    device: str = Field(description="`cpu` or a GPU class such as `A100-40GB`.")
    seconds: FiniteFloat = Field(description="Wall time.")
    cpu_seconds: FiniteFloat
    peak_memory_bytes: int = Field(description="Peak resident memory of the step's process (GPU: allocated).")
    cost_usd: FiniteFloat = Field(description="Zero for local work.")


class ModelIdentity(_Frozen):
    """Exactly which weights."""

    id: str
    revision: str
    weights_sha256: str
    stand_in: bool = Field(description="A tiny model of the real class, not the one that the programme asks about.")


class Provenance(_Frozen):
    """What produced the numbers."""

    git_commit: str | None
    git_dirty: bool | None
    lock_sha256: str | None
    versions: dict[str, str]
    models: dict[str, ModelIdentity] = Field(default_factory=dict, description="By role: `vlm`, `vae`.")
    data: dict[str, str] = Field(default_factory=dict, description="Data set name -> sha256 of its manifest.")
    seed: int | None
    python: str
    platform: str
    processor: str = Field(default="", description="The CPU's model name; empty: not kept then.")


class Record(_Frozen):
    """A finished step."""

    schema_version: Literal[1] = 1
    fingerprint: str
    kind: Literal["smoke", "extract", "sub_experiment"]
    label: str
    status: Literal["completed"] = "completed"
    profile: str
    run_id: str = Field(default="", description="The run that computed it.")
    experiment_id: str | None = None
    sub_experiment: str | None = None
    seed: int | None = None
    finding: str = ""
    finding_template: str = Field(
        default="", description="The finding with `{metric}` fields, so that seeds can be pooled."
    )
    metrics: dict[str, FiniteFloat] = Field(default_factory=dict)
    samples: list[Samples] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list, description="Caveats a reader must see beside the numbers.")
    artifacts: list[Artifact] = Field(default_factory=list)
    not_measured: dict[str, str] = Field(
        default_factory=dict,
        description="Metrics that its handler could not measure with what it had -> why, one sentence.",
    )
    read: dict[str, str] = Field(
        default_factory=dict,
        description="Files of sub-experiments that it uses, `e_p2_3/system.safetensors` -> sha256 of what was read.",
    )
    usage: Usage
    provenance: Provenance
    identity: dict = Field(description="What the fingerprint is the hash of.")
    criteria: tuple[Criterion, ...] | None = Field(
        default=None,
        strict=False,
        description="What the sub-experiment was judged by when it was computed, so that nobody can move a threshold "
        "once a number is known. None: it was computed before records kept that.",
    )
    attempt: int = Field(description="Which attempt finished, from 1.")
    adjustments: list[str] = Field(
        default_factory=list, description="What was changed after attempts that ran out of memory, and why."
    )
    started_at: str = Field(description="ISO 8601, UTC.")
    finished_at: str


Cause = Literal[
    "exception",
    "invalid_output",
    "out_of_memory",
    "signal",
    "crash_loop",
    "timeout",
    "cancelled",
    "lost",
    "identity",
    "disk",
    "needs",
    "budget",
]


class Attempt(_Frozen):
    """An attempt that did not finish. Its log and traceback lie beside it."""

    fingerprint: str
    number: int
    call_id: str = Field(default="", description="Which call it was part of.")
    run_id: str = Field(default="", description="The run that made it.")
    device: str = Field(default="cpu", description="`cpu` or a GPU class.")
    adjustments: list[str] = Field(
        default_factory=list, description="What was changed after earlier attempts, and why."
    )
    cause: Cause
    error: str = Field(description="One line for a table.")
    traceback: str = ""
    seconds: FiniteFloat
    cost_usd: FiniteFloat
    started_at: str
    finished_at: str


class StepOutput(BaseModel):
    """What an executor hands back, before it becomes a record. Artifact files lie in the attempt's folder."""

    model_config = ConfigDict(extra="forbid")

    finding_template: str = ""
    metrics: dict[str, FiniteFloat] = Field(default_factory=dict)
    samples: list[Samples] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    artifacts: list[Artifact] = Field(default_factory=list)
    not_measured: dict[str, str] = Field(default_factory=dict)
    read: dict[str, str] = Field(default_factory=dict)


def read_record(home: Home, fingerprint: str) -> Record | None:
    """The record, or None if the step is not finished. Raises `ValueError` if the file is there but is no record."""
    try:
        content = home.record(fingerprint).read_bytes()
    except FileNotFoundError:
        return None
    record = Record.model_validate_json(content)
    if record.fingerprint != fingerprint:
        raise ValueError(f"record of {record.fingerprint} found under {fingerprint}")
    return record


def finished(home: Home, fingerprint: str, refresh: str | None = None) -> Record | None:
    """The record that makes the step count as done: any, or with `refresh` (a run id) only one that this run made."""
    record = read_record(home, fingerprint)
    return None if record is None or (refresh is not None and record.run_id != refresh) else record
