"""What there is in the workspace, for the shell (`modal app list`, `modal container list`), and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from .apps import ENVIRONMENT
from .rpc import Caller
from .store import App, Call, Dict, Function, Secret, Volume

if TYPE_CHECKING:
    from .plane import Plane


class Workspace:
    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.store = plane.store
        self.rates: dict[str, str] | None = None  # dollars by resource; None: this account may not ask

    async def workspace_name_lookup(self, request: Empty, caller: Caller) -> api_pb2.WorkspaceNameLookupResponse:
        return api_pb2.WorkspaceNameLookupResponse(username="plane", workspace_name="plane")

    async def workspace_billing_rates(
        self, request: api_pb2.WorkspaceBillingRatesRequest, caller: Caller
    ) -> api_pb2.WorkspaceBillingRatesResponse:
        if self.rates is None:
            raise GRPCError(Status.PERMISSION_DENIED, "This workspace may not ask for billing rates.")
        formatted = "\n".join(f"{name}: {rate}" for name, rate in self.rates.items())
        return api_pb2.WorkspaceBillingRatesResponse(rates=self.rates, formatted=formatted)

    async def app_list(self, request: api_pb2.AppListRequest, caller: Caller) -> api_pb2.AppListResponse:
        apps = [
            api_pb2.AppListResponse.AppListItem(
                app_id=app.id,
                description=app.name or app.description,
                name=app.name,
                state=self.plane.apps.lifecycle(app).app_state,
                created_at=app.created_at,
                n_running_tasks=len(self.plane.scheduler.of_app(app.id)),
            )
            for app in self.store.all(App)
        ]
        return api_pb2.AppListResponse(apps=apps)

    async def task_list(self, request: api_pb2.TaskListRequest, caller: Caller) -> api_pb2.TaskListResponse:
        response = api_pb2.TaskListResponse()
        for task in self.plane.scheduler.running.values():
            app = self.store.find(App, task.function.app_id)
            if request.app_id in ("", task.function.app_id):
                at = task.record.started_at
                name = app.name if app else ""
                response.tasks.add(
                    task_id=task.id, app_id=task.function.app_id, app_description=name, started_at=at, enqueued_at=at
                )
        return response

    async def function_get_current_stats(
        self, request: api_pb2.FunctionGetCurrentStatsRequest, caller: Caller
    ) -> api_pb2.FunctionStats:
        variants = {
            f.id for f in self.store.all(Function) if request.function_id in (f.id, f.base_id)
        }  # those of with_options count with their function
        calls = [call for call in self.store.all(Call) if call.function_id in variants]
        return api_pb2.FunctionStats(
            backlog=sum(call.state == "pending" for call in calls),
            num_total_tasks=sum(task.function.id in variants for task in self.plane.scheduler.running.values()),
            num_running_inputs=sum(call.state == "running" for call in calls),
        )

    async def volume_list(self, request: api_pb2.VolumeListRequest, caller: Caller) -> api_pb2.VolumeListResponse:
        items = [
            api_pb2.VolumeListItem(label=volume.name, volume_id=volume.id, metadata=self.plane.volumes.metadata(volume))
            for volume in self.store.all(Volume)
            if volume.name
        ]
        return api_pb2.VolumeListResponse(items=items, environment_name=request.environment_name or ENVIRONMENT)

    async def secret_list(self, request: api_pb2.SecretListRequest, caller: Caller) -> api_pb2.SecretListResponse:
        items = [
            api_pb2.SecretListItem(
                label=secret.name,
                secret_id=secret.id,
                environment_name=secret.environment,
                metadata=api_pb2.SecretMetadata(name=secret.name, keys=secret.values),
            )
            for secret in self.store.all(Secret)
            if secret.name
        ]
        return api_pb2.SecretListResponse(items=items, environment_name=request.environment_name or ENVIRONMENT)

    async def dict_list(self, request: api_pb2.DictListRequest, caller: Caller) -> api_pb2.DictListResponse:
        response = api_pb2.DictListResponse(environment_name=request.environment_name or ENVIRONMENT)
        for found in self.store.all(Dict):
            if found.name:
                response.dicts.add(name=found.name, dict_id=found.id, metadata=api_pb2.DictMetadata(name=found.name))
        return response
