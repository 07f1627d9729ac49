"""Dicts: entries by key, with put-if-absent. One request at a time, so of two writers one is first."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from .apps import ENVIRONMENT
from .rpc import Caller, not_found
from .store import Dict

if TYPE_CHECKING:
    from .plane import Plane


class Dicts:
    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.store = plane.store

    def _get(self, dict_id: str) -> Dict:
        found = self.store.find(Dict, dict_id)
        if found is None:
            raise not_found(f"Dict {dict_id} not found.")
        return found

    async def dict_get_or_create(
        self, request: api_pb2.DictGetOrCreateRequest, caller: Caller
    ) -> api_pb2.DictGetOrCreateResponse:
        environment, name = request.environment_name or ENVIRONMENT, request.deployment_name
        found = next((d for d in self.store.all(Dict) if (d.name, d.environment) == (name, environment) and name), None)
        if found is None:
            if request.object_creation_type == api_pb2.OBJECT_CREATION_TYPE_UNSPECIFIED:
                raise not_found(f"Dict '{name}' not found in environment '{environment}'.")
            found = Dict(self.store.new_id("di"), name, environment)
        found.entries |= {entry.key: entry.value for entry in request.data}
        self.store.save(found)
        metadata = api_pb2.DictMetadata(name=found.name)
        return api_pb2.DictGetOrCreateResponse(dict_id=found.id, metadata=metadata)

    async def dict_get_by_id(self, request: api_pb2.DictGetByIdRequest, caller: Caller) -> api_pb2.DictGetByIdResponse:
        found = self._get(request.dict_id)
        return api_pb2.DictGetByIdResponse(dict_id=found.id, metadata=api_pb2.DictMetadata(name=found.name))

    async def dict_heartbeat(self, request: api_pb2.DictHeartbeatRequest, caller: Caller) -> Empty:
        return Empty()

    async def dict_update(self, request: api_pb2.DictUpdateRequest, caller: Caller) -> api_pb2.DictUpdateResponse:
        found = self._get(request.dict_id)
        if request.if_not_exists and any(entry.key in found.entries for entry in request.updates):
            return api_pb2.DictUpdateResponse(created=False)
        found.entries |= {entry.key: entry.value for entry in request.updates}
        self.store.save(found)
        return api_pb2.DictUpdateResponse(created=True)

    async def dict_get(self, request: api_pb2.DictGetRequest, caller: Caller) -> api_pb2.DictGetResponse:
        value = self._get(request.dict_id).entries.get(request.key)
        return api_pb2.DictGetResponse(found=value is not None, value=value)

    async def dict_pop(self, request: api_pb2.DictPopRequest, caller: Caller) -> api_pb2.DictPopResponse:
        found = self._get(request.dict_id)
        value = found.entries.pop(request.key, None)
        self.store.save(found)
        return api_pb2.DictPopResponse(found=value is not None, value=value)

    async def dict_contains(self, request: api_pb2.DictContainsRequest, caller: Caller) -> api_pb2.DictContainsResponse:
        return api_pb2.DictContainsResponse(found=request.key in self._get(request.dict_id).entries)

    async def dict_len(self, request: api_pb2.DictLenRequest, caller: Caller) -> api_pb2.DictLenResponse:
        return api_pb2.DictLenResponse(len=len(self._get(request.dict_id).entries))

    async def dict_clear(self, request: api_pb2.DictClearRequest, caller: Caller) -> Empty:
        found = self._get(request.dict_id)
        found.entries.clear()
        self.store.save(found)
        return Empty()

    async def dict_delete(self, request: api_pb2.DictDeleteRequest, caller: Caller) -> Empty:
        self.store.delete(self._get(request.dict_id))
        return Empty()

    async def dict_contents(
        self, request: api_pb2.DictContentsRequest, caller: Caller
    ) -> AsyncIterator[api_pb2.DictEntry]:
        for key, value in list(self._get(request.dict_id).entries.items()):
            yield api_pb2.DictEntry(key=key, value=value if request.values else b"")
