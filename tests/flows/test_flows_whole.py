"""The main job as a user gets it: `foresight program` on an empty home, with the shipped stand-ins and photographs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml
from PIL import Image

from foresight.home import Home
from foresight.plan.loader import load_plan
from foresight.plan.schema import Experiment
from foresight.results import document, published
from foresight.results.verify import verify

pytestmark = pytest.mark.slow


def foresight(home: Path, *arguments: str, api_url: str) -> subprocess.CompletedProcess[str]:
    import os

    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    environment |= {"FORESIGHT_HOME": str(home), "PREFECT_API_URL": api_url, "DO_NOT_TRACK": "1"}
    command = [sys.executable, "-m", "foresight", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1500)


def check(experiment: Experiment, folder: Path) -> None:
    """Everything that the plan asks of an experiment was measured, with an interval, a baseline and three seeds."""
    content = yaml.safe_load((folder / "results.yaml").read_text())
    assert document.validate(content) == []
    assert all(row.ours is not None for row in published.beside(content) if row.figure.ours)  # no name is out of date
    subs = content["results"]["experiments"]
    assert {name: sub["status"] for name, sub in subs.items()} == {
        s.id: "completed" for s in experiment.sub_experiments
    }
    assert all(sub["seeds"] == [0, 1, 2] for sub in subs.values())
    assert all(sub["finding"] and sub["metrics"] for sub in subs.values())
    assert content["stand_ins"]  # named, since nothing here is about the real models

    assert {one["name"] for one in content["criteria"]} == {criterion.name for criterion in experiment.criteria}
    for one in content["criteria"]:
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
            else:
                assert path.stat().st_size > 1000


@pytest.mark.timeout(1800)
def test_the_main_job(tmp_path: Path, api_url: str):
    done = foresight(tmp_path, "program", api_url=api_url)
    assert done.returncode == 0, done.stderr[-3000:]

    home = Home(tmp_path)
    plan = load_plan(None)
    phase_one = [experiment for experiment in plan.experiments if experiment.implemented]
    assert [experiment.short for experiment in phase_one] == ["c1", "q1", "q2"]
    for experiment in phase_one:
        check(experiment, home.results / experiment.id)
    # each model is loaded once, for all data of all experiments
    loads = [line for line in done.stderr.splitlines() if "loaded once" in line]
    assert len(loads) == 3, loads
    assert "gate_1_reconstruction" in done.stdout + done.stderr

    # the decoder from its own latents bounds what any probe can reach, the mean latent is what none may fall below
    folder = home.results / "c1-vlm-latent-sufficiency"
    content = yaml.safe_load((folder / "results.yaml").read_text())
    e1_5 = content["results"]["experiments"]["e1_5"]["metrics"]
    lpips = next(one["value"] for one in content["criteria"] if one["name"] == "lpips")
    assert e1_5["lpips_oracle"] < lpips < e1_5["mean_latent_lpips"]
    assert verify(home) == []

    again = foresight(tmp_path, "program", api_url=api_url)
    assert again.returncode == 0
    assert "Nothing to do" in again.stdout
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or [])]

    # one digit by hand, and a damaged shard: both are named, and the next run repairs the store
    results = folder / "results.yaml"
    results.write_text(results.read_text().replace("recommendation: ", "recommendation: proceed # ", 1))
    shard = next(home.features.glob("*/00000.safetensors"))
    damaged = bytearray(shard.read_bytes())
    damaged[-1] ^= 1
    shard.write_bytes(damaged)
    found = foresight(tmp_path, "results", "verify", api_url=api_url)
    assert found.returncode == 1
    named = json.loads(foresight(tmp_path, "results", "verify", "--json", api_url=api_url).stdout)
    assert {Path(problem["path"]).name for problem in named} >= {"results.yaml", shard.name}
