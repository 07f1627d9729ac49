"""Volumes as a container sees them: a copy of what was committed when it started, until it commits or reloads.

The committed state is a folder; commits replace file by file (the last writer of a file wins, as in the real
service) and are atomic to whoever asks the plane. A killed container loses what it did not commit; one that leaves
in order commits on its way out, since Modal's entrypoint does.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from .apps import ENVIRONMENT
from .rpc import Caller, not_found
from .store import Volume

if TYPE_CHECKING:
    from .containers import Running
    from .plane import Plane

Seen = tuple[int, int, int, int]  # size, modified, changed, inode


def look(folder: Path) -> tuple[dict[str, Seen], set[str]]:
    """Its files and its folders, at any depth, by their paths in it. Asked for several times a call, so in one pass."""
    files: dict[str, Seen] = {}
    folders: set[str] = set()
    waiting, start = [str(folder)], len(f"{folder}/")
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                name = entry.path[start:]
                if entry.is_dir(follow_symlinks=False):
                    folders.add(name)
                    waiting.append(entry.path)
                    continue
                status = entry.stat(follow_symlinks=False)
                files[name] = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    return files, folders


def put(source: Path, target: Path) -> None:
    """Whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.plane")
    shutil.copy2(source, temporary, follow_symlinks=False)
    temporary.replace(target)


@dataclass
class View:
    """One container's sight of one volume."""

    volume_id: str
    folder: Path
    read_only: bool
    background: bool = False  # may be committed unasked
    files: dict[str, Seen] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)

    def note(self) -> None:
        self.files, self.folders = look(self.folder)

    def commit(self, committed: Path) -> list[str]:
        """Writes what has changed here since the last look; returns the files."""
        now, folders = look(self.folder)
        changed = [name for name, seen in now.items() if self.files.get(name) != seen]
        for name in sorted(folders - self.folders):
            (committed / name).mkdir(parents=True, exist_ok=True)
        for name in changed:
            put(self.folder / name, committed / name)
        for name in set(self.files) - set(now):
            (committed / name).unlink(missing_ok=True)
        for name in sorted(self.folders - folders, reverse=True):
            shutil.rmtree(committed / name, ignore_errors=True)
        self.files, self.folders = now, folders  # what has changed since then is for the next commit
        return changed

    def reload(self, committed: Path) -> None:
        there, wanted = look(committed)
        here, folders = look(self.folder)
        for name in set(here) - set(there):
            (self.folder / name).unlink()
        for name, seen in there.items():
            if name not in here or here[name][:2] != seen[:2]:
                put(committed / name, self.folder / name)
        for name in sorted(wanted - folders):
            (self.folder / name).mkdir(exist_ok=True)
        for name in sorted(folders - wanted, reverse=True):
            (self.folder / name).rmdir()
        self.note()


