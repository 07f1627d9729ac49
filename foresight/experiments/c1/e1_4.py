"""e1_4, spatial test: can the place and size of one object be read from the visual tokens?

A box head on the token grid (H5, learned queries that look for the object) at X2, X3 and X4, and the published pooled
MLP (H3) on the mean token of each, where a place can hardly survive. Beside them what looks at nothing: the mean box of
train, and the one box that overlaps train's boxes best; and what can learn nothing: the designated head trained on
boxes dealt out anew.

`spatial_iou`, C1's criterion, is the designated arm and no other: X3 tokens, H5, mean box IoU over held-out pictures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.util import img_as_float32

from foresight.experiments.one_box import OneBox, View
from foresight.metrics.spatial import box_iou, centre_error, relative_size_error
from foresight.plots.charts import iou_histogram, learning_curve
from foresight.plots.pictures import box_overlay
from foresight.probes.training import note_untrained

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner

DESIGNATED: tuple[str, View] = ("vlm:X3", "tokens")
EXCELLENT, GOOD = 0.75, 0.60


def run(runner: ExperimentRunner) -> dict[str, Any]:
    dataset, split = runner.dataset(), runner.split()
    one = OneBox(runner)
    true = one.true
    groups = [dataset.groups[index] for index in split.test]

    # Heads: every point by its tokens, and pooled
    views: tuple[View, ...] = ("tokens", "pooled")
    arms: list[tuple[str, View]] = [(need, view) for view in views for need in runner.needs]
    probes, predicted = {}, {}
    for done, (need, view) in enumerate(arms):
        runner.progress(done / (len(arms) + 2), f"{view} head on {need}")
        probes[need, view] = one.fit(f"{view}_{_name(need)}", need, view)
        predicted[need, view] = probes[need, view].predict(runner.features(need)[split.test])

    # Baselines: boxes that look at nothing, and the designated head where there is nothing to learn
    runner.progress(len(arms) / (len(arms) + 2), "the designated head on boxes dealt out anew")
    guesses = one.guesses(DESIGNATED[0])

    # Scores
    iou, baselines = {arm: box_iou(found, true) for arm, found in predicted.items()}, one.beside(guesses, box_iou)
    for (need, view), scores in iou.items():
        name = "spatial_iou" if (need, view) == DESIGNATED else f"spatial_iou_{_name(need)}_{view}"
        runner.log_samples(name, scores, groups=groups, baselines=baselines, higher_is_better=True)
    for name, error in (("centre_error", centre_error), ("size_error", relative_size_error)):
        scores = error(predicted[DESIGNATED], true)
        runner.log_samples(name, scores, groups=groups, baselines=one.beside(guesses, error), higher_is_better=False)
    if runner.is_stand_in("vlm"):
        runner.note("X4 comes from a stand-in whose language model is random: its boxes say nothing of Qwen2.5-VL's.")

    # Pictures
    runner.progress((len(arms) + 1) / (len(arms) + 2), "pictures")
    shown = runner.caption(len(true), sources=len(set(groups)))
    named = {f"{need.split(':')[1]} {view}": arm for arm in arms for need, view in [arm]}
    designated = "X3 tokens"
    drawn = box_overlay(
        img_as_float32(dataset.images[split.test[:18]]),
        true,
        {designated: predicted[DESIGNATED], "mean box": one.all(guesses["mean_box"][0])},
        title="Boxes read from X3 tokens",
        caption=shown,
        scores={designated: iou[DESIGNATED], "mean box": baselines["mean_box"]},
    )
    runner.results.save_artifact("boxes.png", drawn)
    drawn = iou_histogram(
        {designated: iou[DESIGNATED], "mean box": baselines["mean_box"], "permuted boxes": baselines["permuted_boxes"]},
        title="How well the boxes overlap",
        caption=shown,
        thresholds={"excellent": EXCELLENT, "good": GOOD},
    )
    runner.results.save_artifact("iou_histogram.png", drawn)
    note_untrained(
        runner.note,
        {", ".join(arm): of.history for arm, of in probes.items()},
        runner.seed,
        decides={", ".join(DESIGNATED): ["spatial_iou"]},
    )
    drawn = learning_curve(
        {name: probes[arm].history for name, arm in named.items()},
        title="Training of the box heads",
        caption=runner.caption(len(split.val), "validation pictures"),
        y_label="smooth L1 + GIoU loss",
    )
    runner.results.save_artifact("learning_curve.png", drawn)
    runner.results.save_json_artifact(
        "ious.json",
        {
            "items": [dataset.manifest.items[index].id for index in split.test],
            "true": true,
            "predicted": {name: predicted[arm] for name, arm in named.items()},
            "iou": {**{name: iou[arm] for name, arm in named.items()}, **baselines},
            "weights": {name: probes[arm].parameters for name, arm in named.items()},
        },
    )

    # Finding
    mean = float(np.mean(iou[DESIGNATED]))
    word = "excellent" if mean > EXCELLENT else "good" if mean > GOOD else "insufficient"
    return {
        "finding": f"Boxes read from X3 tokens overlap the true ones by {{spatial_iou:.3f}} (mean box "
        f"{{mean_box_iou:.3f}}), which is {word} (good: over {GOOD:g}, excellent: over {EXCELLENT:g}); "
        "their centres are off by {centre_error:.3f} of the picture's side.",
        "metrics": {
            **{f"{name}_iou": np.mean(scores) for name, scores in baselines.items()},
            "iou_over_50": np.mean(iou[DESIGNATED] > 0.5),
            "iou_over_75": np.mean(iou[DESIGNATED] > 0.75),
        },
    }


def _name(need: str) -> str:
    return need.split(":")[1].lower().replace(".", "_")
