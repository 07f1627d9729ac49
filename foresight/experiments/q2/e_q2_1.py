"""e_q2_1, before the merge: how well can boxes, relative positions and classes be read from the pre-merge tokens?

Boxes of one to three objects by H5 on the tokens of X2, and by the published linear slots (H4) and an MLP (H3) on the
mean token, all with Hungarian matching; and by H5 on them at the one count and width at which e_q2_2 compares, so that
its point in a curve is the same as there. Whether X2 really lies before the merger is checked first: it must have the
tokens that the merger joins, and another width than what comes out of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from foresight.experiments.q2.content import CONTENT, content_metrics, log_content, told
from foresight.experiments.q2.merger import merger_block
from foresight.experiments.reading import Reading, estimate
from foresight.metrics.box_sets import spurious
from foresight.plots.charts import bars, learning_curve
from foresight.probes.training import note_untrained

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner

POINT, AFTER = "vlm:X2", "vlm:X3"
BOXES = ("boxes, tokens", "boxes, one width", "boxes, mean token", "boxes, linear slots")
LEVELS = {"excellent": 0.8, "good": 0.7, "moderate": 0.5}


def run(runner: ExperimentRunner) -> dict[str, Any]:
    block = merger_block(runner)
    reading = Reading(runner)
    tokens = reading.tokens(POINT)
    grid = runner.features(AFTER).shape[1:3]
    width = reading.common_width([POINT, AFTER], grid)

    # Heads, and one that can learn nothing
    runner.progress(0.05, "box head on X2")
    head = reading.fit_boxes("tokens", tokens)
    found = {"tokens": head.predict(tokens["test"])}
    runner.progress(0.25, f"box head on X2, {width} a place of X3")
    alike = reading.alike(POINT, grid, width)
    found["one_width"] = reading.fit_boxes("one_width", alike).predict(alike["test"])
    for view in ("pooled", "pooled_linear"):
        runner.progress(0.4, f"published {view.replace('_', ' ')} head")
        found[view] = reading.fit_pooled(tokens, view).predict(tokens["test"])
    runner.progress(0.5, "the box head on boxes dealt out anew")
    baselines = reading.box_baselines(reading.fit_boxes("permuted", tokens, dealt=True).predict(tokens["test"]))

    # Scores
    iou = {view: reading.iou(boxes) for view, boxes in found.items()}
    for view, scores in iou.items():
        name = "bbox_iou" if view == "tokens" else f"bbox_iou_{view}"
        runner.log_samples(name, scores, groups=reading.box_groups, baselines=baselines, higher_is_better=True)
    runner.progress(0.7, "relative position and classes")
    content = log_content(reading, tokens)

    # Pictures
    runner.progress(0.85, "pictures")
    _, objects = reading.captions()
    reading.save_overlay({"X2 tokens": found["tokens"]}, "Boxes read from the tokens before the merge")
    drawn = bars(
        {
            "X2": {
                "boxes, tokens": estimate(iou["tokens"], reading.box_groups),
                "boxes, one width": estimate(iou["one_width"], reading.box_groups),
                "boxes, mean token": estimate(iou["pooled"], reading.box_groups),
                "boxes, linear slots": estimate(iou["pooled_linear"], reading.box_groups),
                **{CONTENT[metric]: estimate(scores.values, scores.groups) for metric, scores in content.items()},
            },
            "needs no features": {
                **dict.fromkeys(BOXES, _best(baselines)),
                **{CONTENT[metric]: _best(of.baselines) for metric, of in content.items()},
            },
        },
        title="What can be read before the merge",
        caption=f"{objects} · 95 % intervals over sources · one width: {width} features for each place of X3",
        y_label="mean IoU, or share told right",
    )
    runner.results.save_artifact("readings.png", drawn)
    note_untrained(runner.note, {"X2 tokens": head.history}, runner.seed)
    drawn = learning_curve(
        {"X2 tokens": head.history},
        title="Training of the box head",
        caption=runner.caption(len(reading.split.val), "validation pictures"),
        y_label="matched boxes + presence, loss",
        log_y=False,
    )
    runner.results.save_artifact("learning_curve.png", drawn)
    runner.results.save_json_artifact("boxes.json", reading.table(found, iou, baselines))

    # Finding
    mean = float(np.mean(iou["tokens"]))
    word = next((word for word, level in LEVELS.items() if mean > level), "insufficient")
    levels = ", ".join(f"{word}: over {level:g}" for word, level in reversed(LEVELS.items()))
    return {
        "finding": f"Boxes read from X2 tokens overlap the true ones by {{bbox_iou:.3f}}, which is {word} ({levels}; "
        "boxes that look at nothing {typical_boxes_iou:.3f}, the published linear slots {bbox_iou_pooled_linear:.3f}); "
        "with {common_width:.0f} numbers for each place of X3 by {bbox_iou_one_width:.3f}"
        + (f"; {told(content)}." if content else "."),
        "metrics": {
            **{f"{name}_iou": np.mean(scores) for name, scores in baselines.items()},
            **content_metrics(content),
            "iou_over_50": np.mean(iou["tokens"] > 0.5),
            "spurious_boxes": np.mean(spurious(found["tokens"], reading.boxes["test"])),
            "width": tokens["train"].shape[-1],
            "tokens": np.prod(tokens["train"].shape[1:3]),
            "tokens_per_merged": block**2,
            "common_width": width,
        },
    }


def _best(baselines: dict[str, np.ndarray]) -> float:
    return max(float(np.mean(scores)) for scores in baselines.values())
