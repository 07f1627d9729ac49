"""The feature store: one folder an extraction, `features/<fingerprint>/{00000.safetensors, …, manifest.json}`.

A shard holds a fixed number of items; it is written whole or not at all and carries the hash of its own values, so
that an extraction that died goes on where it was. The manifest is written last: its existence means that all shards
are there.

Values are stored as float16, half the size: its 11 significant bits lose at most 0.05 % of a value, far below what a
probe can tell, and as much or more than bfloat16, in which the full models compute, ever had. A shard in which a
value would overflow (65,504; the residual stream of large language models has single channels beyond 10,000) is
stored as float32. Reading always gives float32.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from safetensors.numpy import save

from foresight.elsewhere import VOLUME, left_elsewhere
from foresight.errors import StepFailed, UserError
from foresight.files import sha256_bytes, sha256_file, write_atomic
from foresight.home import Home

MANIFEST = "manifest.json"
SHARD_ITEMS = 64
"""Items a shard: what a call that dies can lose. 64 images at 224 px of the 7B model are 29 MB (X3)."""

_KEY = "x"
_NUMPY: dict[str, np.dtype[Any]] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4")}


class Shard(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    sha256: str = Field(description="Of the file.")
    size_bytes: int
    items: int


class FeatureManifest(BaseModel):
    """What a feature folder holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    shape: tuple[int, ...] = Field(description="[N, H, W, D]; of clips [N, T, H, W, D].")
    shards: tuple[Shard, ...]
    made: dict[str, Any] = Field(default_factory=dict, description="The extraction's identity.")


