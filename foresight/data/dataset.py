"""A dataset on disk: made once, whole or absent, opened as a memory map.

`datasets/<name>-<key>/` holds `images.npy` and `manifest.json`. It is built in a hidden folder beside and renamed
into place, under a lock that a dying process releases, so that two processes may prepare it at once and a killed one
leaves nothing that could be taken for a dataset.
"""

from __future__ import annotations

import importlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from foresight.data.manifest import (
    IMAGES,
    MANIFEST,
    DataSpec,
    Item,
    Manifest,
    Source,
    content_sha256,
    find,
    read_manifest,
)
from foresight.data.recipes import FPS, Sample, resolve
from foresight.errors import UserError
from foresight.files import sha256_bytes, write_atomic
from foresight.home import Home

__all__ = ["CatalogueRow", "DataSpec", "Dataset", "catalogue", "find", "prepare", "raw_folder", "verify"]

logger = logging.getLogger(__name__)

CHECKED_ON_OPENING_BYTES = 256 * 2**20
"""Up to this size every pixel is hashed whenever a dataset is opened (0.1 s for 100 MB); above it only the size and
the shape are looked at, and `verify` does the rest."""

_PIXEL_PACKAGES = ("numpy", "pillow", "scikit-image", "av")


@dataclass(frozen=True)
class Dataset:
    """The pictures with their manifest."""

    manifest: Manifest
    folder: Path
    images: np.ndarray  # read-only memory map, uint8 [N, S, S, 3], or [N, T, S, S, 3] for clips

    def __len__(self) -> int:
        return len(self.manifest.items)

    @property
    def groups(self) -> list[str]:
        """The source of each item, length N."""
        return self.manifest.groups

    @property
    def fps(self) -> float | None:
        """Frames a second of the clips; None for stills. Raises `UserError` if the items do not agree on one rate."""
        if self.images.ndim != 5:
            return None
        rates = {item.labels.get(FPS) for item in self.manifest.items}
        if len(rates) != 1 or not isinstance(rate := rates.pop(), (int, float)):
            raise UserError(
                f"The clips of {self.manifest.spec.name} do not all have one frame rate. Their recipe must give each "
                f"the same label `{FPS}`, for models place frames in time by it."
            )
        return float(rate)

    def labels(self, name: str) -> np.ndarray:
        """One label of every item: [N], or [N, 4] for `box`. Raises `KeyError` if an item lacks it.

        Labels of several objects (`boxes` and those beside it) differ in length: `foresight.data.objects` reads them.
        """
        try:
            return np.array([item.labels[name] for item in self.manifest.items])
        except KeyError:
            known = sorted(set.intersection(*(set(item.labels) for item in self.manifest.items)))
            raise KeyError(
                f"{self.manifest.spec.name} has no label {name!r} on every item; it has {', '.join(known)}"
            ) from None


def raw_folder(spec: DataSpec, home: Home) -> Path | None:
    """Where the files that a person downloads are looked for; None if the recipe needs none.

    `FORESIGHT_HOME/datasets/raw/<name>`, or `<name>` under the environment variable FORESIGHT_DATASETS.
    """
    if spec.definition.raw is None:
        return None
    base = os.environ.get("FORESIGHT_DATASETS")
    return (Path(base) if base else home.datasets / "raw") / spec.definition.raw


def prepare(spec: DataSpec, home: Home, *, root: Path | None = None) -> Dataset:
    """Open the dataset, after making it if it is absent, damaged or half-written (the log says which).

    `root` is the folder of the raw files, for the recipes that need some; by default `raw_folder(spec, home)`.
    Raises `UserError` if raw files are missing, their licence was not accepted, or too few of them fit.
    """
    folder = spec.folder(home)
    if (dataset := _open(folder)) is not None:
        return dataset
    home.datasets.mkdir(parents=True, exist_ok=True)
    with _lock(folder):
        if (dataset := _open(folder)) is not None:  # another process has just made it
            return dataset
        _clear(folder)
        _make(spec, folder, root if root is not None else raw_folder(spec, home))
    dataset = _open(folder)
    if dataset is None:
        raise OSError(f"{folder} does not read back as it was written; the disk or its file system is at fault")
    return dataset


def verify(dataset: Dataset) -> list[str]:
    """What is wrong with the dataset, one sentence each; nothing if every pixel is as the manifest says.

    The manifest's own consistency was checked when it was read.
    """
    return [
        f"{item.id}: the pixels are not those of the manifest"
        for item, pixels in zip(dataset.manifest.items, dataset.images, strict=True)
        if _pixels_sha256(pixels) != item.sha256
    ]


@dataclass(frozen=True)
class CatalogueRow:
    """A line of `foresight datasets list`."""

    name: str
    recipe: str
    state: str  # `ready`, `not prepared`, or `raw files missing`
    n_items: int | None
    n_sources: int | None
    n_stand_in_sources: int | None
    size_bytes: int | None
    sha256: str | None
    licences: tuple[str, ...]
    folder: Path  # where it lies, or will; for `raw files missing` where the raw files are looked for


def catalogue(specs: Sequence[DataSpec], home: Home) -> list[CatalogueRow]:
    """One row a spec, in order. Reads manifests only."""
    return [_row(spec, home) for spec in specs]


