"""Q2 under the profiles of the full models: their points, heads, data, splits and shapes, on other weights."""

from __future__ import annotations

import math

import pytest
from full_profiles import FullRun, run_full
from raw_folders import fake_coco, fake_ssv2

from foresight.plan.loader import load_profile

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # 60 and 80 s of CPU: real extraction, all of Q2
SUBS = [f"e_q2_{number}" for number in range(1, 7)]


def looks_whole(run: FullRun, profile: str) -> None:
    assert sorted(run.records) == SUBS
    for sub, record in run.records.items():
        assert record.finding_template.format(**record.metrics), sub
        assert all(math.isfinite(value) for value in record.metrics.values()), sub
        assert not any("stand-in" in note for note in record.notes), "no stand-in plays here"
        assert any(one.name.endswith(".png") for one in record.artifacts), sub
    for criterion in run.document["criteria"]:
        assert criterion["value"] is not None, criterion["name"]
        assert criterion["baseline"] is not None, criterion["name"]
        assert criterion["interval"]["low"] <= criterion["value"] <= criterion["interval"]["high"]
    # every point that the profile names, once at the width that all of them have
    measured = run.records["e_q2_4"].metrics
    points = [need.split(":")[1] for need in load_profile(profile).sub_experiments["e_q2_4"].needs]
    assert {"X2", "X3", "X7"} < set(points)
    assert {f"mAP_{point.lower().replace('.', '_')}" for point in points} <= measured.keys()
    before = run.records["e_q2_1"].metrics
    assert (before["tokens"], before["width"], before["tokens_per_merged"]) == (16 * 32, 24, 4)
    merge = run.records["e_q2_2"].metrics
    assert merge["common_width"] == before["common_width"] == 48, "what X3 has: four tokens of X2 have 96"
    assert merge["bbox_iou_pre"] == pytest.approx(before["bbox_iou_one_width"]), "one number of one thing"


def test_repro(tmp_path, monkeypatch):
    run = run_full("repro", "q2", tmp_path, monkeypatch, items=56, side=224)
    looks_whole(run, "repro")
    layers = load_profile("repro").sub_experiments["e_q2_3"].needs
    names = [need.split(":")[1].lower().replace(".", "_") for need in layers]
    assert {f"bbox_iou_{name}" for name in names} <= run.records["e_q2_3"].metrics.keys()
    assert {"direction_accuracy", "speed_accuracy", "order_accuracy"} <= run.records["e_q2_6"].metrics.keys()


def test_real_on_coco_and_something_something(tmp_path, monkeypatch):
    raw = tmp_path / "raw"
    fake_coco(raw / "coco", n=44, several=True)
    fake_ssv2(raw / "ssv2", n_train=32, n_validation=16)
    run = run_full("real", "q2", tmp_path, monkeypatch, items=40, side=224, raw=raw)
    looks_whole(run, "real")
    for sub in ("e_q2_1", "e_q2_2"):
        assert {"position_accuracy", "patch_accuracy"} <= run.records[sub].metrics.keys(), "pairs and tokens of objects"
    assert "speed_accuracy" not in run.records["e_q2_6"].metrics, "its labels do not tell the speed"