class FeatureWriter:
    """Writes the shards of one extraction, in any order; what an earlier attempt left is kept if it is sound."""

    def __init__(self, home: Home, fingerprint: str, items: int, shard_items: int = SHARD_ITEMS) -> None:
        self.folder = home.features / fingerprint
        self.items = items
        self.shard_items = shard_items
        self._item_shape: tuple[int, ...] | None = None
        self._done = {index for index in range(len(self)) if self._sound(index)}

    def __len__(self) -> int:
        """Number of shards."""
        return -(-self.items // self.shard_items)

    def range(self, shard: int) -> range:
        """The items of a shard."""
        return range(shard * self.shard_items, min((shard + 1) * self.shard_items, self.items))

    @property
    def missing(self) -> list[int]:
        """Shards that are not there yet."""
        return [index for index in range(len(self)) if index not in self._done]

    def write(self, shard: int, values: np.ndarray) -> None:
        """Store float [n, H, W, D], the values of the shard's items.

        Raises `StepFailed` if a value is not finite, `ValueError` if the shape does not fit.
        """
        if len(values) != len(self.range(shard)) or self._item_shape not in (None, values.shape[1:]):
            raise ValueError(f"shard {shard} of {self.folder.name} cannot hold an array of shape {values.shape}")
        stored = _compact(np.asarray(values, dtype=np.float32))
        if stored is None:
            raise StepFailed(
                f"The features of items {self.range(shard)[0]} to {self.range(shard)[-1]} are not all finite. "
                "The model overflowed or its weights are damaged: verify them with `foresight download-models`.",
                cause="invalid_output",
                retryable=False,
            )
        self._item_shape = values.shape[1:]
        metadata = {"values_sha256": sha256_bytes(stored.tobytes())}  # of several, safetensors draws the order by lot
        write_atomic(self._path(shard), save({_KEY: stored}, metadata=metadata))
        self._done.add(shard)

    def finish(self, made: dict[str, Any]) -> FeatureManifest:
        """Write the manifest. Raises `ValueError` if shards are missing."""
        if self.missing or self._item_shape is None:
            raise ValueError(f"shards {self.missing} of {self.folder.name} are missing")
        shards = [
            Shard(
                file=path.name, sha256=sha256_file(path), size_bytes=path.stat().st_size, items=len(self.range(index))
            )
            for index, path in enumerate(map(self._path, range(len(self))))
        ]
        manifest = FeatureManifest(shape=(self.items, *self._item_shape), shards=tuple(shards), made=made)
        write_atomic(self.folder / MANIFEST, manifest.model_dump_json(indent=1) + "\n")
        return manifest

    def _path(self, shard: int) -> Path:
        return self.folder / f"{shard:05d}.safetensors"

    def _sound(self, shard: int) -> bool:
        """Whether an earlier attempt wrote this shard whole; its values are hashed again."""
        try:
            values, metadata = _map(self._path(shard))
        except (FileNotFoundError, DamagedShard):
            return False
        fits = len(values) == len(self.range(shard)) and self._item_shape in (None, values.shape[1:])
        if not fits or metadata.get("values_sha256") != sha256_bytes(values.tobytes()):
            return False
        self._item_shape = values.shape[1:]
        return True


@dataclass(frozen=True)
class FeatureArray:
    """Features on disk, read as they are needed: `features[index]` is float32 [., H, W, D] in memory.

    `index` is what numpy takes on the first axis: an integer, a slice, an array of integers or of booleans.
    """

    folder: Path
    manifest: FeatureManifest

    @property
    def shape(self) -> tuple[int, ...]:
        return self.manifest.shape

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        chosen = np.arange(len(self))[index]  # numpy's own rules, and its IndexError
        if chosen.ndim > 1:
            raise IndexError("features are indexed along their first axis only; slice the array that comes back")
        wanted = np.atleast_1d(chosen)
        values = np.empty((len(wanted), *self.shape[1:]), dtype=np.float32)
        bounds = np.cumsum([0, *(shard.items for shard in self.manifest.shards)])
        owner = np.searchsorted(bounds, wanted, side="right") - 1
        for shard in np.unique(owner):
            here = owner == shard
            values[here] = self._maps[shard][wanted[here] - bounds[shard]]
        return values if chosen.ndim else values[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:] if dtype is None else self[:].astype(dtype)

    def verify(self) -> None:
        """Hash every shard. Raises `UserError` naming those that are damaged."""
        damaged = [s.file for s in self.manifest.shards if sha256_file(self.folder / s.file) != s.sha256]
        if damaged:
            raise UserError(f"{', '.join(damaged)} in {self.folder} is damaged. {_REMEDY}")

    @cached_property
    def _maps(self) -> list[np.ndarray]:
        return [_map(self.folder / shard.file)[0] for shard in self.manifest.shards]


def open_features(home: Home, fingerprint: str, *, verify: bool = False) -> FeatureArray:
    """The features of an extraction step. Checks that all shards are there in their size, and with `verify` their hash.

    Raises `UserError` if the extraction is not finished or a file of it is missing, short or damaged.
    """
    folder = home.features / fingerprint
    try:
        manifest = FeatureManifest.model_validate_json((folder / MANIFEST).read_text())
    except FileNotFoundError:
        if left_elsewhere(home, fingerprint):
            raise UserError(
                f"The features {fingerprint[:12]}… lie on Modal's volume {VOLUME} and not here. "
                f"`modal volume get {VOLUME} features/{fingerprint} {home.features}` fetches them."
            ) from None
        raise UserError(f"There are no features in {folder}. Their extraction did not finish. {_REMEDY}") from None
    for shard in manifest.shards:
        path = folder / shard.file
        if not path.is_file() or path.stat().st_size != shard.size_bytes:
            raise UserError(f"{path} is missing or does not have the {shard.size_bytes} bytes it had. {_REMEDY}")
    features = FeatureArray(folder, manifest)
    if verify:
        features.verify()
    return features


_REMEDY = "Run the experiment again: what is missing is extracted anew."


class DamagedShard(Exception):
    """Not a whole safetensors file of our kind."""


def _compact(values: np.ndarray) -> np.ndarray | None:
    """Float16 if every value fits, else float32; None if one is not finite."""
    if not np.isfinite(values).all():
        return None
    fits = np.abs(values).max(initial=0) <= np.finfo(np.float16).max
    return np.ascontiguousarray(values, dtype="<f2" if fits else "<f4")


def _map(path: Path) -> tuple[np.ndarray, dict[str, str]]:
    """The values of a shard as a read-only memory map, and the file's metadata.

    A safetensors file is an 8-byte little-endian length, a JSON header of that length, then the values.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if 8 + length > size:
            raise DamagedShard(path)
        try:
            header = json.loads(stream.read(length))
            entry = header[_KEY]
            shape, dtype = tuple(entry["shape"]), _NUMPY[entry["dtype"]]
            begin, end = entry["data_offsets"]
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedShard(path) from error
    if 8 + length + end != size or end - begin != dtype.itemsize * int(np.prod(shape)):
        raise DamagedShard(path)
    return np.memmap(path, dtype, "r", offset=8 + length + begin, shape=shape), header.get("__metadata__", {})
