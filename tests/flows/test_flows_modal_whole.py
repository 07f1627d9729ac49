"""The main job on Modal: number for number what it is here; and no slower than its longest chain of calls."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from modal_plane.control import PlaneControl
from remote import HERE, Remote
from test_flows_whole import foresight

from foresight.compute.modal_backend import ModalBackend
from foresight.compute.planner import Seeded, StepPlan
from foresight.compute.step import Resources, Step
from foresight.home import Home
from foresight.results.verify import verify

pytestmark = pytest.mark.slow

LONG_S, SHORT_S = 60.0, 30.0  # calls of the makespan


def results(home: Path) -> dict[str, Any]:
    return yaml.safe_load((home / "results" / "c1-vlm-latent-sufficiency" / "results.yaml").read_text())


def measured(content: dict[str, Any]) -> dict[str, Any]:
    """Everything that is a number or a verdict; seconds, dates and dollars are not the same twice."""
    subs = content["results"]["experiments"]
    return {
        "metrics": {name: sub.get("metrics") for name, sub in subs.items()},
        "findings": {name: sub.get("finding") for name, sub in subs.items()},
        "records": {name: sub.get("records") for name, sub in subs.items()},
        "criteria": content["criteria"],
        "recommendation": content["recommendation"],
        "assessment": content["assessment"],
    }


@pytest.mark.timeout(2400)
@pytest.mark.parametrize(
    "arguments", [["--sub-experiment", "e1_4", "--seeds", "1"], []], ids=["e1_4, one seed", "all of C1"]
)
def test_c1_is_on_modal_what_it_is_here(
    tmp_path: Path, deployed_with_torch: PlaneControl, api_url: str, arguments: list[str]
):
    there, here = tmp_path / "there", tmp_path / "here"
    done = foresight(there, "run", "c1", "--compute", "modal", *arguments, api_url=api_url)
    assert done.returncode == 0, done.stderr[-3000:]
    done = foresight(here, "run", "c1", *arguments, api_url=api_url)
    assert done.returncode == 0, done.stderr[-3000:]
    assert measured(results(there)) == measured(results(here))
    assert verify(Home(there)) == []
    assert not list(there.rglob("*.safetensors"))
    assert not list(there.rglob("*.npy"))
    if arguments:  # what failed there can be looked at here, on the inputs it had there
        again = foresight(
            there, "run", "c1", "--compute", "modal", "--in-process", "--refresh", *arguments, api_url=api_url
        )
        assert again.returncode == 0, again.stderr[-3000:]
        assert measured(results(there)) == measured(results(here))
        assert list(there.rglob("*.safetensors"))


@pytest.mark.timeout(600)
def test_makespan(
    tmp_path: Path, deployed_with_torch: PlaneControl, api_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 calls, ten of which need one of the other ten each: through Prefect within 5 % of the longest chain."""
    from prefect import flow
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows import pipeline

    plane = deployed_with_torch
    plane.configure(max_containers=20)
    remote = Remote(plane, tmp_path)
    home = remote.home()

    def step(name: str, seconds: float, needs: dict[str, str] | None = None) -> Step:
        made = remote.step(name, sleep_s=seconds, resources=Resources(timeout_s=300.0))
        return Step(**{**vars(made), "needs": needs or {}})

    first = [step(f"first-{i}", LONG_S if i == 0 else SHORT_S) for i in range(10)]
    second = [step(f"second-{i}", LONG_S if i == 0 else SHORT_S, {"first": first[i].fingerprint}) for i in range(10)]
    seeded = {Seeded("t1-toy", "t_a", number): each for number, each in enumerate([*first, *second])}

    class Nobody:
        def step_ended(self, step: Step, error: str | None) -> None:
            assert error is None, error

    @flow(task_runner=pipeline.CALLS)
    def makespan() -> float:
        began = time.monotonic()
        plan = StepPlan(None, (), seeded)
        assert pipeline._run_calls(plan, ModalBackend(home), "run", home, Nobody()) == []  # type: ignore[arg-type]
        return time.monotonic() - began

    monkeypatch.syspath_prepend(str(HERE))
    with temporary_settings({PREFECT_API_URL: api_url}):
        took = makespan()
    assert len(plane.calls("run_on_cpu")) >= 20
    assert took < 1.05 * 2 * LONG_S, f"{took:.1f} s for a longest chain of {2 * LONG_S:.0f} s"
