"""Models on this machine: fetched once at a pinned revision, verified, and only then named as present.

A download is believed when every file is there, every weight file has the hash that the hub states, and the model
loads and runs once; its `manifest.json` is written after that. What was verified before is only glanced at (size and
time of every file), unless asked. Stand-ins ship with the package; their few megabytes are hashed the first time.

Nothing heavy is imported: the forward pass is reached by name, when there is one to make.
"""

from __future__ import annotations

import fnmatch
import importlib
import json
import logging
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from foresight.errors import UserError
from foresight.files import read_json, sha256_bytes, write_json
from foresight.home import Home
from foresight.models.identity import (
    DOWNLOAD_COMMAND,
    MANIFEST,
    WEIGHTS_SUFFIX,
    ModelFile,
    ModelManifest,
    ModelSpec,
    hash_files,
    identity,
    is_weights,
    locate,
    read_manifest,
    write_manifest,
)
from foresight.results.record import ModelIdentity

logger = logging.getLogger(__name__)

PATTERNS: Mapping[str, tuple[str, ...]] = {
    "vlm": ("*.json", f"*{WEIGHTS_SUFFIX}", "*.jinja", "merges.txt", "LICENSE*"),
    "vae": ("vae/*.json", f"vae/*{WEIGHTS_SUFFIX}", "LICENSE*", "*License*"),
    "dino": ("*.json", f"*{WEIGHTS_SUFFIX}", "LICENSE*"),
}
"""What is fetched of a repository, by role. LTX-Video's root holds tens of gigabytes that nothing here reads."""

REQUIRED: Mapping[str, tuple[str, ...]] = {
    "vlm": ("config.json", "preprocessor_config.json", "tokenizer.json", "model.safetensors"),
    "vae": ("vae/config.json", "vae/diffusion_pytorch_model.safetensors"),
    "dino": ("config.json", "preprocessor_config.json", "model.safetensors"),
}
"""What a role cannot do without; weights may come in shards that an index names."""

FORWARD_PASS = "foresight.models.smoke:forward_pass"


def make_available(spec: ModelSpec, home: Home, forward: bool = True, verify: bool = False) -> ModelIdentity:
    """See to it that the model is on this machine and whole, and say which weights it has.

    `forward`: it must also have run once here. `verify`: hash all files and run it again, even if that was done before.
    Raises `UserError` naming the file that is missing or damaged, and what to type.
    """
    folder = locate(spec, home)
    if not spec.stand_in and not _complete(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f".{folder.name}.lock"):  # runs side by side want the same weights
            if not _complete(folder):
                _download(spec, home, folder)
    manifest = read_manifest(spec, home)
    _require_present(spec, folder, manifest.files)
    stamp = _stamp_path(folder, home)
    if verify or not _glance(stamp, folder, manifest, forward):
        _require_undamaged(spec, folder, manifest)
        if forward:
            _run_once(spec, folder)
        write_json(stamp, {"files": _glimpse(folder, manifest), "forward": forward})
    return identity(spec, home)


def _complete(folder: Path) -> bool:
    """Whether the folder has a manifest and every file of it."""
    try:
        files = ModelManifest.model_validate_json((folder / MANIFEST).read_text()).files
    except (FileNotFoundError, ValueError):
        return False
    return all((folder / name).is_file() for name in files)


def _require_present(spec: ModelSpec, folder: Path, names: Iterable[str]) -> None:
    if missing := [name for name in names if not (folder / name).is_file()]:
        remedy = "Reinstall the package." if spec.stand_in else f"Run `{DOWNLOAD_COMMAND}`."
        raise UserError(f"{spec.id} is not whole: {', '.join(missing)} is missing from {folder}. {remedy}")


def _require_undamaged(spec: ModelSpec, folder: Path, manifest: ModelManifest) -> None:
    """Hash every file. Raises `UserError` naming those that differ from the manifest."""
    found = hash_files(folder, manifest.files)
    if damaged := [name for name, file in manifest.files.items() if found[name] != file]:
        remedy = (
            "Reinstall the package."
            if spec.stand_in
            else f"Remove {folder / MANIFEST} and that file, then run `{DOWNLOAD_COMMAND}`."
        )
        paths = ", ".join(str(folder / name) for name in damaged)
        raise UserError(f"{paths} is damaged: its hash is not that of the manifest. {remedy}")


# ---------------------------------------------------------------------- what was verified before


def _stamp_path(folder: Path, home: Home) -> Path:
    return home.models / ".verified" / f"{sha256_bytes(str(folder))[:16]}.json"


