"""Apps: created, published under a name, stopped."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from .rpc import Caller, not_found
from .store import App, Call, Function

if TYPE_CHECKING:
    from .plane import Plane

ENVIRONMENT = "main"


class Apps:
    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.store = plane.store

    def _app(self, app_id: str) -> App:
        app = self.store.find(App, app_id)
        if app is None:
            raise not_found(f"App '{app_id}' not found.")
        return app

    def _deployed(self, name: str, environment: str) -> App | None:
        wanted = (name, environment or ENVIRONMENT)
        return next((a for a in self.store.all(App) if (a.name, a.environment) == wanted and not a.stopped), None)

    def lifecycle(self, app: App) -> api_pb2.AppLifecycle:
        state = api_pb2.APP_STATE_EPHEMERAL if app.ephemeral else api_pb2.APP_STATE_INITIALIZING
        if app.stopped:
            state = api_pb2.APP_STATE_STOPPED
        elif app.name:
            state = api_pb2.APP_STATE_DEPLOYED
        return api_pb2.AppLifecycle(
            app_state=state, created_at=app.created_at, deployed_at=app.deployed_at, version=app.version
        )

    async def client_hello(self, request: Empty, caller: Caller) -> api_pb2.ClientHelloResponse:
        return api_pb2.ClientHelloResponse()

    async def environment_get_or_create(
        self, request: api_pb2.EnvironmentGetOrCreateRequest, caller: Caller
    ) -> api_pb2.EnvironmentGetOrCreateResponse:
        name = request.deployment_name or ENVIRONMENT
        settings = api_pb2.EnvironmentSettings(image_builder_version="2025.06", webhook_suffix="")
        return api_pb2.EnvironmentGetOrCreateResponse(
            environment_id=f"en-{name}", metadata=api_pb2.EnvironmentMetadata(name=name, settings=settings)
        )

    async def app_get_by_deployment_name(
        self, request: api_pb2.AppGetByDeploymentNameRequest, caller: Caller
    ) -> api_pb2.AppGetByDeploymentNameResponse:
        app = self._deployed(request.name, request.environment_name)
        response = api_pb2.AppGetByDeploymentNameResponse(environment_name=request.environment_name or ENVIRONMENT)
        if app is not None:
            response.app_id = app.id
            response.lifecycle.CopyFrom(self.lifecycle(app))
        return response

    async def app_get_lifecycle(
        self, request: api_pb2.AppGetLifecycleRequest, caller: Caller
    ) -> api_pb2.AppGetLifecycleResponse:
        return api_pb2.AppGetLifecycleResponse(lifecycle=self.lifecycle(self._app(request.app_id)))

    async def app_create(self, request: api_pb2.AppCreateRequest, caller: Caller) -> api_pb2.AppCreateResponse:
        ephemeral = request.app_state in (api_pb2.APP_STATE_EPHEMERAL, api_pb2.APP_STATE_DETACHED)
        app = App(self.store.new_id("ap"), "", request.description, request.environment_name or ENVIRONMENT, ephemeral)
        self.store.save(app)
        url = f"{self.plane.http_url}/apps/{app.id}"
        return api_pb2.AppCreateResponse(app_id=app.id, app_page_url=url, app_logs_url=f"{url}/logs")

    async def app_get_layout(
        self, request: api_pb2.AppGetLayoutRequest, caller: Caller
    ) -> api_pb2.AppGetLayoutResponse:
        return api_pb2.AppGetLayoutResponse(app_layout=self.plane.functions.layout(self._app(request.app_id)))

    async def app_publish(self, request: api_pb2.AppPublishRequest, caller: Caller) -> api_pb2.AppPublishResponse:
        app = self._app(request.app_id)
        if request.app_state == api_pb2.APP_STATE_DEPLOYED:
            app.name, app.ephemeral, app.deployed_at = request.name, False, time.time()
        app.functions, app.classes = dict(request.function_ids), dict(request.class_ids)
        app.version += 1
        self.store.save(app)
        for function in self.store.all(Function):
            if function.app_id == app.id:
                function.version = app.version
                self.store.save(function)
        self.plane.scheduler.wake()
        return api_pb2.AppPublishResponse(url=f"{self.plane.http_url}/apps/{app.id}", deployed_at=time.time())

    async def app_heartbeat(self, request: api_pb2.AppHeartbeatRequest, caller: Caller) -> Empty:
        return Empty()

    async def _stop(self, app: App) -> None:
        app.stopped = True
        self.store.save(app)
        for call in self.store.all(Call):
            if call.app_id == app.id and call.state != "done":
                self.plane.calls.cancel(call, "The app was stopped.", terminate=True)
        for task in self.plane.scheduler.of_app(app.id):
            task.retire()
        self.plane.logs.changed(app.id)

    async def app_client_disconnect(self, request: api_pb2.AppClientDisconnectRequest, caller: Caller) -> Empty:
        app = self._app(request.app_id)
        if app.ephemeral:
            await self._stop(app)
        return Empty()

    async def app_stop(self, request: api_pb2.AppStopRequest, caller: Caller) -> Empty:
        await self._stop(self._app(request.app_id))
        return Empty()

    async def app_get_logs(
        self, request: api_pb2.AppGetLogsRequest, caller: Caller
    ) -> AsyncIterator[api_pb2.TaskLogsBatch]:
        """Follows; says `app_done` once the app has stopped and its containers are gone."""
        until = time.monotonic() + (request.timeout or 55.0)
        last = int(request.last_entry_id.split("-")[0]) if request.last_entry_id else 0
        while time.monotonic() < until:
            done = self._app(request.app_id).stopped and not self.plane.scheduler.of_app(request.app_id)
            for batch, seq in self.plane.logs.after(last, request):
                last = seq
                yield batch
            if done:
                yield api_pb2.TaskLogsBatch(app_done=True, eof=True, entry_id=f"{last}-0")
                return
            await self.plane.logs.wait(request.app_id, min(1.0, max(0.0, until - time.monotonic())))
