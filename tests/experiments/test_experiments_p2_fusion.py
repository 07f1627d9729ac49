"""Fusion on features whose content is known: what one stream alone says is read, and a frozen system stays as it is."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from planted_world import GRID_X2, GRID_X3, STAND_IN_VAE, World, finding, samples
from q2_planted import by_class, objects_and_latents

from foresight.errors import StepFailed
from foresight.experiments.p2 import e_p2_4
from foresight.experiments.p2.fusing import Fusing, require_unseen
from foresight.plan.loader import load_plan
from foresight.probes.fused_system import FusionSystem

CONFIG = {"map": 16, "system": {"hidden": 16, "epochs": 8, "patience": 8, "lr": 8e-3, "adapter": {"width": 16}}}
VAE = {"vae": STAND_IN_VAE}


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    """X7 holds the latents, X4 the objects."""
    with objects_and_latents(tmp_path_factory.mktemp("objects")) as (world, latents):
        known = np.concatenate([3 * by_class(world, GRID_X3, 4), world.noise(GRID_X3, 80)], -1)
        yield world.plant({"dino:X7": latents, "vlm:X4.last": known, "vae:X6": latents})


@pytest.fixture(scope="module")
def trained(objects):
    return objects.run("e_p2_3", config=CONFIG, models=VAE, stand_ins=True)


@pytest.fixture(scope="module")
def tried(objects, trained):
    """e_p2_4 on what e_p2_3 left."""
    return objects.run("e_p2_4", models=VAE, stand_ins=True, uses=objects.record("e_p2_3", trained))


def artifact(world: World, made, name: str):
    return next(world.home.root / one.path for one in made.artifacts if one.name == name)


def mean(made, metric: str) -> float:
    return float(np.mean(samples(made, metric).scores))


def test_e_p2_3_fuses_what_each_stream_knows(objects, trained):
    metrics = trained.metrics
    assert metrics["lpips"] < metrics["lpips_vlm_only"] - 0.1, "X4 does not know what the ground looks like"
    assert metrics["lpips"] < metrics["shuffled_tokens_lpips"] - 0.1
    assert metrics["lpips_oracle"] < metrics["lpips"]
    assert metrics["spatial_iou"] > 0.6
    assert metrics["spatial_iou"] > max(metrics["typical_boxes_iou"], metrics["other_pictures_iou"]) + 0.2
    assert "in LPIPS it is ahead of VLM only" in finding(trained)
    assert set(samples(trained, "lpips").baselines) == {"mean_latent", "shuffled_tokens", "mean_image", "blank_image"}
    assert set(samples(trained, "spatial_iou").baselines) == {"mean_box", "typical_boxes", "other_pictures"}
    assert len(samples(trained, "spatial_iou").scores) == len(objects.split().test), "a score a picture"
    assert 0 < metrics["attention_to_dino"] < 1
    assert all(math.isfinite(value) for value in metrics.values())
    assert any("DINOv2 is a stand-in" in note for note in trained.notes)


def test_e_p2_3_gives_every_arm_as_many_weights_and_the_same_pictures(objects, trained):
    table = json.loads(artifact(objects, trained, "fusion.json").read_text())
    assert table["weights"]["fused"] == table["weights"]["vlm_only"] == table["weights"]["dino_only"]
    assert len({len(table["scores"][arm]["lpips"]) for arm in ("fused", "vlm_only", "dino_only", "oracle")}) == 1
    names = {one.name for one in trained.artifacts}
    assert {"reconstruction_grid.png", "boxes.png", "attention_by_stream.png", "learning_curve.png"} <= names


def test_e_p2_4_scores_the_very_system_that_e_p2_3_left_and_trains_nothing(objects, trained, tried):
    assert objects.curves("e_p2_4") == {}
    for metric in ("lpips", "ssim", "psnr", "lpips_oracle", "spatial_iou"):
        assert samples(tried, metric).scores == samples(trained, metric).scores, metric
    assert list(tried.read) == ["e_p2_3/system.safetensors"]
    assert tried.metrics["mAP"] > tried.metrics["class_prior_ap_50"] + 0.3
    assert set(samples(tried, "mAP").baselines) == {"class_prior", "other_pictures"}
    assert tried.metrics["spatial_iou_one_object"] > 0.6
    assert "The frozen system of e_p2_3 paints" in finding(tried)


def test_e_p2_4_tables_the_scores_by_the_number_of_objects_and_beside_the_levels(objects, tried):
    table = json.loads(artifact(objects, tried, "end_to_end.json").read_text())
    rows, beside = table["by_complexity"], np.array(table["objects_in_picture"])
    assert list(rows) == ["1 object", "2 objects"]
    assert [row["pictures"] for row in rows.values()] == [(beside == 1).sum(), (beside == 2).sum()]
    iou = np.array(table["spatial_iou"]["ours"])
    assert rows["2 objects"]["spatial_iou"] == pytest.approx(iou[beside == 2].mean())
    assert rows["1 object"]["ap_50"] > 0.3
    written = artifact(objects, tried, "gate_table.md").read_text()
    assert f"| lpips | {tried.metrics['lpips']:.3f} | ≤ 0.35 | ≤ 0.25 | " in written
    assert {"reconstruction_grid.png", "detections.png", "by_complexity.png"} <= {one.name for one in tried.artifacts}


def test_the_levels_of_the_gate_table_are_those_of_the_plan():
    criteria = {one.name: one for one in load_plan().experiment("p2").criteria if one.sub_experiment == "e_p2_4"}
    assert {name: one.acceptable for name, one in criteria.items()} == e_p2_4.ACCEPTABLE
    assert {name: one.target for name, one in criteria.items()} == e_p2_4.AIM


def test_e_p2_4_reads_nothing_where_the_tokens_say_nothing(objects):
    """A frozen system is no better than what it was given."""
    kept, quick = dict(objects.needs), {"map": 16, "system": {"hidden": 8, "epochs": 1, "adapter": {"width": 8}}}
    noise = {"dino:X7": objects.noise(GRID_X2, 8), "vlm:X4.last": objects.noise(GRID_X3, 20)}
    try:
        needs = {"vae:X6": kept["planted/vae:X6"]}
        objects.plant(noise)
        objects.needs |= {f"planted/{need}": fingerprint for need, fingerprint in needs.items()}
        uses = objects.record("e_p2_3", objects.run("e_p2_3", config=quick, models=VAE))
        made = objects.run("e_p2_4", models=VAE, uses=uses)
    finally:
        objects.needs = kept
    assert made.metrics["lpips"] > made.metrics["mean_latent_lpips"] - 0.05
    assert made.metrics["spatial_iou"] < made.metrics["typical_boxes_iou"] + 0.08
    assert made.metrics["mAP"] < 0.1
    assert "not acceptable: spatial_iou, lpips, mAP" in finding(made)


def test_a_system_is_not_scored_on_what_it_has_seen(objects, trained):
    path = artifact(objects, trained, "system.safetensors")
    _, about = FusionSystem.load(path)
    seen = {objects.dataset.groups[i] for i in [*objects.split().train, *objects.split().val]}
    assert set(about["sources"]) == seen
    fusing = Fusing.__new__(Fusing)
    fusing.dataset, fusing.groups = objects.dataset, [objects.dataset.groups[i] for i in objects.split().test]
    require_unseen(about, fusing)
    with pytest.raises(StepFailed, match="trained on 1 of the sources that it is to be scored on"):
        require_unseen({**about, "sources": [*about["sources"], fusing.groups[0]]}, fusing)
    with pytest.raises(StepFailed, match="trained on another data set"):
        require_unseen({**about, "data_sha256": "0" * 64}, fusing)
    with pytest.raises(StepFailed, match="would be a score on training data"):  # another seed, another split
        objects.run("e_p2_4", seed=1, models=VAE, uses=objects.record("e_p2_3", trained))
