"""Makes the pictures of the Prefect UI: `make screenshots`. Needs chromium and minutes; `… toy` makes the quick ones.

Everything is real: `make up` on a home of its own, C1 in the tiny profile, and the toy programme of the tests for what
must fail or change between two nightlies. No name but the loopback's resolves in the browser.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from small import shoot

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
RUN_TIMEOUT_S = 1200
sys.path.insert(0, str(CHECKOUT / "tests"))

from conftest import Toy  # noqa: E402 - of the tests, whose folder is no package

from foresight.home import Home  # noqa: E402


class Prefect:
    """The API and the pages of the server that `make up` has started."""

    def __init__(self, ui: str) -> None:
        self._ui, self._client = ui, httpx.Client(base_url=f"{ui}/api/", timeout=180)

    def post(self, path: str, **body: Any) -> Any:
        answer = self._client.post(path, json=body)
        while answer.status_code == 503:  # SQLite is locked for a moment: Prefect's own client tries again as well
            time.sleep(0.5)
            answer = self._client.post(path, json=body)
        return answer.raise_for_status().json()

    def deployment(self, name: str) -> str:
        return self._client.get(f"deployments/name/{name}").raise_for_status().json()["id"]

    def start(self, name: str, **parameters: Any) -> str:
        return self.post(f"deployments/{self.deployment(name)}/create_flow_run", parameters=parameters)["id"]

    def run(self, name: str, **parameters: Any) -> str:
        run = self.start(name, **parameters)
        self.until(run, lambda state: state in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"))
        return run

    def until(self, run: str, reached: Any) -> None:
        deadline = time.monotonic() + RUN_TIMEOUT_S
        while not reached(self._client.get(f"flow_runs/{run}").json()["state"]["type"]):
            assert time.monotonic() < deadline, f"flow run {run} took more than {RUN_TIMEOUT_S} s"
            time.sleep(1)

    def has_log(self, run: str, text: str) -> None:
        deadline = time.monotonic() + RUN_TIMEOUT_S
        while not any(text in line["message"] for line in self._log(run)):
            assert time.monotonic() < deadline, f"no log line of {run} says {text!r}"
            time.sleep(1)

    def _log(self, run: str) -> Any:
        return self.post("logs/filter", logs={"flow_run_id": {"any_": [run]}}, sort="TIMESTAMP_DESC", limit=200)

    def artifact(self, run: str, key: str) -> str:
        found = self.post("artifacts/filter", artifacts={"flow_run_id": {"any_": [run]}})
        return next(one["id"] for one in found if one["key"] == key)

    def shoot(self, name: str, path: str, height: int) -> None:
        shoot(f"{self._ui}{path}", HERE / f"{name}.png", height)


def pictures_of_c1(prefect: Prefect) -> None:
    c1 = prefect.start("run-experiment/c1", seeds=1)
    prefect.has_log(c1, "c1/e1_3 seed 0 │ found")
    prefect.shoot("running", f"/runs/flow-run/{c1}", 1500)
    prefect.until(c1, lambda state: state == "COMPLETED")
    prefect.shoot("verdict", f"/artifacts/artifact/{prefect.artifact(c1, 'verdict-c1')}", 1200)
    prefect.shoot("findings", f"/artifacts/artifact/{prefect.artifact(c1, 'findings-c1')}", 1500)


def pictures_of_the_toy(prefect: Prefect, toy: Toy) -> None:
    prefect.run("research-program/nightly", plan=toy.plan)
    toy.edit_handlers("0.9 + 0.02", "0.66 + 0.02")
    nightly = prefect.run("research-program/nightly", plan=toy.plan)
    broken = toy.second_handler("broken", "broken.yaml")
    failed = prefect.run("research-program/on-demand", plan=broken, seeds=1)
    prefect.shoot("deployments", "/deployments", 960)
    prefect.shoot("form", f"/deployments/deployment/{prefect.deployment('run-experiment/c1')}/run", 1500)
    prefect.shoot("changes", f"/artifacts/artifact/{prefect.artifact(nightly, 'what-changed')}", 1000)
    prefect.shoot("failure", f"/runs/flow-run/{failed}?tab=Logs", 2000)


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        home = Home(Path(scratch) / "home")
        toy = Toy.make(Path(scratch) / "toy", home)
        environment = {**os.environ, "FORESIGHT_HOME": str(home.root), "PYTHONPATH": f"{CHECKOUT}:{toy.folder}"}
        up = subprocess.Popen(
            [sys.executable, "-m", "flows.up"], env=environment, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
        )
        try:
            assert up.stdout is not None
            found = next(match for line in up.stdout if (match := re.search(r"Prefect UI +(\S+)", line)))
            pictures_of_the_toy(Prefect(found[1]), toy)
            if sys.argv[1:] != ["toy"]:
                pictures_of_c1(Prefect(found[1]))
        finally:
            up.send_signal(signal.SIGINT)
            up.wait()


if __name__ == "__main__":
    main()
