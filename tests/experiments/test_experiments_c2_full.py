"""C2 under the profiles of the full models: their data, recipes and sizes in proportion, on other weights and grids."""

from __future__ import annotations

import math

import pytest
from full_profiles import FEWER, FullRun, run_full
from raw_folders import fake_ssv2

from foresight.plan.loader import load_plan, load_profile

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def looks_whole(profile: str, run: FullRun) -> None:
    subs = load_plan().experiment("c2").sub_experiments
    assert sorted(run.records) == [sub.id for sub in subs if sub.implemented]
    for sub, record in run.records.items():
        assert record.finding_template.format(**record.metrics), sub
        assert all(math.isfinite(value) for value in record.metrics.values()), sub
        assert not any("tand-in" in note for note in record.notes), "no stand-in plays here"
        assert any(one.name.endswith(".png") for one in record.artifacts), sub
        assert all(entry.baselines for entry in record.samples), sub
    final, asked = run.records["e2_4"], load_profile(profile).for_sub_experiment("e2_4").parameters
    for arm in ("small", "large"):
        assert final.metrics[f"weights_{arm}"] == pytest.approx(asked[arm] / FEWER, rel=0.1)
    assert ("param_efficiency" in final.metrics) != ("param_efficiency" in final.not_measured)


def test_repro(tmp_path, monkeypatch):
    looks_whole("repro", run_full("repro", "c2", tmp_path, monkeypatch, items=24))


def test_real_on_something_something(tmp_path, monkeypatch):
    raw = tmp_path / "raw"
    fake_ssv2(raw / "ssv2", n_train=18, n_validation=6, seconds=0.5)
    looks_whole("real", run_full("real", "c2", tmp_path, monkeypatch, items=24, raw=raw))
