"""Q1 under the profiles of the full models: their layers, data, splits and shapes, on other weights and fewer items."""

from __future__ import annotations

import math

import pytest
from full_profiles import FullRun, run_full
from raw_folders import fake_ssv2

from foresight.plan.loader import load_profile

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]  # 15 s of CPU each: real extraction, all of Q1
SUBS = [f"eq1_{number}" for number in range(1, 8)]


def looks_whole(run: FullRun) -> None:
    assert sorted(run.records) == SUBS
    for sub, record in run.records.items():
        assert record.finding_template, sub
        assert all(math.isfinite(value) for value in record.metrics.values()), sub
        assert not any("language model is random" in note for note in record.notes), "no stand-in plays here"
    for criterion in run.document["criteria"]:
        assert criterion["value"] is not None, criterion["name"]
        assert criterion["baseline"] is not None, criterion["name"]
        assert criterion["interval"]["low"] <= criterion["value"] <= criterion["interval"]["high"]


def test_repro(tmp_path, monkeypatch):
    run = run_full("repro", "q1", tmp_path, monkeypatch, items=90)
    looks_whole(run)
    needs = load_profile("repro").sub_experiments["eq1_7"].needs
    points = [need.split(":")[1].lower().replace(".", "_") for need in needs if need.startswith("vlm")]
    measured = run.records["eq1_7"].metrics
    assert {f"cka_{point}_channel_mean" for point in points} <= measured.keys(), "every layer that the profile names"
    assert {f"silhouette_score_x4_{layer}" for layer in (8, 16, 24)} <= run.records["eq1_1"].metrics.keys()
    assert run.records["eq1_6"].metrics["uniform_recall_at_10"] == pytest.approx(10 / 74), "450 of 540 are held out"


def test_real_on_something_something(tmp_path, monkeypatch):
    """Its pictures have no category but the template of their label: that stands in, and it is said."""
    fake_ssv2(tmp_path / "raw" / "ssv2", n_train=42, n_validation=14, seconds=0.5)
    run = run_full("real", "q1", tmp_path, monkeypatch, items=56, raw=tmp_path / "raw")
    looks_whole(run)
    assert any("template stands in" in note for note in run.records["eq1_5"].notes)
    assert "same template" in run.records["eq1_6"].finding_template
    assert len({group for entry in run.records["eq1_7"].samples for group in entry.groups}) == 14, "official validation"
