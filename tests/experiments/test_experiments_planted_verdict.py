"""Planted through the feature store, out through the verdict: real plan, planner, run_call, handler, assessment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from foresight.compute import planner
from foresight.compute.executors import EXECUTORS
from foresight.compute.request import RunRequest, resolve
from foresight.compute.run_step import run_call, steps_to_json
from foresight.compute.tracking import Tracker
from foresight.data.dataset import prepare
from foresight.home import Home
from foresight.models.download import make_available

PLANTING = {**EXECUTORS, "extract": "planted_extraction:execute_many"}


def verdict_of(planted: str, home: Home, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the criterion spatial_iou, the whole document) of e1_4 in the tiny profile on planted features."""
    monkeypatch.setenv("PLANTED", planted)
    job = resolve(RunRequest(("c1",), ("e1_4",), seeds=1))
    for spec in planner.model_specs(job).values():
        make_available(spec, home, forward=False)
    for spec in planner.data_specs(job).values():
        prepare(spec, home)
    plan = planner.plan_steps(job, home, "planted")
    tracker = Tracker(home, job, "planted")
    tracker.begin(plan)
    by_fingerprint = {step.fingerprint: step for step in plan.steps}
    for index, call in enumerate(plan.calls()):
        for outcome in run_call(steps_to_json(call), home, f"call-{index}", "planted", executors=PLANTING):
            assert outcome.status == "completed", outcome.error
            tracker.step_ended(by_fingerprint[outcome.fingerprint], None)
    tracker.finish("completed")
    document = tracker.documents()["c1-vlm-latent-sufficiency"]
    return next(one for one in document["criteria"] if one["name"] == "spatial_iou"), document


def test_features_that_hold_the_answer_meet_the_criterion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    criterion, document = verdict_of("oracle", Home(tmp_path), monkeypatch)
    assert criterion["value"] > 0.9
    assert criterion["verdict"] == "met"
    # and still nothing is claimed of what this run did not measure
    assert document["assessment"]["lpips_achieved"] is None
    assert document["assessment"]["success_criteria_met"] is False
    assert document["recommendation"] == "pending"


def test_noise_does_no_better_than_its_baselines_and_is_not_met(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    criterion, document = verdict_of("noise", Home(tmp_path), monkeypatch)
    assert criterion["verdict"] == "not met"
    assert criterion["value"] < criterion["baseline"]["value"] + 0.05
    assert document["assessment"]["success_criteria_met"] is False
    assert document["recommendation"] != "proceed"
