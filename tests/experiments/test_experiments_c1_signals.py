"""C1's handlers on features whose content is known: what is there is found, what is not there is not."""

from __future__ import annotations

import numpy as np
import pytest
from planted_world import GRID_X2, GRID_X3, STAND_IN_VAE, finding, samples

from foresight.errors import StepFailed, UserError
from foresight.experiments import painting
from foresight.experiments.c1 import e1_3, e1_5, e1_6
from foresight.metrics.spatial import box_iou
from foresight.probes.boxes import best_constant_box, covered_part

ADAPTER = {"adapter": {"width": 16, "epochs": 2}}
HEAD = {"head": {"epochs": 60, "patience": 20}}


def lowered(values, rng, scale):
    """`values` with noise of `scale` times their deviation."""
    return values + scale * values.std() * rng.standard_normal(values.shape)


# ---------------------------------------------------------------------- e1_1


def test_e1_1_finds_the_clusters_that_are_there(world):
    labels = world.dataset.labels("category")
    code = np.array([[3 * (label == name) for name in "abc"] for label in labels], dtype=np.float32)
    clustered = world.noise(GRID_X3, 3) + 20 * code[:, None, None]
    world.plant({"vlm:X2": world.noise(GRID_X2, 8), "vlm:X3": clustered, "vlm:X4.last": world.noise(GRID_X3, 9)})
    made = world.run("e1_1", stand_ins=True)
    assert made.metrics["silhouette_score"] > 0.8
    assert made.metrics["knn_accuracy"] == 1
    assert made.metrics["silhouette_x3_category"] == pytest.approx(made.metrics["silhouette_score"], abs=1e-6)
    for nothing in (
        "silhouette_x3_colour",
        "silhouette_x2_category",
        "silhouette_x4_last_category",
        "permuted_silhouette",
    ):
        assert abs(made.metrics[nothing]) < 0.15, nothing
    assert "cluster strongly by category (moderately: a silhouette over 0.25, strongly: over 0.5)" in finding(made)
    assert "not at all by colour" in finding(made)
    assert any("language model is random" in note for note in made.notes)
    assert {artifact.name for artifact in made.artifacts} == {
        "map_by_category.png",
        "map_by_colour.png",
        "map_by_position.png",
        "latents.json",
    }
    silhouette = samples(made, "silhouette_score")
    assert sorted(silhouette.groups) == sorted(set(world.dataset.groups)), "one score a source"
    assert np.mean(silhouette.baselines["permuted_labels"]) < 0.15


def test_e1_1_finds_places_in_single_tokens(world):
    h, w = GRID_X3
    y, x = np.meshgrid(np.arange(h) < h / 2, np.arange(w) < w / 2, indexing="ij")
    placed = world.noise(GRID_X3, 2) + 10 * np.stack([y, x], -1)
    world.plant({"vlm:X3": placed, "vlm:X4.last": world.noise(GRID_X3, 5)})
    made = world.run("e1_1")
    assert made.metrics["knn_accuracy_x3_position"] > 0.98
    assert made.metrics["knn_accuracy_x4_last_position"] < 0.4
    assert "cluster not at all by category" in finding(made)


# ---------------------------------------------------------------------- e1_2


def test_e1_2_reads_the_pixels_that_are_there(world):
    world.plant({"vlm:X2": world.noise(GRID_X2, 12), "vlm:X3": world.pixels(GRID_X3)})
    made = world.run("e1_2")
    assert made.metrics["lpips"] < 0.02
    assert made.metrics["ssim"] > 0.98
    assert made.metrics["psnr"] > 38
    assert "acceptable for reconstruction (acceptable: LPIPS under 0.35 and SSIM over 0.75, marginal: LPIPS" in finding(
        made
    )
    # noise is no better than the picture that needs no features
    x2 = samples(made, "mse_x2")
    assert np.mean(x2.scores) > 0.98 * np.mean(x2.baselines["mean_patch"])
    lpips = samples(made, "lpips_x2")
    assert np.mean(lpips.scores) > np.mean(lpips.baselines["mean_image"]) - 0.05
    assert set(lpips.baselines) == {"mean_image", "mean_patch", "blank_image"}


