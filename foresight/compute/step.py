"""The step: the unit that is computed, cached and resumed.

What bears identity is in `identity`: ids, resolved parameters, model revisions and weight hashes, the data manifest's
hash, the seed, the fingerprints of the steps it needs, library versions that bear on numbers, and the code. What does
not (batch size, device, limits, paths) is in `work`. The fingerprint is the hash of `identity` and of nothing else,
so that the same work has the same name on a laptop and on a GPU, today and in the next run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from foresight.compute.fingerprint import fingerprint_of
from foresight.compute.gpus import CORES

Kind = Literal["smoke", "extract", "sub_experiment"]


@dataclass(frozen=True)
class Resources:
    """What a step needs to run. Never part of its identity."""

    device: str = "cpu"  # `cpu` or a GPU class of the catalogue
    timeout_s: float = 3600.0  # one attempt
    deadline_s: float | None = None  # all attempts of a run together, from when the first was submitted
    memory_gb: float = 4.0
    cores: float = CORES  # of the container, and threads of its arithmetic; a local call has one


@dataclass(frozen=True)
class Step:
    kind: Kind
    label: str  # for people: `c1/e1_4 seed 0`, `vlm X3 photographs@112`
    profile: str
    identity: Mapping[str, Any]  # JSON
    work: Mapping[str, Any] = field(default_factory=dict)  # JSON; batch sizes and the like
    needs: Mapping[str, str] = field(default_factory=dict)  # what the executor calls it -> fingerprint
    resources: Resources = field(default_factory=Resources)

    @cached_property
    def fingerprint(self) -> str:
        """64 hex digits. Raises `TypeError` on an identity without a canonical form."""
        return fingerprint_of(self.identity)

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "label": self.label,
            "profile": self.profile,
            "identity": dict(self.identity),
            "work": dict(self.work),
            "needs": dict(self.needs),
            "resources": vars(self.resources),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Step:
        return cls(**{**value, "resources": Resources(**value["resources"])})
