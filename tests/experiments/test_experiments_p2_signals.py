"""P2's handlers on features whose content is known: what is there is found, what is not there is not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from planted_world import GRID_X2, GRID_X3, STAND_IN_VAE, World, finding, samples
from q2_planted import RECIPE, by_class, covered

from foresight.data.dataset import DataSpec, prepare
from foresight.data.recipes import RECIPES
from foresight.experiments.p2 import e_p2_1
from foresight.home import Home
from foresight.probes.boxes import covered_part

GRID_X7 = GRID_X2  # four tokens of 8 x 8 px in the place of one of X3's
HEADS = {
    "map": 16,
    "head": {"epochs": 8},
    "detector": {"kind": "dense", "epochs": 8},
}
QUICK = {"map": 16, "head": {"epochs": 4}, "detector": {"kind": "dense", "epochs": 1}}


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    """96 pictures of one or two objects, two of each of 48 sources."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, "planted_objects", RECIPE)
        home = Home(tmp_path_factory.mktemp("objects"))
        spec = DataSpec(name="planted", recipe="planted_objects", parameters={"side": 64, "n": 96})
        yield World(home, prepare(spec, home))


def knows(world: World, grid: tuple[int, int], parts: int) -> np.ndarray:
    """Tokens that say where the objects are, and of what class; their width is no other's."""
    return np.concatenate([covered(world, grid, parts), 3 * by_class(world, grid, parts), world.noise(grid, 3)], -1)


# ---------------------------------------------------------------------- e_p2_1


def test_e_p2_1_says_go_where_dino_knows_and_x3_does_not(objects):
    objects.plant({"dino:X7": knows(objects, GRID_X7, 2), "vlm:X3": objects.noise(GRID_X3, 20)})
    made = objects.run("e_p2_1", config=HEADS, stand_ins=True)
    arms = {"bbox_iou", "bbox_iou_x3_own", "bbox_iou_x7", "bbox_iou_x3", "mAP", "mAP_x3_own", "mAP_x7", "mAP_x3"}
    assert objects.trained("e_p2_1") == {*arms, "permuted"}
    assert arms < made.metrics.keys()
    assert made.metrics["bbox_iou"] > 0.8
    assert made.metrics["mAP"] > 0.7
    for nothing in ("bbox_iou_x3", "bbox_iou_x3_own"):
        assert made.metrics[nothing] < made.metrics["typical_boxes_iou"] + 0.1
    for nothing in ("mAP_x3", "mAP_x3_own"):
        assert made.metrics[nothing] < made.metrics["class_prior_ap_50"] + 0.15
    assert made.metrics["go"] == 1
    said = finding(made)
    assert said.startswith("Go: ")
    assert "At one width X7 is ahead of X3 in boxes" in said
    assert "and ahead of it in detection" in said
    assert made.metrics["common_width"] == 20, "what X3 has; four tokens of X7 have more"
    # objects and sources are scored, beside what needs no features
    iou = samples(made, "bbox_iou")
    assert set(iou.baselines) == {"mean_box", "typical_boxes", "permuted_boxes"}
    assert len(iou.groups) > len(set(iou.groups)) > 10
    assert set(samples(made, "mAP").baselines) == {"class_prior", "other_pictures"}
    tested = objects.split().test
    alone = [item for item in tested if len(objects.dataset.manifest.items[item].labels["boxes"]) == 1]
    assert len(samples(made, "bbox_iou_one_object").scores) == len(alone) < len(tested)
    assert made.metrics["centre_error"] < 0.05 < np.mean(samples(made, "centre_error").baselines["typical_boxes"])
    assert sum("stand-in" in note for note in made.notes) == 2
    pictures = {one.name for one in made.artifacts}
    assert {"boxes.png", "boxes_by_number.png", "detections.png", "patch_features.png", "boxes.json"} <= pictures
    assert all(math.isfinite(value) for value in made.metrics.values())


def test_e_p2_1_says_no_go_where_dino_knows_nothing(objects):
    objects.plant({"dino:X7": objects.noise(GRID_X7, 14), "vlm:X3": knows(objects, GRID_X3, 4)})
    made = objects.run("e_p2_1", config=QUICK)
    assert made.metrics["bbox_iou_x3_own"] > 0.75, "the same head finds on X3 what is there"
    assert made.metrics["go"] == 0
    said = finding(made)
    assert said.startswith("No go: ")
    assert "not ahead of what needs no features" in said
    assert "At one width X7 is behind X3 in boxes" in said


def test_e_p2_1_goes_by_the_level_and_not_by_the_difference_alone(objects, monkeypatch):
    monkeypatch.setattr(e_p2_1, "GO", 0.999)
    objects.plant({"dino:X7": knows(objects, GRID_X7, 2), "vlm:X3": objects.noise(GRID_X3, 20)})
    made = objects.run("e_p2_1", config=QUICK)
    assert made.metrics["go"] == 0
    assert "No go: " in finding(made)
    assert ", not over 0.999 (" in finding(made)


