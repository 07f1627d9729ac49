"""How a request reaches the method that answers it, and where faults get in between.

A room of the plane (apps, functions, volumes, …) has one coroutine or async generator for each RPC, named after it
in snake case: `function_map` answers `FunctionMap`. It takes the request and the caller, and returns the response.
What no room answers is UNIMPLEMENTED, and its name is printed.
"""

from __future__ import annotations

import inspect
import re
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpclib.const
from grpclib import GRPCError, Status
from grpclib.protocol import H2Protocol
from grpclib.server import Server, Stream
from modal_proto import api_grpc

if TYPE_CHECKING:
    from .containers import Running
    from .plane import Plane


class Declared(api_grpc.ModalClientBase):
    """Only there for the generated table of RPCs with their types."""


for _name in Declared.__abstractmethods__:
    setattr(Declared, _name, None)
Declared.__abstractmethods__ = frozenset()


@dataclass(frozen=True)
class Caller:
    task: Running | None  # the container that asks; None: a client outside
    idempotency_key: str


def not_found(what: str) -> GRPCError:
    return GRPCError(Status.NOT_FOUND, what)


def methods_of(rooms: list[Any]) -> dict[str, Callable[..., Any]]:
    found: dict[str, Callable[..., Any]] = {}
    for room in rooms:
        for name, method in inspect.getmembers(room, inspect.ismethod):
            if not name.startswith("_") and (inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)):
                rpc = re.sub(r"(?:^|_)([a-z0-9])", lambda match: match.group(1).upper(), name)
                assert rpc not in found, f"{rpc} is answered twice"
                found[rpc] = method
    return found


class Service:
    """What grpclib serves: to clients outside (`task=None`), or to one container on a socket of its own."""

    def __init__(self, plane: Plane, task: Running | None = None) -> None:
        self.plane = plane
        self.task = task

    def __mapping__(self) -> dict[str, grpclib.const.Handler]:
        return {
            path: grpclib.const.Handler(self._answer(path.rsplit("/", 1)[1]), cardinality, request, reply)
            for path, (_, cardinality, request, reply) in Declared().__mapping__().items()
        }

    def _answer(self, rpc: str) -> Callable[[Stream[Any, Any]], Any]:
        method = self.plane.methods.get(rpc)

        async def answer(stream: Stream[Any, Any]) -> None:
            request = await stream.recv_message()
            self.plane.store.count(f"{'container' if self.task else 'rpc'}:{rpc}")
            if method is None:
                print(f"plane: {rpc} is not implemented", flush=True)
                raise GRPCError(Status.UNIMPLEMENTED, f"{rpc}: the control plane for tests does not model this")
            caller = Caller(self.task, str((stream.metadata or {}).get("x-idempotency-key", "")))
            fault = await self.plane.faults.meet(rpc, request, "container" if self.task else "client")
            if fault and fault.cut == "before":
                return cut(stream)
            if inspect.isasyncgenfunction(method):
                async for reply in method(request, caller):
                    await stream.send_message(reply)
                return None
            reply = await method(request, caller)
            if fault and fault.cut == "after":
                return cut(stream)
            await stream.send_message(reply)

        return answer


class Listener(Server):
    """A server that can be pulled from the wall: nothing listens, and what was connected is cut."""

    def __init__(self, service: Service) -> None:
        super().__init__([service])
        self.protocols: weakref.WeakSet[H2Protocol] = weakref.WeakSet()

    def _protocol_factory(self) -> H2Protocol:
        protocol = super()._protocol_factory()
        self.protocols.add(protocol)
        return protocol

    def pull(self) -> None:
        self.close()
        for protocol in self.protocols:
            transport = getattr(getattr(protocol, "connection", None), "_transport", None)
            if transport is not None:
                transport.abort()


def cut(stream: Stream[Any, Any]) -> None:
    """The connection is gone, as when a cable is pulled: nothing more is sent on it, for any of its calls."""
    stream._stream._transport.abort()
    stream._cancel_done = True  # what grpclib itself sets when there is nothing left to answer