def test_e1_2_says_so_where_nothing_can_be_read(world):
    world.plant({"vlm:X2": world.noise(GRID_X2, 12), "vlm:X3": world.noise(GRID_X3, 20)})
    made = world.run("e1_2", config={"global_probe": {"point": "vlm:X3", "epochs": 2}})
    assert "not sufficient for reconstruction" in finding(made)
    assert made.metrics["weights_global"] == (20 + 1) * 64 * 96 * 3
    assert samples(made, "lpips_global").higher_is_better is False


# ---------------------------------------------------------------------- e1_3


def test_e1_3_measures_what_the_merger_loses(world):
    rng = np.random.default_rng(0)
    before = world.pixels(GRID_X2)
    world.plant({"vlm:X2": before, "vlm:X3": lowered(world.pixels(GRID_X3), rng, 1.0)})
    made = world.run("e1_3", config={"width": 48})
    gap = samples(made, "lpips_gap")
    assert made.metrics["valid"] == 1
    assert made.metrics["width"] == 48
    assert np.mean(gap.scores) > 0.1
    assert np.mean(gap.scores) == pytest.approx(made.metrics["lpips_post"] - made.metrics["lpips_pre"])
    assert made.metrics["boundary_error_post"] > made.metrics["boundary_error_pre"]
    assert "the merger costs" in finding(made)
    assert "(X3 under 0.1, X2 over 0.2)." in finding(made)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("post", "the probe after the merge is no better than the mean image"),
        ("better", "reads more after the merge than before it"),
    ],
)
def test_e1_3_never_calls_a_failed_probe_no_loss(world, broken, reason):
    rng = np.random.default_rng(0)
    before, after = world.pixels(GRID_X2), world.pixels(GRID_X3)
    planted = {"post": (before, world.noise(GRID_X3, 64)), "better": (lowered(before, rng, 1.0), after)}
    world.plant(dict(zip(("vlm:X2", "vlm:X3"), planted[broken], strict=True)))
    made = world.run("e1_3", config={"width": 48})
    assert made.metrics["valid"] == 0
    assert finding(made).startswith("Invalid comparison")
    assert reason in finding(made)
    assert "use X3" not in finding(made)


@pytest.mark.parametrize(
    ("pre", "post", "reason"),
    [
        ((0.9, 0.01), (0.5, 0.01), "before the merge is no better than the mean image by LPIPS"),
        ((0.4, 0.05), (0.5, 0.01), "before the merge is no better than the mean image by MSE"),
        ((0.4, 0.01), (0.5, 0.06), "after the merge is no better than the mean image by MSE"),
        ((0.5, 0.01), (0.4, 0.01), "more after the merge than before"),
        ((0.4, 0.01), (0.5, 0.01), ""),
    ],
)
def test_e1_3_says_what_makes_a_comparison_invalid(pre, post, reason):
    scores = {
        name: {"lpips": np.full(3, lpips), "mse": np.full(3, mse)}
        for name, (lpips, mse) in {"pre": pre, "post": post, "mean_image": (0.8, 0.05)}.items()
    }
    found = e1_3.why_invalid(scores, scores)
    assert reason in found
    assert bool(reason) == bool(found)


def test_e1_3_refuses_features_that_have_no_merger_between_them(world):
    world.plant({"vlm:X2": world.noise(GRID_X3, 5), "vlm:X3": world.noise(GRID_X3, 5)})
    with pytest.raises(StepFailed, match="X2 has 4x6 tokens and X3 4x6: that is no merger"):
        world.run("e1_3")


# ---------------------------------------------------------------------- e1_4


