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

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.util import img_as_float32

from foresight.data.objects import Objects, category_names, objects_of
from foresight.experiments.q2.reading import MAP, Reading, Tokens, estimate, metric_of, name_of
from foresight.metrics.box_sets import pairwise_iou
from foresight.metrics.detection import AveragePrecision, Detections, class_prior
from foresight.plots.charts import bars, learning_curve
from foresight.plots.pictures import box_overlay
from foresight.plots.style import Estimate
from foresight.probes.detectors import DetectionProbe, fit_detector
from foresight.probes.training import note_untrained

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner

DESIGNATED = "vlm:X3"
CONTROL = "dino:X7"
GOOD, ACCEPTABLE = 0.4, 0.3
SHOWN = 0.3  # least score of a detection in a picture of them; all of them are scored


def run(runner: ExperimentRunner) -> dict[str, Any]:
    reading = Reading(runner)
    objects = objects_of(reading.dataset)
    names, split = category_names(reading.dataset), reading.split
    true = [objects[i] for i in split.test]
    groups = [reading.dataset.groups[i] for i in split.test]
    grid = runner.features(DESIGNATED).shape[1:3]
    width = reading.common_width(runner.needs, grid)

    # Heads: the designated arm, and every point at one width
    arms: dict[str, tuple[str, Tokens]] = {"mAP": (DESIGNATED, reading.tokens(DESIGNATED))}
    arms |= {f"mAP_{metric_of(need)}": (need, reading.alike(need, grid, width)) for need in runner.needs}
    probes: dict[str, DetectionProbe] = {}
    found: dict[str, Sequence[Detections]] = {}
    for done, (metric, (need, tokens)) in enumerate(arms.items()):
        runner.progress(0.8 * done / len(arms), f"detector on {name_of(need)}")
        probes[metric] = _fit(runner, metric, tokens, objects, sorted(names), reading)
        found[metric] = probes[metric].predict(tokens["test"])

    # Scores, all by one function
    runner.progress(0.85, "average precision")
    dealt = _elsewhere(found["mAP"], groups, runner.rng)
    counted = [of.counted for of in objects]
    trivial = {"class_prior": class_prior([counted[i] for i in split.train], len(true)), "other_pictures": dealt}
    ap = {name: AveragePrecision(of, true, list(names)) for name, of in {**found, **trivial}.items()}
    jackknife = {name: one.jackknife(groups) for name, one in ap.items()}
    baselines = {name: scored[0] for name in trivial if (scored := jackknife[name])}
    summaries = {name: one.summary() for name, one in ap.items()}
    for metric in arms:
        scored = jackknife[metric]
        if scored is None:
            runner.note(f"{metric} was not measured: without one of the sources there is nothing to be found.")
            continue
        runner.log_samples(metric, scored[0], groups=scored[1], baselines=baselines, higher_is_better=True)
    missing = sorted({size for one in summaries.values() for size, value in one.items() if value is None})
    if missing:
        runner.note(f"{', '.join(missing)}: insufficient, no object of that size was held out.")
    for role, words in (("vlm", "VLM"), ("dino", "DINOv2")):
        if runner.is_stand_in(role):
            runner.note(f"The {words} is a stand-in: its detections say nothing of the real one's.")

    # Pictures
    runner.progress(0.95, "pictures")
    tested = len(true)
    shown = runner.caption(tested, sources=len(set(groups)), note=f"the surest detections, score over {SHOWN}")
    _save_pictures(runner, reading, found["mAP"], names, shown)
    objects_shown = runner.caption(
        sum(len(of.counted) for of in true),
        f"objects of {len(names)} classes in {tested} held-out pictures",
        sources=len(set(groups)),
    )
    points = {name_of(need): metric for metric, (need, _) in arms.items() if metric != "mAP"}
    thresholds = {"ap_50": "AP at .5", "ap_75": "AP at .75", "ap": "AP .5:.95"}
    drawn = bars(
        {
            words: {
                "X3, as it is": _estimate(summaries, jackknife, "mAP", key),
                **{point: _estimate(summaries, jackknife, metric, key) for point, metric in points.items()},
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
    curves = {name_of(arms[metric][0]): of.history for metric, of in probes.items() if metric != "mAP"}
    note_untrained(runner.note, {"X3, as it is": probes["mAP"].history, **curves}, runner.seed)
    drawn = learning_curve(
        {"X3, as it is": probes["mAP"].history, **curves},
        title="Training of the detectors",
        caption=runner.caption(len(split.val), "validation pictures"),
        y_label="classes + boxes, loss",
    )
    runner.results.save_artifact("learning_curve.png", drawn)
    runner.results.save_json_artifact(
        "average_precision.json",
        {
            "items": [reading.dataset.manifest.items[i].id for i in split.test],
            "categories": names,
            "average_precision": summaries,
            "detections": {name: [vars(one) for one in of] for name, of in found.items()},
            "weights": {name: of.parameters for name, of in probes.items()},
            "common_width": width,
        },
    )

    # Finding
    value = summaries["mAP"]["ap_50"]
    word = "nothing to be found" if value is None else _word(value)
    best = max(points, key=lambda point: summaries[points[point]]["ap_50"] or 0.0)
    alike = f"X3's tokens reach {{mAP_{metric_of(DESIGNATED)}:.3f}}"
    if CONTROL in runner.needs:
        alike += f", DINOv2's under the same head {{mAP_{metric_of(CONTROL)}:.3f}}"
    metrics = {
        f"{metric}_{key}".replace("mAP_ap", "ap"): number
        for metric in arms
        for key, number in summaries[metric].items()
        if number is not None and key != "ap_50"
    }
    return {
        "finding": f"A detector on X3 tokens reaches an AP at .5 of {{mAP:.3f}}, which is {word} (class prior "
        f"{{class_prior_ap_50:.3f}}); at one width {alike}, and the best point is {best}."
        if value is not None
        else "No object was held out, so no detector was scored.",
        "metrics": {
            **metrics,
            **{f"{name}_ap_50": summaries[name]["ap_50"] for name in trivial if summaries[name]["ap_50"] is not None},
            "common_width": width,
        },
    }


def _fit(
    runner: ExperimentRunner,
    name: str,
    tokens: Tokens,
    objects: Sequence[Objects],
    category_ids: Sequence[int],
    reading: Reading,
) -> DetectionProbe:
    options = dict(runner.config.get("head", {}))
    if options.get("kind") == "dense":
        options["parts"] = max(1, round(runner.config.get("map", MAP) / tokens["train"].shape[1]))
    return fit_detector(
        tokens["train"],
        [objects[i] for i in reading.split.train],
        tokens["validation"],
        [objects[i] for i in reading.split.val],
        category_ids=category_ids,
        seed=runner.seed,
        device=runner.device,
        watch=runner.loss_curve(name),
        **options,
    )


def _elsewhere(found: Sequence[Detections], groups: Sequence[str], rng: np.random.Generator) -> list[Detections]:
    """Every picture's detections given to a picture of another source."""
    order = rng.permutation(len(found))
    order = order[np.argsort(np.array(groups)[order], kind="stable")]  # sources side by side, in the order of names
    most = int(np.unique(groups, return_counts=True)[1].max())
    given = np.empty(len(found), dtype=int)
    given[order] = np.roll(order, most)
    return [found[i] for i in given]


def _estimate(
    summaries: Mapping[str, Mapping[str, float | None]],
    jackknife: Mapping[str, tuple[np.ndarray, list[str]] | None],
    metric: str,
    key: str,
) -> Estimate | float | None:
    """AP at .5 has an interval, the others have none; None where there was nothing to be found."""
    scored = jackknife[metric]
    return estimate(*scored) if key == "ap_50" and scored else summaries[metric][key]


def _save_pictures(
    runner: ExperimentRunner, reading: Reading, found: Sequence[Detections], names: Mapping[int, str], caption: str
) -> None:
    sure = [_to_show(one) for one in found]
    drawn = box_overlay(
        img_as_float32(reading.dataset.images[reading.split.test[:12]]),
        reading.boxes["test"],
        {"X3 tokens": [one.boxes for one in sure]},
        names={"X3 tokens": [[names[int(category)] for category in one.category_ids] for one in sure]},
        title="Objects found in X3 tokens",
        caption=caption,
        columns=4,
    )
    runner.results.save_artifact("detections.png", drawn)


def _to_show(one: Detections) -> Detections:
    """The surest of those that lie over each other, whatever their class: a picture with all of them cannot be read."""
    chosen: list[int] = []
    for index in np.argsort(-one.scores):
        over = pairwise_iou(one.boxes[[index]], one.boxes[chosen])
        if one.scores[index] > SHOWN and not (over > 0.4).any():
            chosen.append(int(index))
    return Detections(one.boxes[chosen], one.category_ids[chosen], one.scores[chosen])


def _word(value: float) -> str:
    return "good" if value >= GOOD else "acceptable" if value >= ACCEPTABLE else "insufficient"
