"""e_p2_1, DINOv2 spatial features: are the boxes and objects that X3 has lost in DINOv2's patch tokens (X7)?

Pictures of several objects, for both heads: a box head (H5 with Hungarian matching, mean over objects), and a detector
of every class (H7; in `tiny` a dense head), scored by COCO's own code. Both are put on X7 and, as control, on X3 of the
same pictures in the same split with the same settings and seed: as the tokens are, and at one token count and one width
(see `reading`), where neither can decide which of the two knows more.

"Go" is said of X7 as it is: where its boxes overlap the true ones by more than .65, the level that was set for pictures
of one object (`bbox_iou_one_object` is read from those among them), and are ahead of what needs no features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.util import img_as_float32

from foresight.experiments.detecting import Detecting, Precision
from foresight.experiments.reading import CELLS_FOR_PCA, Reading, Tokens, estimate, standing
from foresight.metrics.box_sets import matched_boxes, spurious
from foresight.metrics.reconstruction import one_of_each
from foresight.metrics.spatial import centre_error, relative_size_error
from foresight.plots.charts import bars, learning_curve
from foresight.plots.pictures import image_grid
from foresight.probes.box_sets import BoxSetProbe
from foresight.probes.projection import pca_colours
from foresight.probes.training import note_untrained

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner

POINT, CONTROL = "dino:X7", "vlm:X3"
GO = 0.65
OWN, OWN_CONTROL, ALIKE, ALIKE_CONTROL = "X7, as it is", "X3, as it is", "X7, one width", "X3, one width"
IOU = {OWN: "bbox_iou", OWN_CONTROL: "bbox_iou_x3_own", ALIKE: "bbox_iou_x7", ALIKE_CONTROL: "bbox_iou_x3"}
AP = {OWN: "mAP", OWN_CONTROL: "mAP_x3_own", ALIKE: "mAP_x7", ALIKE_CONTROL: "mAP_x3"}


def run(runner: ExperimentRunner) -> dict[str, Any]:
    reading = Reading(runner)
    detecting = Detecting(reading)
    grid = runner.features(CONTROL).shape[1:3]
    width = reading.common_width([POINT, CONTROL], grid)
    arms: dict[str, Tokens] = {
        OWN: reading.tokens(POINT),
        OWN_CONTROL: reading.tokens(CONTROL),
        ALIKE: reading.alike(POINT, grid, width),
        ALIKE_CONTROL: reading.alike(CONTROL, grid, width),
    }

    # Box heads, and one that can learn nothing
    heads: dict[str, BoxSetProbe] = {}
    found: dict[str, list[np.ndarray]] = {}
    for done, (arm, tokens) in enumerate(arms.items()):
        runner.progress(0.02 + 0.1 * done, f"box head, {arm}")
        heads[arm] = reading.fit_boxes(IOU[arm], tokens)
        found[arm] = heads[arm].predict(tokens["test"])
    runner.progress(0.42, "the box head on boxes dealt out anew")
    dealt = reading.fit_boxes("permuted", arms[OWN], dealt=True).predict(arms[OWN]["test"])

    # Detectors
    for done, (arm, metric) in enumerate(AP.items()):
        runner.progress(0.47 + 0.1 * done, f"detector, {arm}")
        detecting.fit(metric, arms[arm], runner.config.get("detector", {}))

    # Scores
    runner.progress(0.86, "scores")
    iou = {arm: reading.iou(boxes) for arm, boxes in found.items()}
    baselines = reading.box_baselines(dealt)
    for arm, scores in iou.items():
        runner.log_samples(IOU[arm], scores, groups=reading.box_groups, baselines=baselines, higher_is_better=True)
    alone = reading.objects_beside == 1
    _log_one_object(runner, reading, iou[OWN], baselines, alone)
    _log_errors(runner, reading, found[OWN])
    precision = detecting.score(AP[OWN])
    for role, words in (("dino", "DINOv2"), ("vlm", "The VLM")):
        if runner.is_stand_in(role):
            runner.note(f"{words} is a stand-in: what is read from it says nothing of the real one.")

    # Pictures
    runner.progress(0.93, "pictures")
    _save_boxes(runner, reading, found, iou, baselines, width)
    _save_detections(runner, detecting, precision, width)
    runner.results.save_artifact("patch_features.png", _patch_features(runner, reading, arms))
    boxes, detectors = (
        {arm: of.history for arm, of in heads.items()},
        {arm: detecting.probes[AP[arm]].history for arm in AP},
    )
    note_untrained(runner.note, {f"box head, {arm}": of for arm, of in boxes.items()}, runner.seed)
    note_untrained(runner.note, {f"detector, {arm}": of for arm, of in detectors.items()}, runner.seed)
    for name, histories, words in (
        ("boxes", boxes, "matched boxes + presence, loss"),
        ("detectors", detectors, "classes + boxes, loss"),
    ):
        drawn = learning_curve(
            histories,
            title=f"Training of the {'box heads' if name == 'boxes' else name}",
            caption=runner.caption(len(reading.split.val), "validation pictures"),
            y_label=words,
            log_y=name != "boxes",
        )
        runner.results.save_artifact(f"learning_curve_{name}.png", drawn)
    runner.results.save_json_artifact(
        "boxes.json",
        {
            **reading.table(found, iou, baselines),
            "weights": {arm: of.parameters for arm, of in heads.items()},
            "common_width": width,
        },
    )
    runner.results.save_json_artifact("average_precision.json", detecting.table(precision))

    # Finding
    trivial = max(baselines.values(), key=lambda scores: float(np.mean(scores)))
    read = standing(iou[OWN], trivial, reading.box_groups) == "ahead of"
    go = read and float(np.mean(iou[OWN])) > GO
    boxes_stand = standing(iou[ALIKE], iou[ALIKE_CONTROL], reading.box_groups)
    return {
        "finding": _sentence(go, read, boxes_stand, _precision_stands(precision), bool(alone.any())),
        "metrics": {
            **{f"{name}_iou": np.mean(scores) for name, scores in baselines.items()},
            **precision.metrics(list(AP.values())),
            "go": float(go),
            "iou_over_50": np.mean(iou[OWN] > 0.5),
            "iou_over_75": np.mean(iou[OWN] > 0.75),
            "spurious_boxes": np.mean(spurious(found[OWN], reading.boxes["test"])),
            **{f"width_{name}": arms[arm]["train"].shape[-1] for name, arm in (("x7", OWN), ("x3", OWN_CONTROL))},
            **{
                f"tokens_{name}": np.prod(arms[arm]["train"].shape[1:3])
                for name, arm in (("x7", OWN), ("x3", OWN_CONTROL))
            },
            "common_width": width,
        },
    }


def _log_one_object(
    runner: ExperimentRunner, reading: Reading, iou: np.ndarray, baselines: Mapping[str, np.ndarray], alone: np.ndarray
) -> None:
    """The same of the pictures that have one object, as the published ones have."""
    if not alone.any():
        runner.note("bbox_iou_one_object was not measured: no held-out picture has one object alone.")
        return
    runner.log_samples(
        "bbox_iou_one_object",
        iou[alone],
        groups=[group for group, kept in zip(reading.box_groups, alone, strict=True) if kept],
        baselines={name: scores[alone] for name, scores in baselines.items()},
        higher_is_better=True,
    )


def _log_errors(runner: ExperimentRunner, reading: Reading, found: list[np.ndarray]) -> None:
    """Of every object that a box was matched to: how far off its centre and its size are, beside the typical boxes."""
    true = np.concatenate(reading.boxes["test"])
    mine = np.concatenate(matched_boxes(found, reading.boxes["test"]))
    typical = np.concatenate(matched_boxes([reading.typical_boxes] * len(found), reading.boxes["test"]))
    kept = np.isfinite(mine).all(1) & np.isfinite(typical).all(1)
    if not kept.any():
        runner.note("Errors of centre and size were not measured: no object has a box that is matched to it.")
        return
    groups = [group for group, there in zip(reading.box_groups, kept, strict=True) if there]
    for name, error in (("centre_error", centre_error), ("size_error", relative_size_error)):
        runner.log_samples(
            name,
            error(mine[kept], true[kept]),
            groups=groups,
            baselines={"typical_boxes": error(typical[kept], true[kept])},
            higher_is_better=False,
        )


def _save_boxes(
    runner: ExperimentRunner,
    reading: Reading,
    found: Mapping[str, list[np.ndarray]],
    iou: Mapping[str, np.ndarray],
    baselines: Mapping[str, np.ndarray],
    width: int,
) -> None:
    _, objects = reading.captions()
    reading.save_overlay(
        {"X7 tokens": found[OWN], "X3 tokens": found[OWN_CONTROL]},
        "Boxes read by the same head from DINOv2's tokens and from X3",
    )
    groups, numbers = np.array(reading.box_groups), reading.objects_beside
    series: dict[str, dict[str, Any]] = {
        arm: {
            "all": estimate(scores, reading.box_groups),
            **{f"{n}": estimate(scores[numbers == n], groups[numbers == n].tolist()) for n in np.unique(numbers)},
        }
        for arm, scores in iou.items()
    }
    drawn = bars(
        series,
        title="Boxes by the number of objects in a picture",
        caption=f"{objects} · one width: {width} features a place · 95 % intervals over sources",
        y_label="mean IoU of matched boxes",
        x_label="objects in the picture",
        baselines={"typical boxes": float(baselines["typical_boxes"].mean())},
        thresholds={"go": GO},
    )
    runner.results.save_artifact("boxes_by_number.png", drawn)


def _save_detections(runner: ExperimentRunner, detecting: Detecting, precision: Precision, width: int) -> None:
    runner.results.save_artifact(
        "detections.png", detecting.picture(AP[OWN], "X7 tokens", "Objects found in DINOv2's tokens")
    )
    prior = precision.summaries["class_prior"]["ap_50"]
    keys = {
        "ap_50": "AP at .5",
        "ap_75": "AP at .75",
        "ap": "AP .5:.95",
        **{f"ap_{size}": f"{size}, .5:.95" for size in ("small", "medium", "large")},
    }
    drawn = bars(
        {arm: {words: precision.estimate(metric, key) for key, words in keys.items()} for arm, metric in AP.items()},
        title="The same detector on DINOv2's tokens and on X3",
        caption=f"{detecting.caption()} · one width: {width} features a place · 95 % interval by jackknife",
        y_label="average precision",
        baselines={"class prior, at .5": prior} if prior is not None else {},
    )
    runner.results.save_artifact("average_precision.png", drawn)


def _patch_features(runner: ExperimentRunner, reading: Reading, arms: Mapping[str, Tokens]) -> bytes:
    """PNG: the three axes along which a point's tokens vary most over the training pictures, as red, green and blue."""
    groups = [reading.dataset.groups[i] for i in reading.split.test]
    some = one_of_each(groups)[:8]
    pictures = img_as_float32(reading.dataset.images[reading.split.test[some]])
    rows = {"picture": pictures}
    for name, arm in (("X7", OWN), ("X3", OWN_CONTROL)):
        _, h, w, _ = arms[arm]["train"].shape
        enough = arms[arm]["train"][: max(1, CELLS_FOR_PCA // (h * w))]
        rows[name] = pca_colours(enough, arms[arm]["test"][some], pictures.shape[1:3])
    return image_grid(
        rows,
        title="What varies most among patch features",
        caption=runner.caption(len(groups), sources=len(set(groups)), note="three principal axes as red, green, blue"),
    )


def _precision_stands(precision: Precision) -> str | None:
    """How X7's detections stand to X3's, at one width; None where one of the two was not measured."""
    ours, theirs = (precision.jackknife[AP[arm]] for arm in (ALIKE, ALIKE_CONTROL))
    return standing(ours[0], theirs[0], ours[1]) if ours and theirs else None


def _sentence(go: bool, read: bool, boxes_stand: str, precision_stands: str | None, one_object: bool) -> str:
    against = "" if read else ", which is not ahead of what needs no features"
    level = f"{'over' if go else 'not over'} {GO:g}" if read else ""
    said = "Go" if go else "No go"
    said += ": boxes read from DINOv2's tokens (X7) overlap the true ones by {bbox_iou:.3f}"
    said += f", {level}" if level else against
    said += " (typical boxes {typical_boxes_iou:.3f}" + (
        "; one object alone {bbox_iou_one_object:.3f}" if one_object else ""
    )
    said += "). At one width X7 is " + boxes_stand + " X3 in boxes ({bbox_iou_x7:.3f} and {bbox_iou_x3:.3f})"
    if precision_stands is None:
        return said + "; no detector could be compared."
    return said + f" and {precision_stands} it in detection (AP at .5 {{mAP_x7:.3f}} and {{mAP_x3:.3f}})."
