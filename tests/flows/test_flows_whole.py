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
from foresight.results import document, published
from foresight.results.verify import verify

pytestmark = pytest.mark.slow


def foresight(home: Path, *arguments: str, api_url: str) -> subprocess.CompletedProcess[str]:
    import os

    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    environment |= {"FORESIGHT_HOME": str(home), "PREFECT_API_URL": api_url, "DO_NOT_TRACK": "1"}
    command = [sys.executable, "-m", "foresight", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)


@pytest.mark.timeout(1200)
def test_the_main_job(tmp_path: Path, api_url: str):
    done = foresight(tmp_path, "program", api_url=api_url)
    assert done.returncode == 0, done.stderr[-3000:]

    home = Home(tmp_path)
    folder = home.results / "c1-vlm-latent-sufficiency"
    content = yaml.safe_load((folder / "results.yaml").read_text())
    assert document.validate(content) == []
    assert all(row.ours is not None for row in published.beside(content) if row.figure.ours)  # no name is out of date
    subs = content["results"]["experiments"]
    assert {name: sub["status"] for name, sub in subs.items()} == {f"e1_{i}": "completed" for i in range(1, 7)}
    assert {sub_id: sub["seeds"] for sub_id, sub in subs.items()} == {f"e1_{i}": [0, 1, 2] for i in range(1, 7)}
    assert all(sub["finding"] and sub["metrics"] for sub in subs.values())
    assert len(content["stand_ins"]) == 2  # named, since nothing here is about the real models

    criteria = {one["name"]: one for one in content["criteria"]}
    assert set(criteria) == {"lpips", "ssim", "psnr", "spatial_iou"}
    for one in criteria.values():
        assert one["verdict"] in ("met", "marginal", "not met")
        assert one["interval"]["low"] <= one["value"] <= one["interval"]["high"]
        assert one["baseline"] is not None
        assert one["n"] >= 10
        assert one["seeds"] == 3
    # the decoder from its own latents bounds what any probe can reach, the mean latent is what none may fall below
    e1_5 = subs["e1_5"]["metrics"]
    oracle, blind = e1_5["lpips_oracle"], e1_5["mean_latent_lpips"]
    assert oracle < criteria["lpips"]["value"] < blind

    pictures = [folder / path for sub in subs.values() for path in sub["artifacts"]]
    assert len(pictures) >= 18
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
