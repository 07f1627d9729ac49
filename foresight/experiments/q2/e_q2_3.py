"""e_q2_3, decay through the language model: at which layer do boxes stop being readable?

The visual tokens of each layer that the profile extracts, X3 (which is what enters the language model) first, all
projected to one width by a PCA fitted on train and read by the same head with the same seed, object by object. Never
the prompt's tokens, and no mean over all of them. X4.last stands behind the final norm, the others are the residual
stream: all are standardised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from foresight.errors import UserError
from foresight.experiments.reading import Reading, estimate, metric_of, name_of
from foresight.plots.charts import curve, learning_curve
from foresight.plots.maps import heat_map
from foresight.probes.training import note_untrained

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner

ENOUGH = 0.7
ENTRY = "vlm:X3"


def run(runner: ExperimentRunner) -> dict[str, Any]:
    needs = [need for need in runner.needs if need == ENTRY or need.startswith("vlm:X4")]
    if ENTRY not in needs or len(needs) < 3:
        raise UserError(
            f"e_q2_3 compares X3 with layers of the language model, and the profile gives {needs}. "
            "Add needs such as vlm:X4.7 and vlm:X4.last to it."
        )
    reading = Reading(runner)
    grid = runner.features(ENTRY).shape[1:3]
    width = reading.common_width(needs, grid)

    # One head a layer, and one that can learn nothing
    found, heads = {}, {}
    for done, need in enumerate(needs):
        runner.progress(done / (len(needs) + 2), f"box head on {name_of(need)}, {width} wide")
        tokens = reading.alike(need, grid, width)
        heads[need] = reading.fit_boxes(metric_of(need), tokens)
        found[need] = heads[need].predict(tokens["test"])
    runner.progress(len(needs) / (len(needs) + 2), "the last layer's head on boxes dealt out anew")
    baselines = reading.box_baselines(reading.fit_boxes("permuted", tokens, dealt=True).predict(tokens["test"]))

    # Scores
    groups = reading.box_groups
    iou = {need: reading.iou(boxes) for need, boxes in found.items()}
    for need, scores in iou.items():
        runner.log_samples(
            f"bbox_iou_{metric_of(need)}", scores, groups=groups, baselines=baselines, higher_is_better=True
        )
    lost = iou[ENTRY] - iou[needs[-1]]
    runner.log_samples("iou_lost_in_language_model", lost, groups=groups, higher_is_better=False)
    if runner.is_stand_in("vlm"):
        runner.note("The stand-in's language model is random: its layers say nothing of Qwen2.5-VL's.")
    runner.note("X4.last is behind the final norm, the layers before it are not; all are standardised.")

    # Pictures
    runner.progress((len(needs) + 1) / (len(needs) + 2), "pictures")
    _, objects = reading.captions()
    names = [name_of(need) for need in needs]
    drawn = curve(
        names,
        {f"H5, {width} wide": [estimate(scores, groups) for scores in iou.values()]},
        title="Boxes through the language model",
        caption=f"{objects} · band: 95 % intervals over sources",
        x_label="extraction point (X3 enters the language model)",
        y_label="mean IoU of matched boxes",
        baselines={"typical boxes": float(baselines["typical_boxes"].mean())},
        thresholds={"enough": ENOUGH},
    )
    runner.results.save_artifact("decay.png", drawn)
    counts = reading.objects_beside
    kinds = np.unique(counts)
    drawn = heat_map(
        np.array([[scores[counts == kind].mean() for kind in kinds] for scores in iou.values()]),
        title="Boxes by layer and crowding",
        caption=f"{objects} · " + ", ".join(f"{(counts == kind).sum()} with {kind}" for kind in kinds),
        unit="mean IoU of matched boxes",
        row_labels=names,
        column_labels=[str(kind) for kind in kinds],
        x_label="objects in the picture",
        y_label="extraction point",
    )
    runner.results.save_artifact("by_number_of_objects.png", drawn)
    histories = {name: heads[need].history for name, need in zip(names, needs, strict=True)}
    note_untrained(runner.note, histories, runner.seed)
    drawn = learning_curve(
        histories,
        title="Training of the box heads",
        caption=runner.caption(len(reading.split.val), "validation pictures"),
        y_label="matched boxes + presence, loss",
        log_y=False,
    )
    runner.results.save_artifact("learning_curve.png", drawn)
    table = reading.table({name_of(need): boxes for need, boxes in found.items()}, {}, baselines)
    table["iou"] |= {name_of(need): scores for need, scores in iou.items()}
    runner.results.save_json_artifact("layers.json", {**table, "width": width})

    # Finding
    means = {need: float(scores.mean()) for need, scores in iou.items()}
    below = next((name_of(need) for need, mean in means.items() if mean < ENOUGH), None)
    last = next((name_of(need) for need in reversed(needs) if means[need] >= ENOUGH), None)
    where = (
        f"it stays at {ENOUGH} or more throughout"
        if below is None
        else f"first under {ENOUGH} at {below}, last at {ENOUGH} or more at {last}"
        if last
        else f"under {ENOUGH} at every point"
    )
    per_layer = (means[ENTRY] - means[needs[-1]]) / (len(needs) - 1)
    return {
        "finding": "At one width the overlap goes from {bbox_iou_x3:.3f} where tokens enter the language model "
        f"to {{bbox_iou_{metric_of(needs[-1])}:.3f}} at {name_of(needs[-1])} (typical boxes "
        f"{{typical_boxes_iou:.3f}}): {where}.",
        "metrics": {
            **{f"{name}_iou": np.mean(scores) for name, scores in baselines.items()},
            "iou_lost_per_step": per_layer,
            "common_width": width,
        },
    }
