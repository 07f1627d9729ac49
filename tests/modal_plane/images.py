"""Images and secrets. Nothing is built: a container runs this interpreter; the layers are kept for tests to look at.

What of an image is honoured in a container: ENV lines, files added to it (as layers or copied), the working
directory is always /root.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from .apps import ENVIRONMENT
from .rpc import Caller, not_found
from .store import Image, Mount, Secret

if TYPE_CHECKING:
    from .plane import Plane

PASSED_ON = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TOKENIZERS_PARALLELISM", "DO_NOT_TRACK")
ROOT = "/root"


class Images:
    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.store = plane.store

    def layers(self, image_id: str) -> list[api_pb2.Image]:
        """From the base up."""
        image = self.store.find(Image, image_id)
        if image is None:
            return []
        definition = api_pb2.Image.FromString(image.definition)
        return [layer for base in definition.base_images for layer in self.layers(base.image_id)] + [definition]

    def prepare(self, folder: Path, definition: api_pb2.Function) -> tuple[dict[str, str], dict[str, Any]]:
        """The container's environment, and its files as binds: path inside → path here."""
        tree = folder / "files"
        (tree / ROOT.lstrip("/")).mkdir(parents=True)
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        environment |= {
            "PATH": os.environ.get("PATH", os.defpath), "HOME": ROOT, "LANG": "C.UTF-8", "PYTHONPATH": ROOT,
            "PYTHONPYCACHEPREFIX": str(self.plane.folder / "pycache"),
        }  # fmt: skip
        for layer in self.layers(definition.image_id):
            environment |= environment_of(list(layer.dockerfile_commands))
            if layer.context_mount_id:
                for command in layer.dockerfile_commands:
                    words = command.split()
                    if words[:1] == ["COPY"] and len(words) == 3:
                        self._lay(tree, layer.context_mount_id, words[1], words[2])
        for id in definition.mount_ids:
            self._lay(tree, id, "/", "/")
        return environment, self._binds(tree)

    def _lay(self, tree: Path, mount_id: str, source: str, target: str) -> None:
        mount = self.store.find(Mount, mount_id)
        prefix, folders = PurePosixPath("/", source), set()
        for name, sha256, _ in mount.files if mount else []:
            path = PurePosixPath("/", name)
            if path.is_relative_to(prefix):
                inside = PurePosixPath("/", target, path.relative_to(prefix))
                here = Path(f"{tree}{inside}")
                if inside.parent not in folders:
                    here.parent.mkdir(parents=True, exist_ok=True)
                    folders.add(inside.parent)
                here.unlink(missing_ok=True)
                os.link(self.plane.blobs.file(sha256), here)

    def _binds(self, tree: Path) -> dict[str, Any]:
        """/root as a whole; elsewhere the shallowest that this machine does not have itself."""
        binds: dict[str, Any] = {ROOT: {"source": str(tree / ROOT.lstrip("/"))}}

        def visit(folder: Path) -> None:
            for entry in folder.iterdir():
                inside = "/" + str(entry.relative_to(tree))
                if inside == ROOT:
                    continue
                if entry.is_dir() and Path(inside).is_dir():
                    visit(entry)
                else:
                    binds[inside] = {"source": str(entry)}

        visit(tree)
        return binds

    # RPCs

    async def image_get_or_create(
        self, request: api_pb2.ImageGetOrCreateRequest, caller: Caller
    ) -> api_pb2.ImageGetOrCreateResponse:
        definition = request.image.SerializeToString(deterministic=True)
        image = self.store.save(Image(f"im-{hashlib.sha256(definition).hexdigest()[:20]}", definition))
        return api_pb2.ImageGetOrCreateResponse(
            image_id=image.id,
            result=api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS),
            metadata=api_pb2.ImageMetadata(
                python_version_info=platform.python_version(), image_builder_version=request.builder_version
            ),
        )

    def _secret(self, name: str, environment: str) -> Secret | None:
        wanted = (name, environment or ENVIRONMENT)
        return next((s for s in self.store.all(Secret) if (s.name, s.environment) == wanted), None)

    async def secret_get_or_create(
        self, request: api_pb2.SecretGetOrCreateRequest, caller: Caller
    ) -> api_pb2.SecretGetOrCreateResponse:
        kind, values = request.object_creation_type, dict(request.env_dict)
        environment = request.environment_name or ENVIRONMENT
        secret = self._secret(request.deployment_name, environment) if request.deployment_name else None
        if not request.deployment_name:
            secret = self.store.save(Secret(self.store.new_id("st"), "", environment, values))
        elif secret is None and kind == api_pb2.OBJECT_CREATION_TYPE_UNSPECIFIED:
            raise not_found(f"Secret '{request.deployment_name}' not found in environment '{environment}'")
        elif secret is None:
            secret = self.store.save(Secret(self.store.new_id("st"), request.deployment_name, environment, values))
        elif kind == api_pb2.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS:
            raise GRPCError(Status.ALREADY_EXISTS, f"Secret '{request.deployment_name}' already exists")
        elif kind == api_pb2.OBJECT_CREATION_TYPE_CREATE_OVERWRITE_IF_EXISTS:
            secret.values = values
            self.store.save(secret)
        missing = [key for key in request.required_keys if key not in secret.values]
        if missing:
            raise GRPCError(
                Status.FAILED_PRECONDITION, f"Secret '{secret.name}' is missing required keys: {', '.join(missing)}"
            )
        metadata = api_pb2.SecretMetadata(name=secret.name, keys=secret.values, environment_name=environment)
        return api_pb2.SecretGetOrCreateResponse(secret_id=secret.id, metadata=metadata)

    async def secret_delete(self, request: api_pb2.SecretDeleteRequest, caller: Caller) -> Empty:
        secret = self.store.find(Secret, request.secret_id)
        if secret:
            self.store.delete(secret)
        return Empty()


def environment_of(commands: list[str]) -> dict[str, str]:
    """What an image's ENV lines set."""
    found: dict[str, str] = {}
    for command in commands:
        match = re.match(r"ENV\s+([A-Za-z_]\w*)[= ](.*)", command)
        if match:
            value = match.group(2).strip()
            found[match.group(1)] = value[1:-1] if value[:1] in "'\"" and value[-1:] == value[:1] else value
    return found
