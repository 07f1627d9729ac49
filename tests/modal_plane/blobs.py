"""Bytes: blobs and volume blocks over HTTP as from an object store, and the files of mounts by their hash."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web
from google.protobuf.timestamp_pb2 import Timestamp
from modal_proto import api_pb2

from .rpc import Caller, not_found
from .store import Mount

if TYPE_CHECKING:
    from .plane import Plane

BLOCK_SIZE = 8 * 1024 * 1024


class Blobs:
    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.store = plane.store
        self.blobs = plane.folder / "blobs"
        self.files = plane.folder / "files"
        self.reads = plane.folder / "reads"  # what is read from volumes, as it was when it was asked for
        for folder in (self.blobs, self.files, self.reads):
            folder.mkdir(parents=True, exist_ok=True)

    def file(self, sha256: str) -> Path:
        return self.files / sha256

    def keep(self, sha256: str, data: bytes) -> None:
        """Its time follows from its content, so that compiled Python of the same path is good as long as this is."""
        path = self.file(sha256)
        if not path.exists():
            temporary = path.with_suffix(".part")
            temporary.write_bytes(data)
            at = 1_000_000_000 + int(sha256[:7], 16)
            os.utime(temporary, (at, at))
            temporary.replace(path)

    # Over HTTP

    def routes(self) -> list[web.RouteDef]:
        return [
            web.put("/blob/{id}", self._put),
            web.get("/blob/{id}", self._get),
            web.put("/block/{id}", self._put_block),
            web.get("/read/{id}/{start}/{length}", self._get_block),
        ]

    async def _put(self, request: web.Request) -> web.Response:
        data = await request.read()
        (self.blobs / request.match_info["id"]).write_bytes(data)
        return web.Response(headers={"ETag": f'"{hashlib.md5(data).hexdigest()}"'})

    async def _get(self, request: web.Request) -> web.StreamResponse:
        path = self.blobs / request.match_info["id"]
        return web.FileResponse(path) if path.exists() else web.Response(status=404)

    async def _put_block(self, request: web.Request) -> web.Response:
        data = await request.read()
        sha256 = request.match_info["id"]
        if hashlib.sha256(data).hexdigest() != sha256:
            return web.Response(status=400, text="the block's bytes do not have its hash")
        self.keep(sha256, data)
        return web.Response(body=b"stored")

    async def _get_block(self, request: web.Request) -> web.Response:
        part = request.match_info
        path = self.reads / part["id"]
        if not path.is_file():
            return web.Response(status=404)
        with path.open("rb") as stream:
            stream.seek(int(part["start"]))
            return web.Response(body=stream.read(int(part["length"])))

    # RPCs

    async def blob_create(self, request: api_pb2.BlobCreateRequest, caller: Caller) -> api_pb2.BlobCreateResponse:
        id = self.store.new_id("bl")
        url = f"{self.plane.http_url}/blob/{id}"
        return api_pb2.BlobCreateResponse(blob_id=id, blob_ids=[id], upload_urls=api_pb2.UploadUrlList(items=[url]))

    async def blob_get(self, request: api_pb2.BlobGetRequest, caller: Caller) -> api_pb2.BlobGetResponse:
        if not (self.blobs / request.blob_id).exists():
            raise not_found(f"Blob {request.blob_id} not found.")
        return api_pb2.BlobGetResponse(download_url=f"{self.plane.http_url}/blob/{request.blob_id}")

    async def mount_batched_check_existence(
        self, request: api_pb2.MountBatchedCheckExistenceRequest, caller: Caller
    ) -> api_pb2.MountBatchedCheckExistenceResponse:
        missing = [sha256 for sha256 in request.sha256_hex_hashes if not self.file(sha256).exists()]
        now = Timestamp(seconds=int(time.time()))
        return api_pb2.MountBatchedCheckExistenceResponse(missing_sha256_hex_hashes=missing, checked_at=now)

    async def mount_put_file(
        self, request: api_pb2.MountPutFileRequest, caller: Caller
    ) -> api_pb2.MountPutFileResponse:
        which = request.WhichOneof("data_oneof")
        if which:
            data = request.data if which == "data" else (self.blobs / request.data_blob_id).read_bytes()
            if hashlib.sha256(data).hexdigest() == request.sha256_hex:
                self.keep(request.sha256_hex, data)
        return api_pb2.MountPutFileResponse(exists=self.file(request.sha256_hex).exists())

    async def mount_get_or_create(
        self, request: api_pb2.MountGetOrCreateRequest, caller: Caller
    ) -> api_pb2.MountGetOrCreateResponse:
        files = [(file.filename, file.sha256_hex, file.mode or 0o644) for file in request.files]
        checksum = hashlib.sha256(repr(sorted(files)).encode()).hexdigest()
        id = f"mo-{checksum[:20]}"
        self.store.save(Mount(id, files))
        metadata = api_pb2.MountHandleMetadata(content_checksum_sha256_hex=checksum)
        return api_pb2.MountGetOrCreateResponse(mount_id=id, handle_metadata=metadata)