class Volumes:
    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.store = plane.store
        self.views: dict[tuple[str, str], View] = {}

    def get(self, volume_id: str) -> Volume:
        volume = self.store.find(Volume, volume_id)
        if volume is None:
            raise not_found(f"Volume {volume_id} not found.")
        return volume

    def committed(self, volume_id: str) -> Path:
        folder = self.plane.folder / "volumes" / volume_id
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def metadata(self, volume: Volume) -> api_pb2.VolumeMetadata:
        return api_pb2.VolumeMetadata(version=volume.version, name=volume.name)

    def mount(self, task: Running) -> dict[str, Any]:
        """Makes a starting container's views; returns its binds."""
        binds: dict[str, Any] = {}
        for mount in task.function.definition.volume_mounts:
            view = self.views.get((task.id, mount.volume_id))
            if view is None:
                folder = task.folder / "volumes" / mount.volume_id
                shutil.copytree(self.committed(mount.volume_id), folder, symlinks=True)
                view = View(mount.volume_id, folder, mount.read_only, mount.allow_background_commits)
                view.note()
                self.views[task.id, mount.volume_id] = view
            source = view.folder / mount.sub_path.strip("/") if mount.HasField("sub_path") else view.folder
            source.mkdir(parents=True, exist_ok=True)
            binds[mount.mount_path] = {"source": str(source), "read_only": mount.read_only}
        return binds

    def commit_background(self, task: Running) -> None:
        for (task_id, volume_id), view in self.views.items():
            if task_id == task.id and view.background and not view.read_only:
                view.commit(self.committed(volume_id))

    def unmount(self, task: Running) -> None:
        self.views = {key: view for key, view in self.views.items() if key[0] != task.id}

    def _view(self, volume_id: str, caller: Caller) -> View:
        view = self.views.get((caller.task.id, volume_id)) if caller.task else None
        if view is None:
            raise GRPCError(Status.FAILED_PRECONDITION, f"Volume {volume_id} is not mounted where this was asked for.")
        return view

    def _open_files(self, view: View, task: Running) -> list[str]:
        device = view.folder.stat().st_dev
        names = {(device, seen[3]): name for name, seen in look(view.folder)[0].items()}
        found = []
        for process in os.scandir("/proc"):
            try:
                if not process.name.isdigit() or os.getpgid(int(process.name)) != task.record.pid:
                    continue
                for descriptor in os.scandir(f"{process.path}/fd"):
                    status = descriptor.stat()
                    if (status.st_dev, status.st_ino) in names:
                        found.append(names[status.st_dev, status.st_ino])
            except OSError:  # it has just gone
                continue
        return found

    async def volume_get_or_create(
        self, request: api_pb2.VolumeGetOrCreateRequest, caller: Caller
    ) -> api_pb2.VolumeGetOrCreateResponse:
        environment, name = request.environment_name or ENVIRONMENT, request.deployment_name
        wanted = (name, environment)
        volume = next((v for v in self.store.all(Volume) if (v.name, v.environment) == wanted and name), None)
        kind = request.object_creation_type
        if volume is None:
            if kind == api_pb2.OBJECT_CREATION_TYPE_UNSPECIFIED:
                raise not_found(f"Volume '{name}' not found in environment '{environment}'.")
            version = request.version or api_pb2.VOLUME_FS_VERSION_V1
            volume = self.store.save(Volume(self.store.new_id("vo"), name, environment, version))
        elif kind == api_pb2.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS:
            raise GRPCError(Status.ALREADY_EXISTS, f"Volume '{name}' already exists.")
        return api_pb2.VolumeGetOrCreateResponse(
            volume_id=volume.id, version=volume.version, metadata=self.metadata(volume)
        )  # fmt: skip

    async def volume_get_by_id(
        self, request: api_pb2.VolumeGetByIdRequest, caller: Caller
    ) -> api_pb2.VolumeGetByIdResponse:
        volume = self.get(request.volume_id)
        return api_pb2.VolumeGetByIdResponse(volume_id=volume.id, metadata=self.metadata(volume))

    async def volume_heartbeat(self, request: api_pb2.VolumeHeartbeatRequest, caller: Caller) -> Empty:
        return Empty()

    async def volume_delete(self, request: api_pb2.VolumeDeleteRequest, caller: Caller) -> Empty:
        self.store.delete(self.get(request.volume_id))
        shutil.rmtree(self.committed(request.volume_id))
        return Empty()

    async def volume_commit(self, request: api_pb2.VolumeCommitRequest, caller: Caller) -> api_pb2.VolumeCommitResponse:
        """The client reloads after a commit, unless it is told not to: it could not with files open."""
        view = self._view(request.volume_id, caller)
        if not view.read_only:
            view.commit(self.committed(request.volume_id))
        assert caller.task
        self.plane.strikes.committed(caller.task)
        return api_pb2.VolumeCommitResponse(skip_reload=bool(self._open_files(view, caller.task)))

    async def volume_reload(self, request: api_pb2.VolumeReloadRequest, caller: Caller) -> Empty:
        view = self._view(request.volume_id, caller)
        assert caller.task
        if self._open_files(view, caller.task):
            raise GRPCError(Status.FAILED_PRECONDITION, "there are open files preventing the operation")
        if not view.read_only:
            view.commit(self.committed(request.volume_id))
        view.reload(self.committed(request.volume_id))
        return Empty()
