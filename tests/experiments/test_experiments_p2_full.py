"""P2 under the profiles of the full models: their points, heads, data, splits and shapes, on other weights."""

from __future__ import annotations

import math

import pytest
from full_profiles import FullRun, run_full
from raw_folders import fake_coco

from foresight.plan.loader import load_plan

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def looks_whole(run: FullRun) -> None:
    subs = load_plan().experiment("p2").sub_experiments
    assert sorted(run.records) == [sub.id for sub in subs if sub.implemented]
    for sub, record in run.records.items():
        assert record.finding_template.format(**record.metrics), sub
        assert all(math.isfinite(value) for value in record.metrics.values()), sub
        assert not any("stand-in" in note for note in record.notes), "no stand-in plays here"
        assert any(one.name.endswith(".png") for one in record.artifacts), sub
        assert all(entry.baselines for entry in record.samples), sub
    heads = run.records["e_p2_1"].metrics
    assert (heads["width_x7"], heads["width_x3"], heads["common_width"]) == (40, 48, 48), "four tokens of X7 have 160"
    assert heads["tokens_x7"] == 4 * heads["tokens_x3"] == 16 * 32
    for criterion in run.document["criteria"]:
        if criterion["sub_experiment"] not in run.records:
            assert criterion["verdict"] == "not measured", "a box overlap of e_p2_1 is no verdict on the fused system"


def test_repro(tmp_path, monkeypatch):
    looks_whole(run_full("repro", "p2", tmp_path, monkeypatch, items=44, side=224))


def test_real_on_coco(tmp_path, monkeypatch):
    raw = tmp_path / "raw"
    fake_coco(raw / "coco", n=44, several=True)
    looks_whole(run_full("real", "p2", tmp_path, monkeypatch, items=40, side=224, raw=raw))
