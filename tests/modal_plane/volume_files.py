"""Volumes as a client outside sees them: always what is committed."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from .blobs import BLOCK_SIZE
from .rpc import Caller, not_found
from .volumes import put

if TYPE_CHECKING:
    from .plane import Plane


class VolumeFiles:
    def __init__(self, plane: Plane) -> None:
        self.plane = plane

    def _path(self, volume_id: str, path: str) -> Path:
        self.plane.volumes.get(volume_id)
        inside = PurePosixPath("/", path)
        if ".." in inside.parts:
            raise GRPCError(Status.INVALID_ARGUMENT, f"{path}: no '..' in a path of a volume")
        return self.plane.volumes.committed(volume_id) / str(inside).lstrip("/")

    def _existing(self, volume_id: str, path: str) -> Path:
        found = self._path(volume_id, path)
        if not found.exists():
            raise not_found(f"{path}: no such file or directory")
        return found

    def _entries(self, request: Any) -> list[api_pb2.FileEntry]:
        root = self.plane.volumes.committed(request.volume_id)
        start = self._existing(request.volume_id, request.path)
        paths = [start] if start.is_file() else sorted(start.rglob("*") if request.recursive else start.iterdir())
        entries = []
        for path in paths:
            status = path.lstat()
            kind = api_pb2.FileEntry.DIRECTORY if path.is_dir() else api_pb2.FileEntry.FILE
            entries.append(
                api_pb2.FileEntry(
                    path=str(path.relative_to(root)), type=kind, mtime=int(status.st_mtime), size=status.st_size
                )
            )
        return entries

    async def volume_list_files(
        self, request: api_pb2.VolumeListFilesRequest, caller: Caller
    ) -> AsyncIterator[api_pb2.VolumeListFilesResponse]:
        yield api_pb2.VolumeListFilesResponse(entries=self._entries(request))

    async def volume_list_files2(
        self, request: api_pb2.VolumeListFiles2Request, caller: Caller
    ) -> AsyncIterator[api_pb2.VolumeListFiles2Response]:
        yield api_pb2.VolumeListFiles2Response(entries=self._entries(request))

    async def volume_get_file2(
        self, request: api_pb2.VolumeGetFile2Request, caller: Caller
    ) -> api_pb2.VolumeGetFile2Response:
        """URLs of blocks of the file as it is now: a link keeps it, since a commit replaces files."""
        path = self._existing(request.volume_id, request.path)
        if not path.is_file():
            raise not_found(f"{request.path}: not a file")
        status = path.stat()
        name = f"{status.st_ino}-{status.st_mtime_ns}-{status.st_size}"
        kept = self.plane.blobs.reads / name
        if not kept.exists():
            os.link(path, kept)
        start = request.start
        length = min(request.len or status.st_size, status.st_size - start)
        edges = [start, *range((start // BLOCK_SIZE + 1) * BLOCK_SIZE, start + length, BLOCK_SIZE), start + length]
        pairs = list(itertools.pairwise(edges)) if length else []
        urls = [f"{self.plane.http_url}/read/{name}/{at}/{end - at}" for at, end in pairs]
        return api_pb2.VolumeGetFile2Response(get_urls=urls, size=status.st_size, start=start, len=length)

    def _refuse_existing(self, request: Any, names: list[str]) -> None:
        for name in names:
            if request.disallow_overwrite_existing_files and self._path(request.volume_id, name).exists():
                raise GRPCError(Status.ALREADY_EXISTS, f"{name}: already exists")

    async def volume_put_files(self, request: api_pb2.VolumePutFilesRequest, caller: Caller) -> Empty:
        self._refuse_existing(request, [file.filename for file in request.files])
        for file in request.files:
            put(self.plane.blobs.file(file.sha256_hex), self._path(request.volume_id, file.filename))
            self._stamp(request.volume_id, file.filename, file.mode)
        return Empty()

    def _stamp(self, volume_id: str, name: str, mode: int) -> None:
        path = self._path(volume_id, name)
        os.utime(path)
        path.chmod(mode or 0o644)

    async def volume_put_files2(
        self, request: api_pb2.VolumePutFiles2Request, caller: Caller
    ) -> api_pb2.VolumePutFiles2Response:
        self._refuse_existing(request, [file.path for file in request.files])
        missing = []
        for f, file in enumerate(request.files):
            for b, block in enumerate(file.blocks):
                sha256 = block.contents_sha256.hex()
                if not self.plane.blobs.file(sha256).exists():
                    url = f"{self.plane.http_url}/block/{sha256}"
                    missing.append(
                        api_pb2.VolumePutFiles2Response.MissingBlock(file_index=f, block_index=b, put_url=url)
                    )
        if missing:
            return api_pb2.VolumePutFiles2Response(missing_blocks=missing)
        for file in request.files:
            target = self._path(request.volume_id, file.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{target.name}.plane")
            with temporary.open("wb") as stream:
                for i, block in enumerate(file.blocks):
                    data = self.plane.blobs.file(block.contents_sha256.hex()).read_bytes()
                    stream.write(data.ljust(min(BLOCK_SIZE, file.size - i * BLOCK_SIZE), b"\0"))
            temporary.replace(target)
            self._stamp(request.volume_id, file.path, file.mode)
        return api_pb2.VolumePutFiles2Response()

    def _remove(self, request: Any) -> Empty:
        path = self._existing(request.volume_id, request.path)
        if path.is_dir() and not request.recursive:
            raise GRPCError(Status.FAILED_PRECONDITION, f"{request.path}: is a directory (recursive=True removes it)")
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        return Empty()

    async def volume_remove_file(self, request: api_pb2.VolumeRemoveFileRequest, caller: Caller) -> Empty:
        return self._remove(request)

    async def volume_remove_file2(self, request: api_pb2.VolumeRemoveFile2Request, caller: Caller) -> Empty:
        return self._remove(request)

    def _copy(self, request: Any) -> Empty:
        target = self._path(request.volume_id, request.dst_path)
        for name in request.src_paths:
            source = self._existing(request.volume_id, name)
            into = target / source.name if target.is_dir() else target
            if source.is_dir():
                shutil.copytree(source, into, dirs_exist_ok=True)
            else:
                put(source, into)
        return Empty()

    async def volume_copy_files(self, request: api_pb2.VolumeCopyFilesRequest, caller: Caller) -> Empty:
        return self._copy(request)

    async def volume_copy_files2(self, request: api_pb2.VolumeCopyFiles2Request, caller: Caller) -> Empty:
        return self._copy(request)