def test_e1_4_reads_the_boxes_that_are_there(world):
    covered = covered_part(world.dataset.labels("box"), GRID_X2)[..., None]
    world.plant(
        {
            "vlm:X2": world.noise(GRID_X2, 6),
            "vlm:X3": np.concatenate([covered, world.noise(GRID_X2, 6)], -1),
            "vlm:X4.last": world.noise(GRID_X3, 7),
        }
    )
    made = world.run("e1_4", config=HEAD, stand_ins=True)
    assert made.metrics["spatial_iou"] > 0.9
    assert made.metrics["centre_error"] < 0.02
    assert made.metrics["iou_over_75"] > 0.95
    assert "which is excellent (good: over 0.6, excellent: over 0.75)" in finding(made)
    iou = samples(made, "spatial_iou")
    assert np.mean(iou.baselines["mean_box"]) < 0.5
    assert np.mean(iou.baselines["permuted_boxes"]) < 0.5
    # the constant that a score has to leave behind is the best of all boxes
    boxes, split = world.dataset.labels("box"), world.split()
    best = np.tile(best_constant_box(boxes[split.train].astype(np.float32)), (len(split.test), 1))
    assert iou.baselines["best_box"] == pytest.approx(box_iou(best, boxes[split.test]), abs=1e-3)
    # nothing to be read: no better than a box that looks at nothing
    for nothing in ("x2_tokens", "x2_pooled", "x4_last_tokens", "x4_last_pooled"):
        assert made.metrics[f"spatial_iou_{nothing}"] < made.metrics["best_box_iou"] + 0.05, nothing
    # pooling loses the place even of a perfect map
    assert made.metrics["spatial_iou_x3_pooled"] < 0.6
    assert any("language model is random" in note for note in made.notes)


def test_e1_4_says_so_where_no_box_can_be_read(world):
    world.plant({"vlm:X3": world.noise(GRID_X3, 16)})
    made = world.run("e1_4", config={"head": {"epochs": 10}})
    assert made.metrics["spatial_iou"] < made.metrics["best_box_iou"] + 0.05
    assert made.metrics["best_box_iou"] > made.metrics["mean_box_iou"], "enlarged, it overlaps more"
    assert "which is insufficient" in finding(made)


# ---------------------------------------------------------------------- e1_5


@pytest.fixture(scope="module")
def latents(world):
    """X6 of the pictures by the shipped stand-in, [N, 8, 12, C]."""
    from foresight.models import loading
    from foresight.models.identity import ModelSpec, locate

    spec = ModelSpec.from_json(STAND_IN_VAE)
    return loading.load(spec, locate(spec, world.home)).encode(np.asarray(world.dataset.images))


