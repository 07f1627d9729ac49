"""What a test asks of the plane itself, by HTTP: faults, strikes, outages, and the count of what happened."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import pickle
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from aiohttp import web
from modal_proto import api_pb2

from .store import Call, Container, Function, Image

if TYPE_CHECKING:
    from .plane import Plane


class Plain(pickle.Unpickler):
    """Reads arguments that are plain data; anything else is shown by its hash only."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name}")


def arguments(input: api_pb2.FunctionInput, blob: bytes | None) -> dict[str, Any]:
    data = input.args if blob is None else blob
    shown: dict[str, Any] = {"args": None, "kwargs": None, "key": hashlib.sha256(data).hexdigest()[:16]}
    try:
        args, kwargs = Plain(io.BytesIO(data)).load()
        json.dumps([args, kwargs])
    except (pickle.UnpicklingError, TypeError, ValueError, EOFError, IndexError, KeyError, AttributeError):
        return shown
    return shown | {"args": list(args), "kwargs": kwargs}


class Admin:
    def __init__(self, plane: Plane) -> None:
        self.plane = plane

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/admin/{what}", self._answer)]

    async def _answer(self, request: web.Request) -> web.Response:
        what = request.match_info["what"]
        handler = getattr(self, f"do_{what}", None)
        if handler is None:
            return web.json_response({"error": f"{what}: no such question"}, status=404)
        try:
            answer = handler(**await request.json())
        except (TypeError, ValueError, LookupError) as error:
            return web.json_response({"error": f"{type(error).__name__}: {error}"}, status=400)
        return web.json_response(answer)

    def do_fault(self, **spec: Any) -> None:
        self.plane.faults.add(**spec)

    def do_strike(self, **spec: Any) -> None:
        self.plane.strikes.add(**spec)

    def do_clear(self) -> None:
        self.plane.faults.active.clear()
        self.plane.strikes.waiting.clear()

    def do_settings(self, **changes: Any) -> dict[str, Any]:
        for name, value in changes.items():
            if not hasattr(self.plane.settings, name):
                raise ValueError(f"{name} is no setting")
            setattr(self.plane.settings, name, value)
        self.plane.scheduler.shrink()
        self.plane.scheduler.wake()
        return asdict(self.plane.settings)

    def do_rates(self, rates: dict[str, str] | None) -> None:
        self.plane.workspace.rates = rates

    def do_outage(self, seconds: float) -> None:
        self.outage = asyncio.get_running_loop().create_task(self.plane.outage(seconds))

    def do_now(self, action: str, call: str, grace_s: float | None = None) -> bool:
        """Strikes the container that works on a call; whether there is one."""
        task = self.plane.scheduler.working_on(call)
        if task:
            self.plane.strikes.strike(task, action, call, grace_s)
        return task is not None

    def do_cancel(self, call: str) -> None:
        self.plane.calls.cancel(self._call(call))

    def do_expire(self, call: str) -> None:
        found = self._call(call)
        found.expired = True
        self.plane.store.save(found)

    def do_finish(self, call: str, status: str, exception: str = "") -> None:
        """Ends a call with a status that no container can give (INTERNAL_FAILURE, …)."""
        value = api_pb2.GenericResult.GenericStatus.Value(f"GENERIC_STATUS_{status}")
        found = self._call(call)
        task = self.plane.scheduler.working_on(call)
        self.plane.calls.finish(found, api_pb2.GenericResult(status=value, exception=exception))
        if task:
            task.kill("finished")

    def _call(self, call: str) -> Call:
        found = self.plane.store.find(Call, call)
        if found is None:
            raise LookupError(f"{call}: no such call")
        return found

    def do_calls(self) -> list[dict[str, Any]]:
        shown = []
        for call in self.plane.store.all(Call):
            function = self.plane.store.find(Function, call.function_id)
            input = api_pb2.FunctionInput.FromString(call.input)
            blob = (self.plane.blobs.blobs / input.args_blob_id).read_bytes() if input.args_blob_id else None
            status = ""
            if call.output:
                result = api_pb2.FunctionGetOutputsItem.FromString(call.output).result
                status = api_pb2.GenericResult.GenericStatus.Name(result.status).removeprefix("GENERIC_STATUS_")
            shown.append(
                {
                    "id": call.id,
                    "function": function.name if function else "",
                    "gpu": function.gpu if function else "",
                    "memory_mb": function.definition.resources.memory_mb if function else 0,
                    "timeout_s": function.definition.timeout_secs if function else 0,
                    "state": call.state,
                    "status": status,
                    "retries": call.retry_count,
                    "created_at": call.created_at,
                    "finished_at": call.finished_at,
                    "cancelled_at": call.cancelled_at,
                    "executions": [asdict(execution) for execution in call.executions],
                    **arguments(input, blob),
                }
            )
        return shown

    def do_containers(self) -> list[dict[str, Any]]:
        return [asdict(container) for container in self.plane.store.all(Container)]

    def do_counters(self) -> dict[str, dict[str, int]]:
        """How often each RPC was asked for, by clients and by containers."""
        return {"rpc": self.plane.store.counters("rpc:"), "container": self.plane.store.counters("container:")}

    def do_images(self) -> list[dict[str, Any]]:
        found = []
        for image in self.plane.store.all(Image):
            definition = api_pb2.Image.FromString(image.definition)
            found.append(
                {
                    "id": image.id,
                    "base": [base.image_id for base in definition.base_images],
                    "commands": list(definition.dockerfile_commands),
                    "context": [f.filename for f in definition.context_files],
                    "context_mount": definition.context_mount_id,
                    "secrets": list(definition.secret_ids),
                }
            )
        return found

    def do_functions(self) -> list[dict[str, Any]]:
        found = []
        for function in self.plane.store.all(Function):
            if not function.data:
                continue
            definition = function.definition
            found.append(
                {
                    "id": function.id,
                    "name": function.name,
                    "app": function.app_id,
                    "gpu": function.gpu,
                    "timeout_s": definition.timeout_secs,
                    "retries": definition.retry_policy.retries,
                    "max_containers": function.max_containers,
                    "base": function.base_id,
                    "image": definition.image_id,
                    "volumes": {mount.mount_path: mount.volume_id for mount in definition.volume_mounts},
                    "secrets": list(definition.secret_ids),
                    "single_use": definition.single_use_containers,
                    "cpu": definition.resources.milli_cpu / 1000,
                    "memory_mb": definition.resources.memory_mb,
                }
            )
        return found