def _row(spec: DataSpec, home: Home) -> CatalogueRow:
    folder = spec.folder(home)
    manifest = find(spec, home)
    if manifest is None or not (folder / IMAGES).is_file():
        raw = raw_folder(spec, home)
        missing = raw is not None and not raw.is_dir()
        state = "raw files missing" if missing else "not prepared"
        return CatalogueRow(
            spec.name, spec.recipe, state, None, None, None, None, None, (), raw if raw and missing else folder
        )
    return CatalogueRow(
        name=spec.name,
        recipe=spec.recipe,
        state="ready",
        n_items=len(manifest.items),
        n_sources=len(manifest.sources),
        n_stand_in_sources=sum(source.stand_in_training for source in manifest.sources.values()),
        size_bytes=(folder / IMAGES).stat().st_size,
        sha256=manifest.sha256,
        licences=tuple(sorted({source.licence for source in manifest.sources.values()})),
        folder=folder,
    )


def _open(folder: Path) -> Dataset | None:
    """The dataset in `folder` if it is whole; None if absent or damaged, with a warning in the log."""
    manifest = read_manifest(folder)
    if manifest is None:
        return None
    dataset, problem = None, ""
    try:
        images = np.load(folder / IMAGES, mmap_mode="r")
    except FileNotFoundError:
        problem = f"{IMAGES} is missing"
    except ValueError as error:  # truncated, or no .npy at all
        problem = f"{IMAGES} cannot be read ({error})"
    else:
        dataset = Dataset(manifest, folder, images)
        if images.shape != manifest.shape or images.dtype != np.uint8:
            problem = f"{IMAGES} is {images.dtype} {images.shape} where the manifest says uint8 {manifest.shape}"
        elif images.nbytes <= CHECKED_ON_OPENING_BYTES:
            problem = next(iter(verify(dataset)), "")
    if not problem:
        return dataset
    logger.warning("dataset %s is damaged: %s; it is made anew", folder.name, problem)
    return None


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Held while the dataset is made. The operating system frees it when its holder dies."""
    lock = FileLock(folder.parent / f".{folder.name}.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        logger.info("another process is preparing %s; waiting for it", folder.name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _clear(folder: Path) -> None:
    """Remove a damaged dataset and what a killed process left half-written. Only under the lock."""
    for leftover in folder.parent.glob(f".{folder.name}.*.part"):
        logger.warning("a half-written %s was left by a process that died; it is made anew", folder.name)
        shutil.rmtree(leftover)
    if folder.exists():
        if not (folder / MANIFEST).exists():
            logger.warning("dataset %s is damaged: %s is missing; it is made anew", folder.name, MANIFEST)
        shutil.rmtree(folder)


def _make(spec: DataSpec, folder: Path, root: Path | None) -> None:
    logger.info("making dataset %s (%s %s)", spec.name, spec.recipe, dict(spec.parameters))
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".part"))
    try:
        module, function = spec.definition.maker.split(":")
        make = getattr(importlib.import_module(module), function)
        samples: Iterable[Sample] = make(resolve(spec.recipe, spec.parameters), root)
        manifest = _write(spec, samples, part)
        part.chmod(0o755)
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    logger.info("made %s: %d items of %d sources", folder.name, len(manifest.items), len(manifest.sources))


def _write(spec: DataSpec, samples: Iterable[Sample], folder: Path) -> Manifest:
    """Stream the samples into `images.npy`, then write the manifest. Memory holds one sample at a time."""
    items: list[Item] = []
    sources: dict[str, Source] = {}
    shape: tuple[int, ...] | None = None
    with (folder / IMAGES).open("wb") as stream:
        for sample in samples:
            if shape is None:
                shape = sample.pixels.shape
                _write_header(stream, (0, *shape))
                start = stream.tell()
            if sample.pixels.dtype != np.uint8 or sample.pixels.shape != shape:
                raise ValueError(f"{sample.id} is {sample.pixels.dtype} {sample.pixels.shape}, not uint8 {shape}")
            if sources.setdefault(sample.source_id, sample.source) != sample.source:
                raise ValueError(f"two different sources are called {sample.source_id}")
            pixels = np.ascontiguousarray(sample.pixels)
            stream.write(pixels.data)
            items.append(
                Item(id=sample.id, source=sample.source_id, sha256=_pixels_sha256(pixels), labels=dict(sample.labels))
            )
        if shape is None:
            raise UserError(f"The recipe {spec.recipe} made no items for {spec.name}. Check its parameters.")
        stream.seek(0)
        _write_header(stream, (len(items), *shape))  # numpy pads the header so that the first axis can grow in place
        if stream.tell() != start:
            raise ValueError("the header of images.npy changed its length")
        stream.flush()
        os.fsync(stream.fileno())
    full_shape = (len(items), *shape)
    manifest = Manifest(
        spec=spec,
        shape=full_shape,
        items=tuple(items),
        sources=sources,
        versions={package: version(package) for package in _PIXEL_PACKAGES},
        sha256=content_sha256(full_shape, items, sources),
    )
    write_atomic(folder / MANIFEST, manifest.model_dump_json(indent=1))
    return manifest


def _write_header(stream: Any, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _pixels_sha256(pixels: np.ndarray) -> str:
    return sha256_bytes(np.ascontiguousarray(pixels).tobytes())
