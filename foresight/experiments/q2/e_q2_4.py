"""e_q2_4, detection: can a detector work on these tokens?

One head on every extraction point and on DINOv2's patch tokens (X7) of the same pictures: H7, a detection transformer
with Hungarian matching and background trained, or in `tiny` a dense head that fits in seconds. Points are compared at
one width a place, so that a low score on X3 beside a high one on X7 is the encoder's and not the head's; the
designated arm, X3 as it is, stands beside them. Scored by COCO's own code: AP at .5, at .75, over .5:.95, and by size.

Q2's criterion `mAP` is read here: X3 tokens, AP at .5, with an interval by the jackknife over sources. Beside it every
class at its typical boxes, as sure as they are common; and our own detections dealt out to other pictures, which keep
the habits of the head and lose what it saw.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from foresight.experiments.detecting import Detecting
from foresight.experiments.reading import Reading, Tokens, metric_of, name_of
from foresight.plots.charts import bars, learning_curve
from foresight.probes.training import note_untrained

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner

DESIGNATED = "vlm:X3"
CONTROL = "dino:X7"
GOOD, MODERATE = 0.4, 0.3


def run(runner: ExperimentRunner) -> dict[str, Any]:
    reading = Reading(runner)
    detecting = Detecting(reading)
    grid = runner.features(DESIGNATED).shape[1:3]
    width = reading.common_width(runner.needs, grid)

    # Heads: the designated arm, and every point at one width
    arms: dict[str, tuple[str, Tokens]] = {"mAP": (DESIGNATED, reading.tokens(DESIGNATED))}
    arms |= {f"mAP_{metric_of(need)}": (need, reading.alike(need, grid, width)) for need in runner.needs}
    for done, (metric, (need, tokens)) in enumerate(arms.items()):
        runner.progress(0.8 * done / len(arms), f"detector on {name_of(need)}")
        detecting.fit(metric, tokens, runner.config.get("head", {}))

    # Scores, all by one function
    runner.progress(0.85, "average precision")
    precision = detecting.score("mAP")
    summaries = precision.summaries
    for role, words in (("vlm", "VLM"), ("dino", "DINOv2")):
        if runner.is_stand_in(role):
            runner.note(f"The {words} is a stand-in: its detections say nothing of the real one's.")

    # Pictures
    runner.progress(0.95, "pictures")
    runner.results.save_artifact("detections.png", detecting.picture("mAP", "X3 tokens", "Objects found in X3 tokens"))
    objects_shown = detecting.caption()
    points = {name_of(need): metric for metric, (need, _) in arms.items() if metric != "mAP"}
    thresholds = {"ap_50": "AP at .5", "ap_75": "AP at .75", "ap": "AP .5:.95"}
    drawn = bars(
        {
            words: {
                "X3, as it is": precision.estimate("mAP", key),
                **{point: precision.estimate(metric, key) for point, metric in points.items()},
            }
            for key, words in thresholds.items()
        },
        title="The same detector on every extraction point",
        caption=f"{objects_shown} · {width} features a place where not as it is · 95 % interval by jackknife",
        y_label="average precision",
        baselines={"class prior, at .5": prior} if (prior := summaries["class_prior"]["ap_50"]) is not None else {},
        thresholds={"acceptable, at .5": GOOD},
    )
    runner.results.save_artifact("average_precision.png", drawn)
    drawn = bars(
        {
            f"{size} objects": {point: summaries[metric][f"ap_{size}"] for point, metric in points.items()}
            for size in ("small", "medium", "large")
        },
        title="Average precision by the size of objects",
        caption=objects_shown + " · small under 32 px, large over 96 px a side",
        y_label="AP, .5:.95",
    )
    runner.results.save_artifact("by_size.png", drawn)
    curves = {"X3, as it is": detecting.probes["mAP"].history}
    curves |= {point: detecting.probes[metric].history for point, metric in points.items()}
    note_untrained(runner.note, curves, runner.seed, decides={"X3, as it is": ["mAP"]})
    drawn = learning_curve(
        curves,
        title="Training of the detectors",
        caption=runner.caption(len(reading.split.val), "validation pictures"),
        y_label="classes + boxes, loss",
    )
    runner.results.save_artifact("learning_curve.png", drawn)
    table = detecting.table(precision)
    runner.results.save_json_artifact("average_precision.json", {**table, "common_width": width})

    # Finding
    value = summaries["mAP"]["ap_50"]
    word = "nothing to be found" if value is None else _word(value)
    best = max(points, key=lambda point: summaries[points[point]]["ap_50"] or 0.0)
    alike = f"X3's tokens reach {{mAP_{metric_of(DESIGNATED)}:.3f}}"
    if CONTROL in runner.needs:
        alike += f", DINOv2's under the same head {{mAP_{metric_of(CONTROL)}:.3f}}"
    return {
        "finding": f"A detector on X3 tokens reaches an AP at .5 of {{mAP:.3f}}, which is {word} (moderate: from "
        f"{MODERATE:g}, good: from {GOOD:g}; class prior {{class_prior_ap_50:.3f}}); at one width {alike}, and the "
        f"best point is {best}."
        if value is not None
        else "No object was held out, so no detector was scored.",
        "metrics": {**precision.metrics(list(arms)), "common_width": width},
    }


def _word(value: float) -> str:
    return "good" if value >= GOOD else "moderate" if value >= MODERATE else "insufficient"
