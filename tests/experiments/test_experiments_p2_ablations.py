"""The fusion's ablations on features of known content: what matters is found, and nothing is claimed of noise."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from planted_world import GRID_X3, STAND_IN_VAE, World, finding, samples
from q2_planted import by_class, objects_and_latents

from foresight.errors import UserError
from foresight.experiments.p2 import e_p2_5
from foresight.metrics.statistics import Insufficient, Interval
from foresight.probes.strategies import STRATEGIES

VAE = {"vae": STAND_IN_VAE}
CONFIG = {
    "width": 40,
    "map": 16,
    "layers": [1, 2, 3],
    "queries": [2, 4, 8],
    "shares": [0.1, 0.5, 0.7],
    "system": {"hidden": 16, "epochs": 2, "batch_size": 16, "lr": 5e-3, "adapter": {"width": 16}},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """X7 holds the latents, X4.last and X4.2 the objects, X4.1 nothing."""
    with objects_and_latents(tmp_path_factory.mktemp("objects")) as (world, latents):
        known = np.concatenate([3 * by_class(world, GRID_X3, 4), world.noise(GRID_X3, 80)], -1)
        world.plant(
            {
                "dino:X7": latents,
                "vlm:X4.1": world.noise(GRID_X3, known.shape[-1], seed=4),
                "vlm:X4.2": known,
                "vlm:X4.last": known,
                "vae:X6": latents,
            }
        )
        yield world, world.run("e_p2_5", config=CONFIG, models=VAE, stand_ins=True)


@pytest.fixture
def world(made) -> World:
    return made[0]


@pytest.fixture
def table(made) -> dict:
    world, output = made
    return json.loads(
        next(world.home.root / one.path for one in output.artifacts if one.name.endswith("json")).read_text()
    )


def test_what_matters_is_found_and_what_does_not_is_not(made):
    _, output = made
    metrics, said = output.metrics, finding(output)
    assert metrics["spatial_iou_vlm_layer_x4_1"] < metrics["spatial_iou"] - 0.15, (
        "only X4.last and X4.2 know of objects"
    )
    assert f"vlm_layer: X4.1 behind in box IoU ({metrics['spatial_iou_vlm_layer_x4_1']:.3f})" in said
    assert metrics["lpips_share_0_1"] > metrics["lpips"] + 0.05, "of eight axes of X7 hardly a picture can be painted"
    assert "share: 0.1 behind in LPIPS (" in said
    assert "strategy: none; layers: none; queries: none; " in said
    assert "Fewest that are not so far behind: layers 1, queries 2. 22 comparisons at 95 %." in said
    assert said.startswith("The base (cross_attention, layers 1, X4.last, half of 80 channels each) paints at ")


def test_equal_arms_are_trained_once_and_equal_streams_score_the_same(made):
    world, output = made
    metrics = output.metrics
    assert len(world.trained("e_p2_5")) == 12
    assert metrics["lpips_strategy_perceiver"] == metrics["lpips_queries_4"]
    assert metrics["spatial_iou_vlm_layer_x4_2"] == metrics["spatial_iou"], "the same tokens under another name"
    assert "lpips_layers_1" not in metrics, "that is the base"


def test_every_arm_is_scored_on_the_same_pictures_beside_the_base(made):
    world, output = made
    assert all(math.isfinite(value) for value in output.metrics.values())
    tested = [world.dataset.groups[i] for i in world.split().test]
    for entry in output.samples:
        assert entry.groups == tested
        alone = entry.metric in ("lpips", "spatial_iou")
        assert ("base" in entry.baselines) != alone
        if not alone:
            of = "lpips" if entry.metric.startswith("lpips") else "spatial_iou"
            assert entry.baselines["base"] == samples(output, of).scores
    assert set(samples(output, "lpips").baselines) == {"mean_latent", "mean_image"}
    assert {"mean_box", "typical_boxes", "other_pictures"} < set(samples(output, "spatial_iou_layers_2").baselines)
    assert output.metrics["lpips"] < output.metrics["mean_latent_lpips"] - 0.1
    assert output.metrics["spatial_iou"] > output.metrics["typical_boxes_spatial_iou"] + 0.1


def test_the_table_has_three_values_on_each_axis_with_weights_and_intervals(table):
    base = table.pop("base")
    assert [row["value"] for row in table["strategy"]] == list(STRATEGIES)
    assert {axis: len(rows) for axis, rows in table.items()} == {
        "strategy": 4, "layers": 3, "queries": 3, "vlm_layer": 3, "share": 3
    }  # fmt: skip
    assert [row["widths"] for row in table["share"]] == [[8, 72], [40, 40], [56, 24]]
    for axis in ("vlm_layer", "share"):
        assert {row["by_part"]["encoder"] for row in table[axis]} == {base["by_part"]["encoder"]}, "no size decides"
    layers = [row["weights"] for row in table["layers"]]
    assert base["weights"] == layers[0] < layers[1] < layers[2]
    for axis, rows in table.items():
        changed = [row for row in rows if row["better_than_base_by"]]
        assert len(rows) - len(changed) == (axis != "queries"), "each axis but that of the perceiver has the base on it"
        for row in changed:
            for score in ("lpips", "spatial_iou"):
                found = row["better_than_base_by"][score]
                assert found["low"] <= found["estimate"] <= found["high"]
                better = base[score] - row[score] if score == "lpips" else row[score] - base[score]
                assert found["estimate"] == pytest.approx(better, abs=1e-9)


def test_pictures_and_notes(made):
    _, output = made
    assert {one.name for one in output.artifacts} == {"ablations.png", "ablations.json"}
    assert any("size of DINOv2 was not varied" in note for note in output.notes)
    assert sum("is a stand-in" in note for note in output.notes) == 2


def test_no_difference_is_claimed_that_its_interval_does_not_bear_out():
    def found(low: float, high: float) -> Interval:
        return Interval((low + high) / 2, low, high, 20, 1, "")

    assert e_p2_5._stand("lpips", found(0.011, 0.03)) == "ahead"
    assert e_p2_5._stand("lpips", found(0.009, 0.5)) == ""
    assert e_p2_5._stand("lpips", found(-0.03, -0.011)) == "behind"
    assert e_p2_5._stand("spatial_iou", found(-0.3, 0.0)) == ""
    assert e_p2_5._stand("spatial_iou", Insufficient("2 test sources, 10 needed", 2, 1)) == ""


def test_the_fewest_layers_are_those_that_are_not_behind():
    one, two, three = (e_p2_5.Arm("cross_attention", n, None, "vlm:X4.last", (4, 4)) for n in (1, 2, 3))
    values = {1: one, 2: two, 3: three}  # 3 is the base
    assert e_p2_5._fewest(values, {one: {"lpips": "behind"}, two: {"lpips": "", "spatial_iou": "ahead"}}) == 2
    assert e_p2_5._fewest(values, {one: {"lpips": "behind"}, two: {"lpips": "ahead", "spatial_iou": "behind"}}) == 3
    assert e_p2_5._fewest({1: one}, {one: {"lpips": "behind"}}) == "none"


def test_too_few_sources_tell_nothing_apart():
    few = Insufficient("2 test sources, 10 needed", 2, 1)
    base, other = (e_p2_5.Arm("cross_attention", n, None, "vlm:X4.last", (4, 4)) for n in (1, 2))
    said = e_p2_5._sentence({"layers": {1: base, 2: other}}, base, {other: {"lpips": few, "spatial_iou": few}})
    assert said.endswith("too few sources are held out to tell another system from it.")


@pytest.mark.parametrize("axis", ["layers", "queries", "shares"])
def test_an_axis_with_fewer_than_three_values_is_refused(world, axis):
    named = axis.removesuffix("s") if axis == "shares" else axis
    with pytest.raises(UserError, match=f"e_p2_5 needs 3 values of {named} and the profile gives"):
        world.run("e_p2_5", config={**CONFIG, axis: CONFIG[axis][:2]}, models=VAE)


def test_no_stream_is_wider_than_what_there_is():
    config = {**CONFIG, "width": 10_000, "shares": [0.1, 0.5, 0.9]}
    needs = ("dino:X7", "vlm:X4.1", "vlm:X4.2", "vlm:X4.last")
    reading = SimpleNamespace(room=lambda *_: 101)
    runner = SimpleNamespace(config=config, needs=needs)
    _, axes = e_p2_5._axes(runner, SimpleNamespace(grid=GRID_X3, reading=reading))
    assert [arm.widths for arm in axes["share"].values()] == [(11, 101), (56, 56), (101, 11)]
