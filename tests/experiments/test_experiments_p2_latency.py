"""e_p2_6 with models that take as long as a test says, on a clock that they move."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from foresight.experiments.p2 import e_p2_6
from foresight.metrics.latency import in_turn
from foresight.plan.loader import load_plan_and_profile
from foresight.runner import ExperimentRunner

CONFIG = {"pictures": 12, "rounds": 3, "warm_up": 1, "dtype": {"vlm": "bfloat16", "dino": "float32", "vae": "float32"}}
MS = 1e-3


@pytest.fixture
def measured(world, monkeypatch):
    """A function that runs the handler where the VLM, DINOv2, the fusion and the decoder take so many milliseconds."""

    def run(*, vlm, dino, fusion, decoder):
        now = [0.0]

        def takes(ms, value):
            def work(*_):
                now[0] += ms * MS
                return value

            return work

        tokens, latents, picture = np.zeros((1, 2, 3, 4)), np.zeros((1, 2, 3, 8)), np.zeros((1, 64, 96, 3))
        models = {
            "vlm": SimpleNamespace(encode=takes(vlm, {"X4.last": tokens})),
            "dino": SimpleNamespace(encode=takes(dino, tokens)),
            "vae": SimpleNamespace(decode=takes(decoder, picture)),
        }
        system = SimpleNamespace(alike=lambda a, b: (a, b), read=takes(fusion, SimpleNamespace(latents=latents)))
        monkeypatch.setattr(ExperimentRunner, "model", lambda runner, role, dtype: models[role])
        monkeypatch.setattr(ExperimentRunner, "artifact", lambda runner, sub, name: (sub, name))
        monkeypatch.setattr(e_p2_6, "FusionSystem", SimpleNamespace(load=lambda path, device: (system, {})))
        monkeypatch.setattr(e_p2_6, "in_turn", partial(in_turn, clock=lambda: now[0]))
        return world.run("e_p2_6", config=CONFIG)

    return run


def test_what_the_second_encoder_costs_over_the_path_without_it(measured):
    made = measured(vlm=10, dino=2, fusion=1, decoder=5)
    assert made.metrics["latency_overhead"] == pytest.approx(2 / 16)
    assert made.metrics["vlm_path_ms"] == pytest.approx(16)
    assert made.metrics["hybrid_ms"] == made.metrics["hybrid_p95_ms"] == pytest.approx(18)
    assert [made.metrics[f"{stage}_ms"] for stage in ("vlm", "dinov2", "fusion", "decoder")] == pytest.approx(
        [10, 2, 1, 5]
    )
    (scores,) = made.samples
    assert (scores.metric, scores.higher_is_better, len(scores.scores)) == ("latency_overhead", False, 12)
    assert scores.baselines["second_vlm"] == pytest.approx([10 / 16] * 12)
    finding = made.finding_template.format(**made.metrics)
    assert "costs 12% over the VLM path (16 ms a picture, 18 ms with DINOv2)" in finding
    assert "which is acceptable (25%), and in all within 1500 ms" in finding
    assert any("on a GPU they are others" in note for note in made.notes)


def test_a_slow_second_encoder_is_said_to_cost_too_much(measured):
    made = measured(vlm=500, dino=1000, fusion=10, decoder=500)
    finding = made.finding_template.format(**made.metrics)
    assert "99% over the VLM path" in finding
    assert "which is beyond the acceptable (25%), and in all beyond 1500 ms" in finding


@pytest.mark.parametrize("profile", ["tiny", "repro", "real"])
def test_models_are_timed_as_they_are_used(profile):
    _, found = load_plan_and_profile(None, profile)
    timed = found.for_sub_experiment("e_p2_6").parameters["dtype"]
    assert timed == {role: found.models[role].dtype for role in ("vlm", "dino", "vae")}
