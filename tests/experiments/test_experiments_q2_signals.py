"""Q2's handlers on features whose content is known: what is there is found, what is not there is not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from planted_world import GRID_X2, GRID_X3, World, finding, samples
from q2_planted import RECIPE, by_class, covered, places

from foresight.data.dataset import DataSpec, prepare
from foresight.data.recipes import RECIPES
from foresight.errors import DataLeak, StepFailed, UserError
from foresight.experiments.q2 import e_q2_2
from foresight.home import Home

BOXES = {"map": 16, "head": {"epochs": 20, "patience": 20}}
QUICK = {"map": 8, "head": {"epochs": 2}}
DETECTOR = {"map": 16, "head": {"kind": "dense", "epochs": 12, "patience": 12}}
PARTS = 4  # that X3's tokens are asked about; X2's have half as many


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    """96 pictures of one or two objects, two of each of 48 sources."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, "planted_objects", RECIPE)
        yield world_of(Home(tmp_path_factory.mktemp("objects")), 96)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """480 of them: 284 pairs of objects to learn four relations from, in some forty features."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, "planted_objects", RECIPE)
        yield world_of(Home(tmp_path_factory.mktemp("many")), 480)


def world_of(home: Home, n: int) -> World:
    spec = DataSpec(name="planted", recipe="planted_objects", parameters={"side": 64, "n": n})
    return World(home, prepare(spec, home))


def knows(world: World, grid: tuple[int, int], parts: int, noise: int) -> np.ndarray:
    return np.concatenate([covered(world, grid, parts), world.noise(grid, noise)], -1)


def mean(made, metric: str) -> float:
    return float(np.mean(samples(made, metric).scores))


def test_e_q2_1_reads_boxes_positions_and_classes_that_are_there(many):
    says = [covered(many, GRID_X2, 2), by_class(many, GRID_X2), places(many, GRID_X2)]
    tokens = np.concatenate([*says, many.noise(GRID_X2, 4)], -1)
    many.plant({"vlm:X2": tokens, "vlm:X3": many.noise(GRID_X3, 20)})
    made = many.run("e_q2_1", config={"map": 16, "head": {"epochs": 12, "patience": 12}}, stand_ins=True)
    assert many.trained("e_q2_1") == {"tokens", "one_width", "pooled", "pooled_linear", "permuted"}
    assert made.metrics["bbox_iou"] > 0.85
    assert made.metrics["spurious_boxes"] < 0.2, "one or two are claimed, as there are"
    assert made.metrics["position_accuracy"] > 0.85
    assert made.metrics["permuted_position_accuracy"] < 0.4
    assert made.metrics["bbox_iou_one_width"] > 0.7, "as one token of each four"
    assert made.metrics["patch_accuracy"] > 0.9
    assert made.metrics["tokens"] == 96
    assert "is excellent (moderate: over 0.5, good: over 0.7, excellent: over 0.8; " in finding(made)
    # beside what needs no features, and a mean token, which cannot say where
    iou = samples(made, "bbox_iou")
    assert set(iou.baselines) == {"mean_box", "typical_boxes", "permuted_boxes"}
    assert max(np.mean(scores) for scores in iou.baselines.values()) < 0.5
    assert made.metrics["bbox_iou_pooled_linear"] < 0.6
    assert np.mean(samples(made, "patch_accuracy").baselines["permuted_labels"]) < 0.65
    assert len(iou.groups) > len(set(iou.groups)), "objects are scored, sources are counted"


def test_e_q2_1_says_so_where_nothing_can_be_read(objects):
    objects.plant({"vlm:X2": objects.noise(GRID_X2, 16), "vlm:X3": objects.noise(GRID_X3, 20)})
    made = objects.run("e_q2_1", config=QUICK)
    assert made.metrics["bbox_iou"] < made.metrics["typical_boxes_iou"] + 0.08
    assert made.metrics["position_accuracy"] < 0.5, "a constant would have said 1"
    assert made.metrics["patch_accuracy"] < 0.65
    assert "insufficient" in finding(made)


@pytest.mark.parametrize(
    ("pre", "post"),
    [((GRID_X3, 20), (GRID_X3, 24)), ((GRID_X2, 20), (GRID_X3, 20))],
    ids=["the tokens after it", "the width after it"],
)
def test_e_q2_1_refuses_what_is_not_before_the_merge(objects, pre, post):
    """The published handler read the merged tokens, twice."""
    objects.plant({"vlm:X2": objects.noise(*pre), "vlm:X3": objects.noise(*post)})
    with pytest.raises(StepFailed, match="that is no merger between them"):
        objects.run("e_q2_1", config=QUICK)


def test_e_q2_2_measures_the_drop_that_is_there(objects):
    pre = knows(objects, GRID_X2, 2, 4)
    coarse = np.concatenate([covered(objects, GRID_X3, 1), objects.noise(GRID_X3, 31)], -1)
    objects.plant({"vlm:X2": pre, "vlm:X3": coarse})
    made = objects.run("e_q2_2", config=BOXES)
    assert objects.trained("e_q2_2") == {"tokens", "pre_own", "pre", "post", "pooled_linear", "permuted"}
    assert made.metrics["bbox_iou_pre_own"] > 0.8
    assert made.metrics["bbox_iou_pre"] > 0.7
    assert made.metrics["bbox_iou"] < made.metrics["bbox_iou_pre_own"] - 0.1
    assert made.metrics["iou_drop_relative"] > 0.1
    assert made.metrics["iou_drop"] == pytest.approx(made.metrics["bbox_iou_pre"] - made.metrics["bbox_iou_post"])
    assert made.metrics["common_width"] == 32, "one token a place with the width of X3, from four of 8 side by side"
    assert made.metrics["comparison_valid"] == 1
    assert "the merger takes" in finding(made)
    assert " is lost (little: under 10%, some: under 20%, much: under 30%); as they are" in finding(made)
    assert "nothing is lost" not in finding(made)


def test_e_q2_2_never_calls_a_failed_head_no_loss(objects):
    objects.plant({"vlm:X2": objects.noise(GRID_X2, 8), "vlm:X3": knows(objects, GRID_X3, PARTS, 4)})
    made = objects.run("e_q2_2", config=BOXES)
    assert made.metrics["bbox_iou"] > 0.8, "the criterion is X3's own and stands"
    assert made.metrics["comparison_valid"] == 0
    assert "Invalid comparison" in finding(made)


@pytest.mark.parametrize(
    ("pre", "post", "pre_own", "tokens", "says"),
    [
        (0.6, 0.5, 0.7, 0.6, ""),
        (0.5, 0.6, 0.6, 0.7, ""),
        (0.2, 0.5, 0.7, 0.6, "a head before the merge is no better"),
        (0.6, 0.5, 0.7, 0.1, "a head after the merge is no better"),
    ],
)
def test_e_q2_2_says_what_makes_a_drop_invalid(pre, post, pre_own, tokens, says):
    means = {"pre": pre, "post": post, "pre_own": pre_own, "tokens": tokens}
    found = e_q2_2.why_invalid(means, trivial=0.25)
    assert found.startswith(says)
    assert bool(found) == bool(says)


def test_e_q2_2_says_it_where_more_is_read_after_the_merge(objects):
    """A drop below zero is neither hidden nor an error: before the merge the boxes are drowned in what varies more."""
    loud = 3 * objects.noise(GRID_X2, 40)
    objects.plant(
        {
            "vlm:X2": np.concatenate([covered(objects, GRID_X2, 1), loud], -1),
            "vlm:X3": knows(objects, GRID_X3, PARTS, 4),
        }
    )
    made = objects.run("e_q2_2", config={**BOXES, "width": 20})
    assert made.metrics["comparison_valid"] == 1, "as they are the boxes are there before the merge, too"
    assert made.metrics["iou_drop_relative"] < -0.05
    assert made.metrics["iou_drop"] < 0
    assert "At one width more is read after the merge than before it" in finding(made)
    assert "nothing is lost" in finding(made)


def test_e_q2_3_finds_the_layer_where_boxes_are_lost(objects):
    known = knows(objects, GRID_X3, PARTS, 4)
    objects.plant({"vlm:X3": known, "vlm:X4.1": known[..., ::-1].copy(), "vlm:X4.last": objects.noise(GRID_X3, 20)})
    made = objects.run("e_q2_3", config=BOXES, stand_ins=True)
    assert objects.trained("e_q2_3") == {"x3", "x4_1", "x4_last", "permuted"}
    assert made.metrics["bbox_iou_x3"] > 0.8
    assert made.metrics["bbox_iou_x4_1"] > 0.8
    assert made.metrics["bbox_iou_x4_last"] < made.metrics["typical_boxes_iou"] + 0.1
    assert "first under 0.7 at X4.last, last at 0.7 or more at X4.1" in finding(made)
    assert {"decay.png", "by_number_of_objects.png", "layers.json"} <= {one.name for one in made.artifacts}


def test_e_q2_3_refuses_a_curve_of_one_point(objects):
    objects.plant({"vlm:X3": objects.noise(GRID_X3, 20), "vlm:X4.last": objects.noise(GRID_X3, 20)})
    with pytest.raises(UserError, match="Add needs such as"):
        objects.run("e_q2_3", config=QUICK)


def test_e_q2_4_finds_what_is_there_and_blames_the_tokens_and_not_the_head(objects):
    objects.plant(
        {
            "vlm:X2": objects.noise(GRID_X2, 12),
            "vlm:X3": np.concatenate([3 * by_class(objects, GRID_X3, 2), objects.noise(GRID_X3, 3)], -1),
            "dino:X7": np.concatenate([3 * by_class(objects, GRID_X2), objects.noise(GRID_X2, 3)], -1),
        }
    )
    made = objects.run("e_q2_4", config=DETECTOR)
    assert objects.trained("e_q2_4") == {"mAP", "mAP_x2", "mAP_x3", "mAP_x7"}
    assert made.metrics["mAP"] > 0.8
    assert made.metrics["mAP_x7"] > 0.7
    assert made.metrics["mAP_x2"] < made.metrics["class_prior_ap_50"] + 0.15
    assert "which is good (moderate: from 0.3, good: from 0.4; " in finding(made)
    scored = samples(made, "mAP")
    assert sorted(scored.groups) == sorted(set(scored.groups)), "one score a source"
    assert np.mean(scored.baselines["other_pictures"]) < 0.3
    assert set(scored.baselines) == {"class_prior", "other_pictures"}
    # no large object in this world: not measured, and not 0
    assert "ap_large" not in made.metrics
    assert any("ap_large" in note and "insufficient" in note for note in made.notes)


def test_e_q2_5_tells_kept_detail_from_lost(objects):
    objects.plant({"vlm:X3": objects.pixels(GRID_X3), "vlm:X2": objects.noise(GRID_X2, 12)})
    made = objects.run("e_q2_5", config={**QUICK, "decoder": {"epochs": 2, "hidden": 16}})
    assert objects.trained("e_q2_5") == {"decoder_x2", "decoder_x3", "boxes_x2", "boxes_x3"}
    assert made.metrics["lpips"] < 0.05
    assert made.metrics["edge_f1"] > 0.9
    assert made.metrics["gram_distance"] < 0.1
    assert "Fine detail survives in X3 tokens (looks: LPIPS under 0.3, edges: F1 over 0.6)" in finding(made)
    assert "; part: over 0.4, most: over 0.6, nearly all: over 0.8)." in finding(made)
    assert made.metrics["lpips_x2"] > 0.4
    assert made.metrics["edge_f1_x2"] < made.metrics["edge_f1"] - 0.3
    assert set(samples(made, "edge_f1").baselines) == {"mean_image", "mean_patch", "blank_image", "random_picture"}
    assert all(math.isfinite(value) for value in made.metrics.values())


def test_a_leak_stops_a_handler(objects, monkeypatch):
    """The same picture under two sources."""
    images = np.array(objects.dataset.images)
    split = objects.split()
    images[split.test[0]] = images[split.train[0]]
    objects.plant({"vlm:X2": objects.noise(GRID_X2, 8), "vlm:X3": objects.noise(GRID_X3, 20)})
    from foresight.data import dataset

    opened = dataset.Dataset(objects.dataset.manifest, objects.dataset.folder, images)
    monkeypatch.setattr(dataset, "prepare", lambda *_, **__: opened)
    with pytest.raises(DataLeak, match="A score on such a test is a score on training data"):
        objects.run("e_q2_1", config=QUICK)