def test_e1_5_paints_as_well_as_the_decoder_can_where_the_tokens_know_the_latents(world, latents):
    n, h, w, c = latents.shape
    blocks = latents.reshape(n, h // 2, 2, w // 2, 2, c).swapaxes(2, 3).reshape(n, h // 2, w // 2, 4 * c)
    world.plant({"vlm:X3": blocks, "vae:X6": latents})
    made = world.run("e1_5", config=ADAPTER, models={"vae": STAND_IN_VAE}, stand_ins=True)
    assert made.metrics["lpips"] == pytest.approx(made.metrics["lpips_oracle"], abs=0.03)
    assert made.metrics["psnr"] > made.metrics["psnr_oracle"] - 2.5
    lpips = samples(made, "lpips")
    assert set(lpips.baselines) == {"mean_latent", "shuffled_tokens", "mean_image", "blank_image"}
    for baseline in lpips.baselines.values():
        assert np.mean(baseline) > made.metrics["lpips"] + 0.1
    # the foreground is known, so it is reported, and it decides nothing
    assert samples(made, "lpips_foreground").groups == lpips.groups
    assert made.metrics["lpips_foreground"] == pytest.approx(made.metrics["lpips_oracle_foreground"], abs=0.05)
    assert "adapter.safetensors" in {artifact.name for artifact in made.artifacts}
    assert any("stand-in" in note for note in made.notes)


def test_e1_5_paints_nothing_from_tokens_that_say_nothing(world, latents):
    world.plant({"vlm:X3": world.noise(GRID_X3, 24), "vae:X6": latents})
    made = world.run("e1_5", config=ADAPTER, models={"vae": STAND_IN_VAE})
    lpips = samples(made, "lpips")
    best = min(np.mean(baseline) for baseline in lpips.baselines.values())
    assert np.mean(lpips.scores) > best - 0.02
    assert made.metrics["psnr"] < made.metrics["psnr_oracle"] - 5
    assert "not sufficient (acceptable: LPIPS under 0.35 and SSIM over 0.75, marginal: LPIPS under 0.45)" in finding(
        made
    )


def test_a_caption_counts_what_its_picture_shows(world, latents, monkeypatch):
    captions = {}
    for module, name in ((painting, "learning_curve"), (e1_5, "image_grid")):
        draw = getattr(module, name)
        monkeypatch.setattr(
            module,
            name,
            lambda *a, name=name, draw=draw, **b: captions.setdefault(name, b["caption"]) and draw(*a, **b),
        )
    world.plant({"vlm:X3": world.noise(GRID_X3, 24), "vae:X6": latents})
    world.run("e1_5", config=ADAPTER, models={"vae": STAND_IN_VAE})
    split = world.split()
    n, n_validation = len(split.test), len(split.val)
    assert captions["image_grid"].startswith(f"n = {n} held-out pictures of {n // 2} sources")
    assert captions["learning_curve"].startswith(f"n = {n_validation} validation pictures ")


# ---------------------------------------------------------------------- e1_6


def ablations(world, **layers):
    """All needs of e1_6; `layers` replaces some, e.g. `X1_2=values`."""
    planted = {
        "vlm:X1.1": world.noise(GRID_X2, 48, seed=1),
        "vlm:X1.2": world.noise(GRID_X2, 48, seed=2),
        "vlm:X2": world.noise(GRID_X2, 48, seed=3),
        "vlm:X3": world.noise(GRID_X3, 96),
        "vlm:X3@32": world.noise((2, 3), 96),
        "vlm:X3@128": world.noise((8, 12), 96),
    }
    return world.plant(
        planted | {f"vlm:{name.replace('_at_', '@').replace('_', '.')}": v for name, v in layers.items()}
    )


ABLATION = {"width": 48, "capacity": [4, 16], "merge": [1, 2, 4], "pictures": [8, 16]}


def test_e1_6_finds_the_layer_and_the_resolution_that_know_most(world):
    known = world.pixels(GRID_X2)
    rng = np.random.default_rng(0)
    ablations(world, X1_2=known, X2=lowered(known, rng, 0.5), X3_at_128=world.pixels((8, 12)))
    made = world.run("e1_6", config=ABLATION)
    text = finding(made)
    assert "layer X1.2 (" in text
    assert "merge 4x4 (" not in text
    assert "resolution 128 (" in text
    assert made.metrics["lpips_layer_x1_2"] < made.metrics["lpips_layer_x2"] < made.metrics["lpips_layer_x1_1"]
    assert made.metrics["lpips_merge_2x2"] < made.metrics["lpips_merge_4x4"]
    assert made.metrics["lpips_merge_2x2"] == made.metrics["lpips_layer_x2"], "one arm, measured once"
    assert "on validation: of weights none tried; of training pictures none tried." in text
    for axis in ("layer", "merge", "capacity", "pictures", "resolution"):
        assert sum(entry.metric.startswith(f"lpips_{axis}_") for entry in made.samples) >= 3, axis
        assert f"{axis}.png" in {artifact.name for artifact in made.artifacts}


def test_e1_6_names_the_smallest_capacity_and_the_fewest_pictures_that_suffice(world):
    ablations(world, X3=world.pixels(GRID_X3))
    made = world.run("e1_6", config={**ABLATION, "capacity": [1, 16], "pictures": [2, 20]})
    assert made.metrics["lpips_capacity_1"] > 0.35 > made.metrics["lpips_capacity_16"]
    few = min(n for n in (2, 20) if made.metrics[f"lpips_pictures_{n}"] < 0.35)
    assert f"of weights {(16 + 1) * 16 * 16 * 3:,}; of training pictures {few}." in finding(made)


def test_e1_6_leaves_nothing_that_means_another_thing_in_another_seed(world):
    ablations(world, X3=world.pixels(GRID_X3))
    made = world.run("e1_6", config=ABLATION)
    assert all(name.startswith("lpips") for name in made.metrics), "a choice is no number to average over seeds"
    pictures = {name for name in made.metrics if name.startswith("lpips_pictures_")}
    assert pictures == {"lpips_pictures_8", "lpips_pictures_16", "lpips_pictures_all"}
    assert made.metrics["lpips_pictures_all"] == made.metrics["lpips"]


def test_e1_6_never_chooses_on_test():
    lucky, unlucky = (e1_6.Score(validation, np.array([test]), 1) for validation, test in ((0.4, 0.2), (0.3, 0.5)))
    assert not lucky.good_enough
    assert unlucky.good_enough


def test_e1_6_refuses_an_axis_with_fewer_than_three_values(world):
    ablations(world)
    with pytest.raises(UserError, match=r"e1_6 needs 3 values of merge and the profile gives \['none', '2x2'\]"):
        world.run("e1_6", config={**ABLATION, "merge": [1, 2]})
