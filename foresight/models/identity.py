"""Which model, exactly: names, folders, and the hash of the weights. Reads one small file, imports no torch.

Every model folder, shipped or downloaded, has a `manifest.json` that is written last: its existence means that all
files arrived and were checked. The weights' hash in it, and not the folder's place, is what a fingerprint holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from foresight.errors import UserError
from foresight.files import canonical_json, sha256_bytes, sha256_file, write_atomic
from foresight.home import Home
from foresight.results.record import ModelIdentity

MANIFEST = "manifest.json"
WEIGHTS_SUFFIX = ".safetensors"  # the only weight format that is ever read: a pickle can run code

STAND_INS: Mapping[str, Path] = {
    "foresight/stand-in-qwen2.5-vl": Path(__file__).parent / "stand_ins" / "qwen2.5-vl-tiny",
    "foresight/stand-in-ltx-vae": Path(__file__).parent / "stand_ins" / "ltx-vae-tiny",
    "foresight/stand-in-dinov2": Path(__file__).parent / "stand_ins" / "dinov2-tiny",
}
"""Id of each stand-in that ships with the package -> its folder."""

DOWNLOAD_COMMAND = "foresight download-models"


@dataclass(frozen=True)
class ModelSpec:
    """A model as a profile asks for it."""

    role: str  # `vlm`, `vae` or `dino`
    id: str  # on the hub, or of a stand-in
    revision: str = ""  # commit on the hub; may stay empty for a stand-in, of which one revision ships
    stand_in: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ModelSpec:
        return cls(**value)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelFile(_Frozen):
    sha256: str
    size_bytes: int


class ModelManifest(_Frozen):
    """What lies in a model's folder."""

    id: str
    revision: str = Field(description="Commit on the hub; for a stand-in the first 12 digits of its weights' hash.")
    licence: str = Field(description="As the model's card states it, or `not stated`.")
    stand_in: bool
    files: dict[str, ModelFile] = Field(description="Path in the folder -> hash and size, all files but this one.")
    made: dict[str, Any] = Field(default_factory=dict, description="How it was made, for what we made ourselves.")

    @property
    def weights_sha256(self) -> str:
        """The hash over the sorted hashes of the weight files; file names and shards' order bear no identity."""
        return sha256_bytes(canonical_json(sorted(f.sha256 for name, f in self.files.items() if is_weights(name))))


def is_weights(name: str) -> bool:
    return name.endswith(WEIGHTS_SUFFIX)


def locate(spec: ModelSpec, home: Home) -> Path:
    """The folder where the model lies, or will lie once downloaded."""
    if spec.stand_in:
        if spec.id not in STAND_INS:
            raise UserError(
                f"There is no stand-in {spec.id!r}. Those that ship are {', '.join(STAND_INS)}. "
                "Name one in the profile."
            )
        return STAND_INS[spec.id]
    if not spec.revision:
        raise UserError(
            f"{spec.id} has no revision. A name alone can mean other weights tomorrow. "
            "Pin `revision` to a commit of the hub in the profile."
        )
    return home.models / spec.id.replace("/", "--") / spec.revision


def identity(spec: ModelSpec, home: Home) -> ModelIdentity:
    """Exactly which weights `spec` means, from the folder's manifest. Raises `UserError` if the model is not there."""
    manifest = read_manifest(spec, home)
    return ModelIdentity(
        id=manifest.id, revision=manifest.revision, weights_sha256=manifest.weights_sha256, stand_in=manifest.stand_in
    )


def read_manifest(spec: ModelSpec, home: Home) -> ModelManifest:
    """The manifest of the model's folder. Raises `UserError` if absent, unreadable, or of another model."""
    path = locate(spec, home) / MANIFEST
    try:
        manifest = ModelManifest.model_validate_json(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{spec.id} is not on this machine: {path} is missing. {_remedy(spec)}") from None
    except ValidationError as error:
        raise UserError(f"{path} is damaged ({error.errors()[0]['msg']}). {_remedy(spec)}") from None
    asked = (spec.id, spec.revision or manifest.revision, spec.stand_in)
    if asked != (manifest.id, manifest.revision, manifest.stand_in):
        raise UserError(
            f"{path} is of {manifest.id} at {manifest.revision}, and {spec.id} at {spec.revision} was asked for. "
            + ("Correct the revision in the profile, or leave it out." if spec.stand_in else _remedy(spec))
        )
    return manifest


def write_manifest(
    folder: Path,
    *,
    id: str,
    licence: str,
    stand_in: bool = False,
    revision: str = "",
    made: Mapping[str, Any] | None = None,
    known: Mapping[str, ModelFile] | None = None,
) -> ModelManifest:
    """Hash every file in `folder` and write its manifest. An empty `revision` becomes the short hash of the weights.

    `known` saves hashing again what was hashed already. Raises `ValueError` on a folder without weights.
    """
    files = dict(known) if known is not None else hash_files(folder, _payload(folder))
    if not any(map(is_weights, files)):
        raise ValueError(f"{folder} holds no {WEIGHTS_SUFFIX} file")
    manifest = ModelManifest(
        id=id, revision=revision, licence=licence, stand_in=stand_in, files=files, made=dict(made or {})
    )
    if not revision:
        manifest = manifest.model_copy(update={"revision": manifest.weights_sha256[:12]})
    write_atomic(folder / MANIFEST, manifest.model_dump_json(indent=1) + "\n")
    return manifest


def hash_files(folder: Path, names: Iterable[str]) -> dict[str, ModelFile]:
    return {
        name: ModelFile(sha256=sha256_file(folder / name), size_bytes=(folder / name).stat().st_size)
        for name in sorted(names)
    }


def _payload(folder: Path) -> list[str]:
    """All files of a model's folder but the manifest and hidden ones, as relative POSIX paths."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return [path.as_posix() for path in paths if path.name != MANIFEST and not path.parts[0].startswith(".")]


def _remedy(spec: ModelSpec) -> str:
    return "Reinstall the package." if spec.stand_in else f"Run `{DOWNLOAD_COMMAND}`."
