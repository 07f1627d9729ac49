"""The main job as a user gets it: `foresight program` on an empty home, with the shipped stand-ins and photographs.

Here, and on Modal's control plane, where it must give the same numbers. One run here serves all tests of this module:
what it recorded of its first seed is what a run with that seed alone gives, without computing it again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml
from modal_plane.control import PlaneControl
from PIL import Image

from foresight.home import Home
from foresight.plan.loader import load_plan
from foresight.plan.schema import Experiment
from foresight.results import document, published
from foresight.results.verify import verify

pytestmark = pytest.mark.slow


def foresight(home: Path, *arguments: str, api_url: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    environment |= {"FORESIGHT_HOME": str(home), "PREFECT_API_URL": api_url, "DO_NOT_TRACK": "1"}
    command = [sys.executable, "-m", "foresight", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1500)


def check(experiment: Experiment, folder: Path) -> None:
    """Everything that the plan asks of what has a handler was measured, with interval, baseline and three seeds."""
    content = yaml.safe_load((folder / "results.yaml").read_text())
    assert document.validate(content) == []
    subs = content["results"]["experiments"]
    assert {name: sub["status"] for name, sub in subs.items()} == {
        s.id: "completed" if s.implemented else "skipped" for s in experiment.sub_experiments
    }
    beside = [row for row in published.beside(content) if subs[row.sub_experiment]["status"] == "completed"]
    assert all(row.ours is not None for row in beside if row.figure.ours)  # no name is out of date
    unmeasured = {one["name"] for one in content["criteria"] if one["sub_experiment"] in experiment.not_implemented}
    assert all(one["verdict"] == "not measured" for one in content["criteria"] if one["name"] in unmeasured)
    subs = {name: sub for name, sub in subs.items() if name not in experiment.not_implemented}
    assert all(sub["seeds"] == [0, 1, 2] for sub in subs.values())
    assert all(sub["finding"] and sub["metrics"] for sub in subs.values())
    assert content["stand_ins"]  # named, since nothing here is about the real models

    assert {one["name"] for one in content["criteria"]} == {criterion.name for criterion in experiment.criteria}
    for one in content["criteria"]:
        if one["name"] in unmeasured:
            continue
        assert one["verdict"] in ("met", "marginal", "not met"), one
        assert one["interval"]["low"] <= one["value"] <= one["interval"]["high"], one
        assert one["baseline"] is not None, one
        assert one["n"] >= 10, one
        assert one["seeds"] == 3, one

    for sub in subs.values():
        pictures = [folder / path for path in sub["artifacts"]]
        assert len(pictures) >= 3
        for path in pictures:
            assert path.is_file(), path
            if path.suffix == ".png":
                pixels = np.asarray(Image.open(path).convert("L"))
                assert min(pixels.shape) > 200
                assert pixels.std() > 5, f"{path} is blank"
            elif path.suffix == ".json":
                assert json.loads(path.read_text())
            elif path.suffix == ".md":
                assert path.read_text().count("\n|") > 2, f"{path} is no table"
            else:
                assert path.stat().st_size > 1000


def implemented() -> list[Experiment]:
    found = [experiment for experiment in load_plan(None).experiments if experiment.implemented]
    assert [experiment.short for experiment in found] == ["c1", "q1", "q2", "p2", "c2"]
    return found


@pytest.fixture(scope="module")
def main_job(tmp_path_factory: pytest.TempPathFactory, api_url: str) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Its home, and how it ended."""
    home = tmp_path_factory.mktemp("main-job")
    done = foresight(home, "program", api_url=api_url)
    assert done.returncode == 0, done.stderr[-3000:]
    return home, done


