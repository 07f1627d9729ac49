"""Faults, asked for by a test through the admin endpoint, met by RPCs from outside or, with `of="container"`, from
containers.

A fault is met `times` times, or for `for_s` seconds from the first one on; then it is gone.
"""

from __future__ import annotations

import asyncio
import fnmatch
import time
from dataclasses import dataclass
from typing import Any, Literal

from grpclib import GRPCError, Status


@dataclass
class Fault:
    rpc: str = "*"  # shell pattern of RPC names
    status: str = ""  # a gRPC status to fail with: UNAVAILABLE, NOT_FOUND, …
    message: str = "a fault that a test asked for"
    delay_s: float = 0.0
    cut: Literal["", "before", "after"] = ""  # "after": the request was executed, its answer is lost
    times: int | None = 1
    for_s: float | None = None
    contains: str = ""  # only requests whose text form contains this
    of: Literal["client", "container"] = "client"
    met: int = 0
    first_met_at: float | None = None

    def over(self) -> bool:
        if self.for_s is not None:
            return self.first_met_at is not None and time.time() - self.first_met_at > self.for_s
        return self.times is not None and self.met >= self.times


class Faults:
    def __init__(self) -> None:
        self.active: list[Fault] = []

    def add(self, **spec: Any) -> None:
        if spec.get("for_s") is not None:
            spec.setdefault("times", None)
        fault = Fault(**spec)
        if fault.status and not hasattr(Status, fault.status):
            raise ValueError(f"{fault.status} is no gRPC status; there are {', '.join(s.name for s in Status)}")
        self.active.append(fault)

    async def meet(self, rpc: str, request: Any, of: str) -> Fault | None:
        """The fault that this request meets; raises it when it is an error."""
        self.active = [fault for fault in self.active if not fault.over()]
        for fault in self.active:
            if (
                fault.of == of
                and fnmatch.fnmatch(rpc, fault.rpc)
                and (not fault.contains or fault.contains in str(request))
            ):
                fault.met += 1
                fault.first_met_at = fault.first_met_at or time.time()
                await asyncio.sleep(fault.delay_s)
                if fault.status:
                    raise GRPCError(Status[fault.status], fault.message)
                return fault
        return None
