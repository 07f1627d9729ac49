"""e_q2_2, after the merge: what is still there, and how much less than before it?

Q2's criterion `bbox_iou` is read here: X3 tokens at their own width, H5 with Hungarian matching, mean over objects.

The drop is measured in this handler, never against a number from elsewhere: X2 and X3 of the same pictures in the same
split, read by the same head with the same seed, object by object. Twice: at one token count and one width, four tokens
of X2 side by side beside the one of X3 (see `reading`), which is the drop that the finding's band is about, since
neither width nor count can decide it; and as they are, where X2 has four tokens for one, named beside it.

A head that is no better than boxes which look at nothing has read nothing: that makes the comparison invalid, and the
finding says so. A drop below zero is a result like any other: PCA or the head may find in X3 sooner what X2 holds, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from foresight.experiments.q2.content import content_metrics, log_content, told
from foresight.experiments.q2.merger import merger_block
from foresight.experiments.reading import Reading, estimate
from foresight.plots.charts import bars, learning_curve
from foresight.probes.box_sets import BoxSetProbe
from foresight.probes.training import note_untrained

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner

SMALL, NOTABLE, LARGE = 0.10, 0.20, 0.30  # of what was there before the merge
BEFORE, AFTER = "before the merge", "after the merge"


def run(runner: ExperimentRunner) -> dict[str, Any]:
    merger_block(runner)
    reading = Reading(runner)
    tokens = reading.tokens("vlm:X3")
    grid = tokens["train"].shape[1:3]

    # Heads: the designated one, both points at one width and before the merge as it is, and one that can learn nothing
    width = reading.common_width(["vlm:X2", "vlm:X3"], grid)
    arms = {"tokens": tokens, "pre_own": reading.tokens("vlm:X2")}
    arms |= {name: reading.alike(need, grid, width) for name, need in (("pre", "vlm:X2"), ("post", "vlm:X3"))}
    heads: dict[str, BoxSetProbe] = {}
    found: dict[str, list[np.ndarray]] = {}
    for done, (name, values) in enumerate(arms.items()):
        runner.progress(0.05 + 0.15 * done, f"box head, {name}")
        heads[name] = reading.fit_boxes(name, values)
        found[name] = heads[name].predict(values["test"])
    runner.progress(0.65, "the box head on boxes dealt out anew")
    found["pooled_linear"] = reading.fit_pooled(tokens, "pooled_linear").predict(tokens["test"])
    baselines = reading.box_baselines(reading.fit_boxes("permuted", tokens, dealt=True).predict(tokens["test"]))

    # Scores
    iou = {name: reading.iou(boxes) for name, boxes in found.items()}
    for name, scores in iou.items():
        metric = "bbox_iou" if name == "tokens" else f"bbox_iou_{name}"
        runner.log_samples(metric, scores, groups=reading.box_groups, baselines=baselines, higher_is_better=True)
    drops = {"iou_drop": iou["pre"] - iou["post"], "iou_drop_own_width": iou["pre_own"] - iou["tokens"]}
    for name, lost in drops.items():
        runner.log_samples(name, lost, groups=reading.box_groups, higher_is_better=False)
    runner.progress(0.75, "relative position and classes")
    content = log_content(reading, tokens)

    # Pictures
    runner.progress(0.85, "pictures")
    _, objects = reading.captions()
    reading.save_overlay({"X3 tokens": found["tokens"]}, "Boxes read from the tokens after the merge")
    groups = reading.box_groups
    same, own = f"at one width\n({width} a place)", "as they are"
    drawn = bars(
        {
            BEFORE: {same: estimate(iou["pre"], groups), own: estimate(iou["pre_own"], groups)},
            AFTER: {
                same: estimate(iou["post"], groups),
                own: estimate(iou["tokens"], groups),
                "linear slots\n(published)": estimate(iou["pooled_linear"], groups),
            },
        },
        title="What the merger leaves of the boxes",
        caption=f"{objects} · 95 % intervals over sources",
        y_label="mean IoU of matched boxes",
        baselines={"typical boxes": float(baselines["typical_boxes"].mean())},
        thresholds={"acceptable": 0.7},
    )
    runner.results.save_artifact("comparison.png", drawn)
    named = {"X3 tokens": "tokens", "X2 tokens": "pre_own", BEFORE: "pre", AFTER: "post"}
    histories = {words: heads[name].history for words, name in named.items()}
    note_untrained(runner.note, histories, runner.seed, decides={"X3 tokens": ["bbox_iou"]})
    drawn = learning_curve(
        {BEFORE: heads["pre"].history, AFTER: heads["post"].history},
        title="Training of the box heads at one width",
        caption=runner.caption(len(reading.split.val), "validation pictures"),
        y_label="matched boxes + presence, loss",
        log_y=False,
    )
    runner.results.save_artifact("learning_curve.png", drawn)
    table = reading.table(found, iou, baselines)
    runner.results.save_json_artifact("comparison.json", {**table, "width": width})

    # Finding
    means = {name: float(np.mean(scores)) for name, scores in iou.items()}
    drop, drop_own = (1 - means[b] / max(means[a], 1e-9) for a, b in (("pre", "post"), ("pre_own", "tokens")))
    invalid = why_invalid(means, max(float(np.mean(scores)) for scores in baselines.values()))
    return {
        "finding": _sentence(drop, invalid, told(content)),
        "metrics": {
            **{f"{name}_iou": np.mean(scores) for name, scores in baselines.items()},
            "iou_drop_relative": drop,
            "iou_drop_relative_own_width": drop_own,
            **content_metrics(content),
            "comparison_valid": 0.0 if invalid else 1.0,
            "iou_over_50": np.mean(iou["tokens"] > 0.5),
            "width": tokens["train"].shape[-1],
            "common_width": width,
        },
    }


def why_invalid(means: dict[str, float], trivial: float) -> str:
    """What makes the drop meaningless, or nothing."""
    for words, names in ((BEFORE, ("pre", "pre_own")), (AFTER, ("post", "tokens"))):
        if min(means[name] for name in names) <= trivial:
            return f"a head {words} is no better than what looks at nothing"
    return ""


def _sentence(drop: float, invalid: str, told: str) -> str:
    what = "Boxes read from X3 tokens overlap the true ones by {bbox_iou:.3f} (typical boxes {typical_boxes_iou:.3f})"
    what += f"; {told}. " if told else ". "
    at_one_width = "{bbox_iou_pre:.3f} before it and {bbox_iou_post:.3f} after"
    as_they_are = "as they are {bbox_iou_pre_own:.3f} and {bbox_iou:.3f}"
    if invalid:
        return what + f"Invalid comparison with before the merge: {invalid} ({at_one_width}, {as_they_are})."
    more = "more is read after the merge than before it"
    levels = {"nothing is lost": 0.0, "little is lost": SMALL, "some is lost": NOTABLE, "much is lost": LARGE}
    word = next((word for word, level in levels.items() if drop < level), "most is lost")
    taken = "At one width " + (more if drop < 0 else "the merger takes {iou_drop_relative:.0%} of the overlap")
    stands_for = f"little: under {SMALL:.0%}, some: under {NOTABLE:.0%}, much: under {LARGE:.0%}"
    said = f"{taken} ({at_one_width}): {word} ({stands_for})"
    return what + f"{said}; {as_they_are}, a drop of {{iou_drop_relative_own_width:.0%}}."