@pytest.mark.timeout(1800)
def test_the_main_job(main_job: tuple[Path, subprocess.CompletedProcess[str]], api_url: str):
    folder, done = main_job
    home = Home(folder)
    for experiment in implemented():
        check(experiment, home.results / experiment.id)
    # each model is loaded once, for all data of all experiments
    loads = [line for line in done.stderr.splitlines() if "loaded once" in line]
    assert len(loads) == 3, loads
    assert "gate_1_reconstruction" in done.stdout + done.stderr

    # the decoder from its own latents bounds what any probe can reach, the mean latent is what none may fall below
    content = yaml.safe_load((home.results / "c1-vlm-latent-sufficiency" / "results.yaml").read_text())
    e1_5 = content["results"]["experiments"]["e1_5"]["metrics"]
    lpips = next(one["value"] for one in content["criteria"] if one["name"] == "lpips")
    assert e1_5["lpips_oracle"] < lpips < e1_5["mean_latent_lpips"]
    assert verify(home) == []

    again = foresight(folder, "program", api_url=api_url)
    assert again.returncode == 0
    assert "Nothing to do" in again.stdout
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(p.info["cmdline"] or [])]


def test_what_was_changed_by_hand_is_named(
    main_job: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path, api_url: str
):
    """One digit of results.yaml, and a damaged shard."""
    home = Home(tmp_path / "home")
    shutil.copytree(main_job[0], home.root, ignore=shutil.ignore_patterns("prefect"))
    results = home.results / "c1-vlm-latent-sufficiency" / "results.yaml"
    results.write_text(results.read_text().replace("recommendation: ", "recommendation: proceed # ", 1))
    shard = next(home.features.glob("*/00000.safetensors"))
    damaged = bytearray(shard.read_bytes())
    damaged[-1] ^= 1
    shard.write_bytes(damaged)
    found = foresight(home.root, "results", "verify", api_url=api_url)
    assert found.returncode == 1
    named = json.loads(foresight(home.root, "results", "verify", "--json", api_url=api_url).stdout)
    assert {Path(problem["path"]).name for problem in named} >= {"results.yaml", shard.name}


def measured(home: Path, experiment: Experiment) -> dict[str, Any]:
    """Everything in results.yaml that is a number, a verdict or a name; seconds, dates and dollars differ each time."""
    content = yaml.safe_load((home / "results" / experiment.id / "results.yaml").read_text())
    subs, timed = content["results"]["experiments"], {sub.id for sub in experiment.sub_experiments if sub.timed}
    same = {
        "status": content["status"],
        "metrics": {name: sub.get("metrics") for name, sub in subs.items() if name not in timed},
        "findings": {name: sub["finding"] for name, sub in subs.items() if name not in timed},
        "records": {name: sub.get("records") for name, sub in subs.items()},
        "artifacts": {name: sub.get("artifacts") for name, sub in subs.items()},
        "criteria": [one for one in content["criteria"] if one["sub_experiment"] not in timed],
    }
    if timed:
        return same
    return same | {"recommendation": content["recommendation"], "assessment": content["assessment"]}


@pytest.mark.timeout(1800)
def test_the_main_job_is_on_modal_what_it_is_here(
    main_job: tuple[Path, subprocess.CompletedProcess[str]],
    deployed_with_torch: PlaneControl,
    tmp_path: Path,
    api_url: str,
):
    """The whole programme with its first seed, in four containers: number for number, and none of the data here."""
    here, there = main_job[0], tmp_path / "there"
    done = foresight(there, "program", "--seeds", "1", "--compute", "modal", api_url=api_url)
    assert done.returncode == 0, done.stderr[-3000:]
    done = foresight(here, "program", "--seeds", "1", api_url=api_url)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Nothing to do" in done.stdout
    for experiment in implemented():
        assert measured(there, experiment) == measured(here, experiment), experiment.id
    assert verify(Home(there)) == []
    assert not (there / "features").exists()
    assert not list(there.rglob("*.npy"))
    handlers = sum(sub.implemented for experiment in implemented() for sub in experiment.sub_experiments)
    phases = len({experiment.phase for experiment in implemented()})
    # a preparation each phase, and in all one smoke test, a model each, and the handlers
    assert len(deployed_with_torch.calls()) == phases + 1 + 3 + handlers

    # what failed there can be looked at here, on the inputs that it had there
    before = measured(there, implemented()[0])
    again = ("run", "c1", "--sub-experiment", "e1_4", "--seeds", "1", "--compute", "modal", "--in-process", "--refresh")
    done = foresight(there, *again, api_url=api_url)
    assert done.returncode == 0, done.stderr[-3000:]
    assert measured(there, implemented()[0])["metrics"]["e1_4"] == before["metrics"]["e1_4"]
    assert list((there / "features").rglob("*.safetensors"))
