"""What the tests of Modal's backend share: a deployed app on a control plane, steps for it, and runs of their own.

Imports nothing of modal or Prefect before a test asks for it: a session without such a test must not pay for them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from modal_plane.control import PlaneControl
from modal_plane.fixture import forget_client, running_plane

from foresight.compute.backend import Call
from foresight.compute.code_identity import code_identity
from foresight.compute.step import Resources, Step
from foresight.errors import StepFailed
from foresight.home import Home

HERE = Path(__file__).parent
CHECKOUT = HERE.parent


def deploy(environment: dict[str, str], packages: str = "", path: str = "") -> subprocess.CompletedProcess[str]:
    """As a user does, by Modal's own command."""
    own = {"FORESIGHT_PACKAGES": packages, "PYTHONPATH": os.pathsep.join(filter(None, [str(CHECKOUT), path]))}
    return subprocess.run(
        [sys.executable, "-m", "modal", "deploy", "-m", "foresight.compute.modal_app"],
        env={**os.environ, **environment, **own}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@dataclass
class Remote:
    """A plane with the app deployed, and a folder of this test in which handlers note what they do."""

    plane: PlaneControl
    folder: Path

    def home(self, name: str = "home") -> Home:
        return Home(self.folder / name)

    def step(self, name: str, handler: str = "work", *, resources: Resources | None = None, **parameters: Any) -> Step:
        reference = f"remote_handlers:{handler}"
        return Step(
            kind="sub_experiment",
            label=name,
            profile="tiny",
            identity={
                "kind": "sub_experiment",
                "experiment": "t1-toy",
                "sub_experiment": "t_a",
                "handler": reference,
                "code": code_identity(reference),
                "parameters": {"name": name, "folder": str(self.folder), **parameters},
                "seed": 0,
            },
            resources=resources or Resources(timeout_s=120.0),
        )

    def noted(self, what: str) -> list[str]:
        path = self.folder / what
        return path.read_text().split() if path.exists() else []

    def let_go(self) -> None:
        (self.folder / "go").touch()

    def began(self, name: str, times: int = 1) -> None:
        """Wait until the handler has begun so often."""
        self.plane.until(lambda: self.noted("began").count(name) >= times, f"{name} at work")

    def run(self, *steps: Step, run_id: str = "run", home: Home | None = None, **options: Any) -> Run:
        return Run(Call(steps), run_id, home or self.home(), options)

    def calls_of(self, step: Step) -> list[dict[str, Any]]:
        """The calls that carried the step, by the plane's own count."""
        return [
            call
            for call in self.plane.calls()
            if call["args"] and any(s["fingerprint"] == step.fingerprint for s in call["args"][0].get("steps", []))
        ]


@dataclass
class Run:
    """A run's one call, followed as the Prefect task does, in a thread."""

    call: Call
    run_id: str
    home: Home
    options: dict[str, Any]
    said: list[str] = field(default_factory=list)
    failure: BaseException | None = None
    returned: threading.Event = field(default_factory=threading.Event)
    """What needs the call may start; the last lines of its log may still come."""

    def __post_init__(self) -> None:
        from foresight.compute.modal_backend import ModalBackend

        self.backend = ModalBackend(self.home, **self.options)
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def start(self) -> Run:
        self._thread.start()
        return self

    def wait(self, timeout_s: float = 90.0) -> Run:
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), f"still going after {timeout_s} s: {self.said}"
        return self

    def whole(self) -> Run:
        """To its end, which must be good."""
        self.start().wait()
        if self.failure is not None:
            raise self.failure
        return self

    def failed(self) -> StepFailed:
        """To its end, which must be a failure."""
        if not self._thread.ident:
            self.start()
        self.wait()
        assert isinstance(self.failure, StepFailed), self.failure
        return self.failure

    def _follow(self) -> None:
        from tasks.calls import follow

        try:
            follow(self.call, self.backend, self.run_id, self.home, self.said.append)
        except BaseException as failure:  # noqa: BLE001 - for the test to look at
            self.failure = failure
        self.returned.set()
        self.backend.close()


@pytest.fixture(scope="module")
def deployed_with_torch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlaneControl]:
    """One whose containers have torch imported already, with one thread, as the tiny profile asks for."""
    from foresight.compute.local import PRELOAD
    from foresight.compute.modal_app import THREADS

    with pytest.MonkeyPatch.context() as patch:
        for name in THREADS:
            patch.setenv(name, "1")
        folder = tmp_path_factory.mktemp("torch") / "plane"
        libraries = ",".join(name for name in PRELOAD if not name.startswith("foresight"))  # the project is deployed
        with running_plane(folder, max_containers=4, preload=libraries) as control:
            done = deploy(control.environment, "remote_handlers", str(HERE))
            assert done.returncode == 0, done.stdout + done.stderr
            yield control


@pytest.fixture(scope="module")
def deployed(module_plane: PlaneControl) -> PlaneControl:
    """One control plane with the app for all tests of a module: deploying takes seconds."""
    done = deploy(module_plane.environment, "remote_handlers", str(HERE))
    assert done.returncode == 0, done.stdout + done.stderr
    return module_plane


@pytest.fixture
def remote(deployed: PlaneControl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Remote]:
    monkeypatch.delitem(sys.modules, "remote_handlers", raising=False)
    forget_client()  # a test may have asked another server
    yield Remote(deployed, tmp_path)
    deployed.clear()
    for call in deployed.calls():
        if call["state"] != "done":
            deployed.cancel(call["id"])
