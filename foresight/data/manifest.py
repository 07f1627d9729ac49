"""The manifest: what a dataset holds, item by item, and where each item came from.

`manifest.json` is written last, so its existence means that the dataset is whole. Its `sha256` covers what bears on
any number computed from the data (pixels by content hash, labels, order, sources, which sources the stand-ins have
seen) and nothing else: not the name, not the recipe, not the library versions. Equal data has one identity, however
it was made.

Reading it needs neither numpy nor the pictures: a plan can be costed and fingerprinted from manifests alone.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from foresight.data.recipes import RECIPES, Label, Recipe, resolve
from foresight.errors import UserError
from foresight.files import canonical_json, sha256_bytes
from foresight.home import Home

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
IMAGES = "images.npy"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class DataSpec:
    """A dataset as a profile asks for it. Raises `UserError` on an unknown recipe or a wrong parameter."""

    name: str  # what plans and needs call it, e.g. `photographs`
    recipe: str
    parameters: Mapping[str, Any] = field(default_factory=dict)  # of the recipe; defaults are filled in

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9_-]+", self.name):
            raise UserError(
                f"{self.name!r} cannot name a dataset. It becomes a folder's name. Use small letters, digits, _ and -."
            )
        object.__setattr__(self, "parameters", resolve(self.recipe, self.parameters).model_dump(mode="json"))

    @property
    def definition(self) -> Recipe:
        return RECIPES[self.recipe]

    @property
    def key(self) -> str:
        """64 hex digits of recipe, recipe version and resolved parameters. The name bears no identity."""
        return sha256_bytes(canonical_json([self.recipe, self.definition.version, dict(self.parameters)]))

    def folder(self, home: Home) -> Path:
        return home.datasets / f"{self.name}-{self.key[:12]}"

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "recipe": self.recipe, "parameters": dict(self.parameters)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> DataSpec:
        return cls(**value)


class Source(_Frozen):
    """The unit of splitting, of resampling and of n: a photograph, a clip, a generator seed."""

    origin: str = Field(description="Where it comes from, with the version of the package or dataset.")
    licence: str = Field(description="As stated where it comes from; `not stated` where nothing is.")
    stand_in_training: bool = Field(
        default=False, description="The shipped stand-in models were trained on it, so it counts as train."
    )


class Item(_Frozen):
    """One picture, or one clip."""

    id: str
    source: str = Field(description="A key of the manifest's `sources`.")
    sha256: str = Field(description="Of the pixels, uint8, C order.")
    labels: Mapping[str, Label] = Field(
        default_factory=dict,
        description="E.g. `shape`, `frame`; `box` is [x0, y0, x1, y1] in 0..1, `boxes` a list of them.",
    )

    @model_validator(mode="after")
    def _one_entry_an_object(self) -> Item:
        """Several objects: every list beside `boxes` describes the same objects in the same order."""
        if "boxes" not in self.labels:
            return self
        boxes = self.labels["boxes"]
        if not isinstance(boxes, list) or not all(_is_box(box) for box in boxes):
            raise ValueError(f"{self.id}: `boxes` has something that is no [x0, y0, x1, y1] with 0 <= x0 < x1 <= 1")
        for name, label in self.labels.items():
            if isinstance(label, list) and name != "box" and len(label) != len(boxes):
                raise ValueError(f"{self.id} has {len(boxes)} boxes and {len(label)} entries of `{name}`")
        return self


class Manifest(_Frozen):
    """What the dataset holds, in the order of `images.npy`."""

    schema_version: Literal[1] = 1
    spec: DataSpec
    shape: tuple[int, ...] = Field(description="Of `images.npy`: [N, S, S, 3], or [N, T, S, S, 3] for clips.")
    items: tuple[Item, ...]
    sources: Mapping[str, Source]
    versions: Mapping[str, str] = Field(description="Of the packages that bore on the pixels when they were made.")
    sha256: str

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        if self.shape[0] != len(self.items):
            raise ValueError(f"{len(self.items)} items but pictures of shape {self.shape}")
        if missing := {item.source for item in self.items} - self.sources.keys():
            raise ValueError(f"items name sources that are not listed: {sorted(missing)[:3]}")
        if self.sha256 != content_sha256(self.shape, self.items, self.sources):
            raise ValueError("its sha256 is not that of its content")
        return self

    @property
    def groups(self) -> list[str]:
        """The source of each item, length n."""
        return [item.source for item in self.items]


def _is_box(value: object) -> bool:
    if not isinstance(value, list) or len(value) != 4:
        return False
    x0, y0, x1, y1 = value
    return 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1


def content_sha256(shape: Iterable[int], items: Iterable[Item], sources: Mapping[str, Source]) -> str:
    """The identity of the data: see the module's docstring for what is in it."""
    return sha256_bytes(
        canonical_json(
            {
                "shape": list(shape),
                "items": [[item.id, item.source, item.sha256, dict(item.labels)] for item in items],
                "stand_in_training": sorted(name for name, source in sources.items() if source.stand_in_training),
            }
        )
    )


def find(spec: DataSpec, home: Home) -> Manifest | None:
    """The manifest if the dataset was made, else None. Reads no pictures; `dataset.prepare` checks those.

    A manifest that cannot be read counts as absent, and a warning says so: `dataset.prepare` makes it anew.
    """
    return read_manifest(spec.folder(home))


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest in `folder`; None if there is none, or none that is valid (with a warning in the log)."""
    path = folder / MANIFEST
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    try:
        return Manifest.model_validate_json(text)
    except (ValidationError, UserError) as error:  # UserError: it was made by a recipe that is no longer there
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        logger.warning("%s is damaged: %s", path, reason)
        return None
