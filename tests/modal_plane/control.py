"""A plane from a test's side: started, killed and started again as a process of its own, asked and troubled by HTTP.

Imports nothing of modal, so that a test session without a plane does not pay for it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
DEADLINE_S = 120.0  # on a machine that has five times as much to do as it can


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class PlaneControl:
    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.settings = settings
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder / "plane.log"

    @property
    def environment(self) -> dict[str, str]:
        """What makes the real client speak to this plane, in any process."""
        return {
            "MODAL_SERVER_URL": f"http://127.0.0.1:{self.port}",
            "MODAL_TOKEN_ID": "ak-plane",
            "MODAL_TOKEN_SECRET": "as-plane",
            "MODAL_CONFIG_PATH": "/nonexistent",
        }

    # The process

    def start(self) -> PlaneControl:
        self.folder.mkdir(parents=True, exist_ok=True)
        known = self.folder / "plane.json"
        before = known.read_text() if known.exists() else ""
        options = [f"--{name.replace('_', '-')}={value}" for name, value in self.settings.items()]
        clean = {k: v for k, v in os.environ.items() if not k.startswith("MODAL_")}
        clean |= {k: v for k, v in os.environ.items() if k.startswith("MODAL_PLANE_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "modal_plane", "--state", str(self.folder), "--port", str(self.port), *options],
            env=clean | {"PYTHONPATH": str(TESTS)}, stdout=self.log.open("ab"), stderr=subprocess.STDOUT,
            start_new_session=True, preexec_fn=die_with_parent,
        )  # fmt: skip
        deadline = time.monotonic() + DEADLINE_S
        while not known.exists() or known.read_text() == before:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the plane did not start:\n{self.log.read_text()}")
            time.sleep(0.02)
        return self

    def stop(self) -> None:
        """In order: its containers are gone when this returns."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(20)
        known = self.folder / "plane.json"
        if known.exists():  # of a plane that was killed and never came back
            shutil.rmtree(json.loads(known.read_text())["sockets"], ignore_errors=True)

    def kill(self) -> None:
        """As when its machine is lost, with all its containers; `start` brings it back with what it remembers."""
        assert self.process
        self.process.kill()
        self.process.wait()

    def ask(self, what: str, **arguments: Any) -> Any:
        port = json.loads((self.folder / "plane.json").read_text())["http_port"]
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/admin/{what}",
            json.dumps(arguments).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise ValueError(json.loads(error.read())["error"]) from error

    # Trouble

    def fault(self, rpc: str = "*", **spec: Any) -> None:
        """See faults.Fault: status=, times=, for_s=, delay_s=, cut=, contains=, of=."""
        self.ask("fault", rpc=rpc, **spec)

    def unavailable(self, rpc: str = "*", times: int | None = 1, for_s: float | None = None) -> None:
        self.fault(rpc, status="UNAVAILABLE", times=times if for_s is None else None, for_s=for_s)

    def lose_answer(self, rpc: str = "FunctionMap", times: int = 1) -> None:
        """The request is executed; its answer never arrives, since the connection is cut."""
        self.fault(rpc, cut="after", times=times)

    def strike(self, action: str, **spec: Any) -> None:
        """See strikes.Strike: on=, pattern=, function=, contains=, nth=, every=, after_s=, times=."""
        self.ask("strike", action=action, **spec)

    def now(self, action: str, call: str, grace_s: float | None = None) -> bool:
        """preempt, out_of_memory, crash, timeout or cancel the container that works on a call, now."""
        return bool(self.ask("now", action=action, call=call, grace_s=grace_s))

    def clear(self) -> None:
        self.ask("clear")

    def configure(self, **settings: Any) -> None:
        """See plane.Settings."""
        self.ask("settings", **settings)

    def outage(self, seconds: float) -> None:
        """Nothing listens for a while and every connection is cut; containers go on."""
        self.ask("outage", seconds=seconds)

    def rates(self, rates: dict[str, str] | None) -> None:
        """What Workspace.billing.rates() says; None (as at the start): this account may not ask."""
        self.ask("rates", rates=rates)

    def expire(self, call: str) -> None:
        self.ask("expire", call=call)

    def cancel(self, call: str) -> None:
        """As from the dashboard."""
        self.ask("cancel", call=call)

    def finish(self, call: str, status: str, exception: str = "") -> None:
        self.ask("finish", call=call, status=status, exception=exception)

    # The plane's own count

    def calls(self, function: str = "") -> list[dict[str, Any]]:
        return [call for call in self.ask("calls") if function in ("", call["function"])]

    def call(self, call_id: str) -> dict[str, Any]:
        return next(call for call in self.calls() if call["id"] == call_id)

    def executions(self, function: str = "") -> int:
        """How often an input was handed to a container, retries and interruptions included."""
        return sum(len(call["executions"]) for call in self.calls(function))

    def containers(self) -> list[dict[str, Any]]:
        return list(self.ask("containers"))

    def functions(self) -> list[dict[str, Any]]:
        return list(self.ask("functions"))

    def images(self) -> list[dict[str, Any]]:
        return list(self.ask("images"))

    def counters(self, of: str = "rpc") -> dict[str, int]:
        """How often each RPC was asked for, by clients (`rpc`) or by containers (`container`)."""
        return dict(self.ask("counters")[of])

    def until(self, condition: Callable[[], Any], what: str = "the condition") -> Any:
        """Waits until the condition holds; returns what it returned. The limit is for what never comes."""
        deadline = time.monotonic() + DEADLINE_S
        while not (value := condition()):
            if time.monotonic() > deadline:
                raise AssertionError(f"{what} did not come within {DEADLINE_S} s\n{self.log.read_text()}")
            time.sleep(0.05)  # each look is a request
        return value

    def running(self, call_id: str) -> dict[str, Any]:
        """Waits until a container works on the call."""
        return dict(
            self.until(lambda: (call := self.call(call_id))["state"] == "running" and call, f"{call_id} running")
        )


def die_with_parent() -> None:
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
