"""e1_3, before and after the merge: what does the 2x2 merger cost?

Four tokens of X2 side by side and the one token of X3 that the merger makes of them cover the same pixels. Both are
standardised and projected to one common width by a PCA fitted on train, then read by identical ridge probes with equal
numbers of weights, so that neither width nor token count decides. The gap is LPIPS after minus LPIPS before, picture
by picture. The same probes at full width stand beside.

A probe that is no better than the mean image has read nothing, and a merger cannot add what was not there: either
makes the comparison invalid, and the finding says so and never "no loss".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.util import img_as_float32

from foresight.errors import StepFailed
from foresight.metrics.reconstruction import Originals, boundary_error, error_maps, log_scores, one_of_each
from foresight.plots import pictures
from foresight.probes.pixels import fit_pixel_probe, image_baselines
from foresight.probes.projection import fit_projection, group_tokens

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner

SMALL_GAP, LARGE_GAP = 0.1, 0.2


def run(runner: ExperimentRunner) -> dict[str, Any]:
    dataset, split = runner.dataset(), runner.split()
    parts = (split.train, split.val, split.test)
    train_NHWC, val_NHWC, test_NHWC = (img_as_float32(dataset.images[part]) for part in parts)
    groups = [dataset.groups[index] for index in split.test]

    # Features: four tokens before the merger beside the one after it
    pre, post = runner.features("vlm:X2"), runner.features("vlm:X3")
    size = pre.shape[1] // post.shape[1]
    if size < 2 or pre.shape[1:3] != (size * post.shape[1], size * post.shape[2]):
        raise StepFailed(
            f"X2 has {pre.shape[1]}x{pre.shape[2]} tokens and X3 {post.shape[1]}x{post.shape[2]}: that is no merger "
            "between them. One of the two was not extracted where it says.",
            cause="needs",
            retryable=False,
        )
    tokens = {
        "pre": tuple(group_tokens(pre[part], size) for part in parts),
        "post": tuple(post[part] for part in parts),
    }
    width = min(runner.config.get("width", 2**20), *(train.shape[-1] for train, _, _ in tokens.values()))

    # Probes: identical, at one common width; and at the width that each has
    made: dict[str, np.ndarray] = {}
    weights = {}
    for name, (train, val, test) in tokens.items():
        runner.progress(len(made) / 5, f"probes {name} merge")
        project = fit_projection(train, width).apply
        for arm, apply in ((name, project), (f"{name}_full_width", lambda values: values)):
            probe = fit_pixel_probe(apply(train), train_NHWC, apply(val), val_NHWC)
            made[arm], weights[arm] = probe.predict(apply(test)), probe.ridge.parameters

    # Scores, beside the mean image
    runner.progress(4 / 5, "scores")
    originals = Originals(test_NHWC, device=runner.device)
    _, h, w, _ = post.shape
    trivial = image_baselines(train_NHWC, (h, w))
    baselines = {name: originals.scores(picture) for name, picture in trivial.items()}
    scores = {name: originals.scores(images) for name, images in made.items()}
    for name, of in scores.items():
        log_scores(runner.log_samples, of, baselines, groups=groups, suffix=f"_{name}")
    for name in ("pre", "post"):
        beside = {baseline: boundary_error(test_NHWC, picture) for baseline, picture in trivial.items()}
        values = boundary_error(test_NHWC, made[name])
        runner.log_samples(f"boundary_error_{name}", values, groups=groups, baselines=beside, higher_is_better=False)
    gap = scores["post"]["lpips"] - scores["pre"]["lpips"]
    runner.log_samples("lpips_gap", gap, groups=groups, higher_is_better=False)

    # Pictures
    shown = runner.caption(len(split.test), sources=len(set(groups)), note=f"both projected to {width} features")
    some = one_of_each(groups)
    drawn = pictures.image_grid(
        {"original": test_NHWC[some], "before the merge": made["pre"][some], "after the merge": made["post"][some]},
        title="What the merger leaves",
        caption=shown,
        scores={"before the merge": scores["pre"]["lpips"][some], "after the merge": scores["post"]["lpips"][some]},
    )
    runner.results.save_artifact("side_by_side.png", drawn)
    before, after = (error_maps(test_NHWC[some], made[name][some]) for name in ("pre", "post"))
    drawn = pictures.error_maps(
        {"original": test_NHWC[some]},
        {"error before": before, "error after": after, "lost between": (after - before).clip(0)},
        title="Where the merger loses",
        caption=shown,
    )
    runner.results.save_artifact("error_maps.png", drawn)
    runner.results.save_json_artifact(
        "merge_comparison.json",
        {
            "items": [dataset.manifest.items[index].id for index in split.test],
            "width": width,
            "weights": weights,
            "lpips_gap": gap,
            "scores": scores,
            "baselines": baselines,
        },
    )

    # Finding
    invalid = why_invalid(scores, baselines)
    cost = float(np.mean(gap))
    if invalid:
        finding = (
            f"Invalid comparison: {invalid}, so it says nothing about the merger "
            "(LPIPS {lpips_pre:.3f} before it, {lpips_post:.3f} after)."
        )
    else:
        advice = "use X3" if cost < SMALL_GAP else "consider X2" if cost <= LARGE_GAP else "X2 must be used"
        finding = (
            "At one width the merger costs {lpips_gap:.3f} LPIPS ({lpips_pre:.3f} before it, {lpips_post:.3f} after, "
            f"mean image {{mean_image_lpips:.3f}}): {advice} (X3 under {SMALL_GAP:g}, X2 over {LARGE_GAP:g})."
        )
    return {
        "finding": finding,
        "metrics": {
            "valid": 0.0 if invalid else 1.0,
            "width": width,
            "mean_image_lpips": np.mean(baselines["mean_image"]["lpips"]),
        },
    }


def why_invalid(scores: dict[str, dict[str, np.ndarray]], baselines: dict[str, dict[str, np.ndarray]]) -> str:
    """What makes the comparison meaningless, or nothing."""
    for name, words in (("pre", "before"), ("post", "after")):
        for metric in ("lpips", "mse"):
            if np.mean(scores[name][metric]) >= np.mean(baselines["mean_image"][metric]):
                return f"the probe {words} the merge is no better than the mean image by {metric.upper()}"
    if np.mean(scores["post"]["lpips"]) < np.mean(scores["pre"]["lpips"]):
        return "the probe reads more after the merge than before it, which a merger cannot add"
    return ""
