"""Functions: created with their app, looked up by name, varied by with_options."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from grpclib import GRPCError, Status
from modal_proto import api_pb2

from .rpc import Caller, not_found
from .store import App, Function, Volume

if TYPE_CHECKING:
    from .plane import Plane

SHARED = [field.name for field in api_pb2.FunctionData.DESCRIPTOR.fields if field.name != "ranked_functions"]


def data_of(function: api_pb2.Function) -> api_pb2.FunctionData:
    """A function of one GPU class as the ranked form, the only one that the client reads back."""
    data = api_pb2.FunctionData()
    for field, value in function.ListFields():
        if field.name in SHARED:
            target = getattr(data, field.name)
            if field.message_type is None and not field.is_repeated:
                setattr(data, field.name, value)
            elif hasattr(target, "CopyFrom"):
                target.CopyFrom(value)
            else:
                target.MergeFrom(value)
    data.ranked_functions.add(rank=0).function.CopyFrom(function)
    return data


def _refuse_what_is_not_modelled(data: api_pb2.FunctionData) -> None:
    function = data.ranked_functions[0].function
    asked = {
        "batching": function.batch_max_size > 1,
        "input concurrency": function.max_concurrent_inputs > 1,
        "a schedule": data.HasField("schedule") or function.HasField("schedule"),
        "a web endpoint": data.webhook_config.type != api_pb2.WEBHOOK_TYPE_UNSPECIFIED,
        "a class": data.is_class,
        "a memory snapshot": function.checkpointing_enabled,
        "a cluster": data._experimental_group_size > 0,
        "a cloud bucket": bool(function.cloud_bucket_mounts),
        "a network file system": bool(function.shared_volume_mounts),
    }
    for what, wanted in asked.items():
        if wanted:
            text = f"Function '{data.function_name}' asks for {what}, which the control plane for tests does not model"
            raise GRPCError(Status.UNIMPLEMENTED, text)


class Functions:
    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.store = plane.store

    def _get(self, function_id: str) -> Function:
        function = self.store.find(Function, function_id)
        if function is None:
            raise not_found(f"Function {function_id} not found.")
        return function

    def metadata(self, function: Function) -> api_pb2.FunctionHandleMetadata:
        data = function.function_data
        return api_pb2.FunctionHandleMetadata(
            function_name=function.name, function_type=data.function_type, definition_id=f"de-{function.id}",
            is_method=data.is_method, function_schema=data.function_schema, app_id=function.app_id,
            base_function_id=function.base_id, supported_input_formats=data.supported_input_formats,
            supported_output_formats=data.supported_output_formats,
        )  # fmt: skip

    def layout(self, app: App) -> api_pb2.AppLayout:
        """All that a container may ask of its app: its functions, and what any of them depends on."""
        layout = api_pb2.AppLayout(function_ids=app.functions, class_ids=app.classes)
        dependencies: set[str] = set()
        for function in self.store.all(Function):
            if function.app_id == app.id and function.data:
                layout.objects.add(object_id=function.id, function_handle_metadata=self.metadata(function))
                dependencies |= {dependency.object_id for dependency in function.definition.object_dependencies}
        for id in sorted(dependencies):
            entry = layout.objects.add(object_id=id)
            volume = self.store.find(Volume, id)
            if volume is not None:
                entry.volume_metadata.CopyFrom(self.plane.volumes.metadata(volume))
            elif id.startswith("mo-"):
                entry.mount_handle_metadata.CopyFrom(api_pb2.MountHandleMetadata())
        return layout

    async def function_precreate(
        self, request: api_pb2.FunctionPrecreateRequest, caller: Caller
    ) -> api_pb2.FunctionPrecreateResponse:
        function = self.store.find(Function, request.existing_function_id)
        if function is None:
            function = Function(self.store.new_id("fu"), request.app_id, request.function_name)
            function.data = api_pb2.FunctionData(
                function_name=request.function_name, function_type=request.function_type,
                function_schema=request.function_schema, supported_input_formats=request.supported_input_formats,
                supported_output_formats=request.supported_output_formats,
                ranked_functions=[api_pb2.FunctionData.RankedFunction(function=api_pb2.Function())],
            ).SerializeToString()  # fmt: skip
            self.store.save(function)
        return api_pb2.FunctionPrecreateResponse(function_id=function.id, handle_metadata=self.metadata(function))

    async def function_create(
        self, request: api_pb2.FunctionCreateRequest, caller: Caller
    ) -> api_pb2.FunctionCreateResponse:
        data = request.function_data if request.HasField("function_data") else data_of(request.function)
        _refuse_what_is_not_modelled(data)
        function = self.store.find(Function, request.existing_function_id)
        if function is None:
            function = Function(self.store.new_id("fu"), request.app_id, data.function_name)
        function.data = data.SerializeToString()
        definition = function.definition
        function.max_containers = definition.autoscaler_settings.max_containers or definition.concurrency_limit or None
        self.store.save(function)
        return api_pb2.FunctionCreateResponse(
            function_id=function.id, function=definition, handle_metadata=self.metadata(function), function_data=data
        )

    async def function_get(self, request: api_pb2.FunctionGetRequest, caller: Caller) -> api_pb2.FunctionGetResponse:
        if request.app_version:
            raise GRPCError(Status.UNIMPLEMENTED, "the control plane for tests has the newest version of an app only")
        app = self.plane.apps._deployed(request.app_name, request.environment_name)
        if app is None:
            raise not_found(
                f"App '{request.app_name}' not found in environment '{request.environment_name or 'main'}'."
            )
        if request.object_tag not in app.functions:
            raise not_found(f"Function '{request.object_tag}' not found in App '{request.app_name}'.")
        function = self._get(app.functions[request.object_tag])
        return api_pb2.FunctionGetResponse(
            function_id=function.id, handle_metadata=self.metadata(function), function=function.function_data
        )

    async def function_bind_params(
        self, request: api_pb2.FunctionBindParamsRequest, caller: Caller
    ) -> api_pb2.FunctionBindParamsResponse:
        """The same options of the same function are the same variant, with one pool of containers."""
        base = self._get(request.function_id)
        name = hashlib.sha256(base.id.encode() + request.function_options.SerializeToString(deterministic=True))
        id = f"fu-{name.hexdigest()[:20]}"
        options = request.function_options
        data = base.function_data
        for ranked in data.ranked_functions:
            function = ranked.function
            for field in ("resources", "retry_policy"):
                if options.HasField(field):
                    merged = getattr(function, field)
                    merged.MergeFrom(getattr(options, field))
            if options.HasField("timeout_secs"):
                function.timeout_secs = data.timeout_secs = options.timeout_secs
            if options.HasField("task_idle_timeout_secs"):
                function.task_idle_timeout_secs = options.task_idle_timeout_secs
            if options.replace_volume_mounts or options.volume_mounts:
                del function.volume_mounts[:]
                function.volume_mounts.extend(options.volume_mounts)
            if options.replace_secret_ids:
                del function.secret_ids[:]
            function.secret_ids.extend(options.secret_ids)
        variant = Function(id, base.app_id, base.name, data.SerializeToString(), base.version, base.base_id or base.id)
        variant.max_containers = options.concurrency_limit or base.max_containers
        self.store.save(variant)
        return api_pb2.FunctionBindParamsResponse(bound_function_id=id, handle_metadata=self.metadata(variant))