# ---------------------------------------------------------------------- e_p2_2

PAINTER = {"adapter": {"width": 16, "epochs": 2}, "head": {"epochs": 30}}


def encoded(world: World) -> np.ndarray:
    """X6 of the pictures by the shipped stand-in, [N, 8, 12, C]."""
    from foresight.models import loading
    from foresight.models.identity import ModelSpec, locate

    spec = ModelSpec.from_json(STAND_IN_VAE)
    return loading.load(spec, locate(spec, world.home)).encode(np.asarray(world.dataset.images))


@pytest.fixture(scope="module")
def latents(world):
    return encoded(world)


def place(world: World) -> np.ndarray:
    """[N, 8, 12, 1]: how much of each token's cell the one object covers."""
    return covered_part(world.dataset.labels("box"), GRID_X7)[..., None].astype(np.float32)


def test_e_p2_2_needs_no_fusion_where_dino_knows_looks_and_places(world, latents):
    world.plant({"dino:X7": np.concatenate([latents, place(world)], -1), "vae:X6": latents})
    config = {**PAINTER, "sizes": {"small": {"width": 8}, "large": {"width": 32, "depth": 2}}}
    made = world.run("e_p2_2", config=config, models={"vae": STAND_IN_VAE}, stand_ins=True)
    adapters = {"adapter", "adapter_small", "adapter_large"}
    assert world.trained("e_p2_2") == adapters | {"box_head", "permuted_0", "permuted_1", "permuted_2"}
    assert made.metrics["fusion_needed"] == 0
    assert finding(made).startswith("Fusion is not needed (")
    assert "by the LTX-VAE decoder" in finding(made)
    assert made.metrics["lpips"] == pytest.approx(made.metrics["lpips_oracle"], abs=0.05)
    assert made.metrics["edge_f1"] == pytest.approx(made.metrics["edge_f1_oracle"], abs=0.1)
    assert made.metrics["box_iou"] > 0.8
    lpips = samples(made, "lpips")
    assert set(lpips.baselines) == {"mean_latent", "shuffled_tokens", "mean_image", "blank_image"}
    assert min(np.mean(baseline) for baseline in lpips.baselines.values()) > made.metrics["lpips"] + 0.1
    assert set(samples(made, "edge_f1").baselines) == {*lpips.baselines, "random_picture"}
    boxes = samples(made, "box_iou").baselines
    assert set(boxes) == {"mean_box", "best_box", "permuted_boxes"}
    assert np.mean(boxes["permuted_boxes"]) < np.mean(boxes["best_box"]) + 0.05, "there was nothing to learn"
    # the other sizes stand beside it
    assert made.metrics["weights_small"] < made.metrics["weights"] < made.metrics["weights_large"]
    assert samples(made, "lpips_small").baselines == samples(made, "lpips_large").baselines == lpips.baselines
    made_of = {one.name for one in made.artifacts}
    assert {"reconstruction_grid.png", "edges.png", "boxes.png", "sizes.png", "adapter.safetensors"} <= made_of
    assert all(math.isfinite(value) for value in made.metrics.values())


def test_e_p2_2_says_what_dino_lacks(world, latents):
    world.plant({"dino:X7": world.noise(GRID_X7, 24), "vae:X6": latents})
    made = world.run("e_p2_2", config=PAINTER, models={"vae": STAND_IN_VAE})
    assert made.metrics["fusion_needed"] == 1
    assert finding(made).startswith("DINOv2 alone does not do, neither is reached (")
    lpips = samples(made, "lpips")
    assert made.metrics["lpips"] > min(np.mean(baseline) for baseline in lpips.baselines.values()) - 0.02
    assert made.metrics["box_iou"] < made.metrics["best_box_iou"] + 0.1
    assert "sizes.png" not in {one.name for one in made.artifacts}

    world.plant({"dino:X7": np.concatenate([place(world), world.noise(GRID_X7, 5)], -1), "vae:X6": latents})
    made = world.run("e_p2_2", config=PAINTER, models={"vae": STAND_IN_VAE})
    assert made.metrics["fusion_needed"] == 1
    assert "does not do, looks suffer (" in finding(made)


def test_e_p2_2_decides_nothing_where_no_box_is_known(objects):
    latents = encoded(objects)
    objects.plant({"dino:X7": latents, "vae:X6": latents})
    made = objects.run("e_p2_2", config=PAINTER, models={"vae": STAND_IN_VAE})
    assert made.metrics["lpips"] < 0.3
    assert "fusion_needed" not in made.metrics
    assert "not decided, since no box is known" in finding(made)
    assert any("box_iou was not measured" in note for note in made.notes)