def _glimpse(folder: Path, manifest: ModelManifest) -> dict[str, list[str | int]]:
    """Of every file: the hash it is to have, its size and its time of change."""
    stats = {name: (folder / name).stat() for name in manifest.files}
    return {name: [manifest.files[name].sha256, stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}


def _glance(stamp: Path, folder: Path, manifest: ModelManifest, forward: bool) -> bool:
    """Whether these very files were verified before, by a forward pass too if one is asked for."""
    try:
        seen = read_json(stamp)
        return seen["files"] == _glimpse(folder, manifest) and (seen["forward"] or not forward)
    except (FileNotFoundError, ValueError, KeyError):
        return False


def _run_once(spec: ModelSpec, folder: Path) -> None:
    module, _, function = FORWARD_PASS.partition(":")
    getattr(importlib.import_module(module), function)(spec, folder)


# ---------------------------------------------------------------------- from the hub


def _download(spec: ModelSpec, home: Home, folder: Path) -> None:
    """Fetch what is missing and check it against the hub's hashes; the manifest is written last."""
    import huggingface_hub  # slow to import, and only needed here

    if spec.role not in PATTERNS:
        raise UserError(f"Nothing is known of models of the role {spec.role!r}. The roles are {', '.join(PATTERNS)}.")
    try:
        info = huggingface_hub.HfApi().model_info(spec.id, revision=spec.revision, files_metadata=True)
        stated = {file.rfilename: file for file in info.siblings or [] if _wanted(file.rfilename, spec.role)}
        logger.info("fetching %s at %s into %s: %d files", spec.id, spec.revision, folder, len(stated))
        huggingface_hub.snapshot_download(
            spec.id, revision=spec.revision, allow_patterns=sorted(stated), local_dir=folder
        )
    except (huggingface_hub.errors.HTTPError, ConnectionError, huggingface_hub.errors.LocalEntryNotFoundError) as error:
        raise _unreachable(spec, folder, error) from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    if info.sha != spec.revision:
        raise UserError(
            f"{spec.revision!r} of {spec.id} is not a commit but a name for one, {info.sha}. A name can mean other "
            "weights tomorrow. Pin the commit in the profile."
        )
    _require_present(spec, folder, _required(spec.role, folder))
    files = hash_files(folder, stated)
    _require_as_stated(folder, files, stated)
    _run_once(spec, folder)
    card = info.card_data.to_dict() if info.card_data else {}
    licence = card.get("license_name") or card.get("license") or "not stated"
    write_manifest(folder, id=spec.id, revision=spec.revision, licence=str(licence), known=files)
    write_json(_stamp_path(folder, home), {"files": _glimpse(folder, read_manifest(spec, home)), "forward": True})


def _wanted(name: str, role: str) -> bool:
    """fnmatch's `*` crosses folders: a pattern without a folder must match in the root only."""
    return any(fnmatch.fnmatch(name, p) and name.count("/") == p.count("/") for p in PATTERNS[role])


def _required(role: str, folder: Path) -> list[str]:
    """The files that the role cannot do without; with an index of shards, those instead of the single file."""
    names = []
    for name in REQUIRED[role]:
        index = folder / f"{name}.index.json"
        if is_weights(name) and index.is_file():
            shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
            names += [(Path(name).parent / shard).as_posix() for shard in shards]
        else:
            names.append(name)
    return names


def _require_as_stated(folder: Path, files: Mapping[str, ModelFile], stated: Mapping[str, Any]) -> None:
    """Compare with the hub's sizes, and its hashes where it states them (large files). Damaged files are removed."""
    damaged = [
        name
        for name, file in files.items()
        if stated[name].size not in (None, file.size_bytes)
        or (stated[name].lfs is not None and stated[name].lfs.sha256 != file.sha256)
    ]
    for name in damaged:
        (folder / name).unlink()
    if damaged:
        raise UserError(
            f"{', '.join(damaged)} arrived damaged: the hash is not the one that the hub states. It was removed from "
            f"{folder}. Run `{DOWNLOAD_COMMAND}` again."
        )


def _unreachable(spec: ModelSpec, folder: Path, error: Exception) -> UserError:
    """What the hub's refusal, or its absence, means to the reader."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return UserError(
            f"{spec.id} is gated. Accept its licence on the hub and set HF_TOKEN to a token of that account, "
            f"then run `{DOWNLOAD_COMMAND}`."
        )
    if isinstance(error, (errors.RepositoryNotFoundError, errors.RevisionNotFoundError)):
        return UserError(
            f"The hub has no {spec.id} at revision {spec.revision}, or does not show it to you. "
            "Correct id and revision in the profile, or set HF_TOKEN."
        )
    missing = [name for name in _required(spec.role, folder) if not (folder / name).is_file()] or [MANIFEST]
    return UserError(
        f"{spec.id} at {spec.revision} is not on this machine: {', '.join(missing)} missing from {folder}, and the hub "
        f"cannot be reached ({error}). Connect this machine and run `{DOWNLOAD_COMMAND}`."
    )
