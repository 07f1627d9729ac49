"""Average precision as COCO has it (M7), computed by pycocotools itself, and cheap to compute again without a source.

What pycocotools finds in an image (which detection matches which object, at which overlap) does not depend on other
images. That part is done once; precision over any subset of the images is then only accumulated, so that the
delete-one jackknife over sources costs one accumulation a source and gives AP an interval like any other score.

An AP over nothing (no object of that size among the images) does not exist: it is None here, never 0. Boxes are
[x0, y0, x1, y1] in 0..1; sizes count in pixels of the original, `frame_px` a side.
"""

from __future__ import annotations

import contextlib
import copy
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from foresight.data.objects import Objects
from foresight.metrics.statistics import jackknife_scores

MOST_DETECTIONS = 100  # a class and picture, as COCO has it
SIZES = ("all", "small", "medium", "large")


@dataclass(frozen=True)
class Detections:
    """What a head found in one picture."""

    boxes: np.ndarray  # [n, 4] in 0..1
    category_ids: np.ndarray  # [n]
    scores: np.ndarray  # [n], higher is surer; only their order counts


class AveragePrecision:
    """The detections of N pictures against their objects.

    Raises `ValueError` if the two differ in length, or there is no picture.
    """

    def __init__(self, found: Sequence[Detections], true: Sequence[Objects], category_ids: Sequence[int]) -> None:
        if len(found) != len(true) or not len(true):
            raise ValueError(f"detections of {len(found)} pictures cannot be scored on {len(true)}")
        self._n = len(true)
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports to stdout
            truth = COCO()
            truth.dataset = _truth(true, category_ids)
            truth.createIndex()
            self._whole = COCOeval(truth, _results(truth, found, true), "bbox")
            self._whole.evaluate()
        self._half = _at_half(self._whole)

    def at_half(self, indices: np.ndarray | None = None) -> float | None:
        """AP at an overlap of .5, over all pictures or only some (indices, ascending); mean over categories."""
        return _mean(_accumulate(self._half, indices))

    def summary(self) -> dict[str, float | None]:
        """`ap_50`, `ap_75`, `ap` (.5:.95), and `ap_small`, `ap_medium`, `ap_large` (.5:.95), as COCO reports them."""
        precision = _accumulate(self._whole, None)  # [T, R, K, A, M]
        thresholds = self._whole.params.iouThrs
        by_size = {f"ap_{size}": _mean(precision[:, :, :, k]) for k, size in enumerate(SIZES) if size != "all"}
        at = {f"ap_{100 * t:.0f}": _mean(precision[np.isclose(thresholds, t), :, :, 0]) for t in (0.5, 0.75)}
        return {**at, "ap": _mean(precision[:, :, :, 0]), **by_size}

    def jackknife(self, groups: Sequence[str]) -> tuple[np.ndarray, list[str]] | None:
        """(scores, groups), one a source, whose mean is `at_half()`: for `log_samples`. None where it does not exist.

        That is also where it would not exist without one of the sources.
        """
        if len(set(groups)) < 2:
            return None
        scores, names = jackknife_scores(self._at_half_or_nan, groups)
        return (scores, names) if np.isfinite(scores).all() else None

    def _at_half_or_nan(self, indices: np.ndarray) -> float:
        value = self.at_half(indices)
        return math.nan if value is None else value


def class_prior(train: Sequence[Objects], n: int, *, places: int = 4) -> list[Detections]:
    """What needs no features, for each of n pictures: every class at its typical boxes, as sure as they are common.

    A class's boxes are the centres of up to `places` clusters of its boxes on train, and the mean of all: a head that
    sees nothing learns where things tend to be, and this is what it has to be measured against.
    """
    from sklearn.cluster import KMeans

    boxes, ids = (np.concatenate([getattr(of, name) for of in train]) for name in ("boxes", "category_ids"))
    typical, classes, shares = [], [], []
    for one in np.unique(ids):
        own = boxes[ids == one].astype(np.float64)
        k = min(places, len(np.unique(own, axis=0)))
        clusters = KMeans(k, n_init=4, random_state=0).fit(own)
        counts = np.bincount(clusters.labels_, minlength=k)
        typical += [*clusters.cluster_centers_, own.mean(0)]
        shares += [*(counts / len(boxes)), counts.min() / len(boxes) / 2]
        classes += [one] * (k + 1)
    return [Detections(np.array(typical), np.array(classes), np.array(shares))] * n


def _truth(true: Sequence[Objects], category_ids: Sequence[int]) -> dict:
    annotations: list[dict] = []
    for image, of in enumerate(true):
        for box, category, area, crowd in zip(of.boxes, of.category_ids, of.areas, of.crowd, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,  # 0 would count as not matched
                    "image_id": image,
                    "category_id": int(category),
                    "bbox": _xywh(box, of.frame_px),
                    "area": float(area) * of.frame_px**2,
                    "iscrowd": int(crowd),
                }
            )
    return {
        "images": [{"id": image} for image in range(len(true))],
        "annotations": annotations,
        "categories": [{"id": int(category)} for category in sorted(set(category_ids))],
    }


def _results(truth: COCO, found: Sequence[Detections], true: Sequence[Objects]) -> COCO:
    results = [
        {"image_id": image, "category_id": int(category), "bbox": _xywh(box, of.frame_px), "score": float(score)}
        for image, (found_here, of) in enumerate(zip(found, true, strict=True))
        for box, category, score in zip(found_here.boxes, found_here.category_ids, found_here.scores, strict=True)
    ]
    if results:
        return truth.loadRes(results)
    nothing = COCO()  # `loadRes` does not take an empty list
    nothing.dataset = {**truth.dataset, "annotations": []}
    nothing.createIndex()
    return nothing


def _at_half(whole: COCOeval) -> COCOeval:
    """The same matches, at an overlap of .5, objects of all sizes and all detections alone: quick to accumulate."""
    half = copy.copy(whole)
    half.params = copy.deepcopy(whole.params)
    half.params.iouThrs, half.params.maxDets = whole.params.iouThrs[:1], [MOST_DETECTIONS]
    half.params.areaRng, half.params.areaRngLbl = whole.params.areaRng[:1], whole.params.areaRngLbl[:1]
    half._paramsEval = copy.deepcopy(half.params)
    n, sizes = len(whole.params.imgIds), len(whole.params.areaRng)
    of_all_sizes = [
        whole.evalImgs[(k * sizes) * n + image] for k in range(len(whole.params.catIds)) for image in range(n)
    ]
    half.evalImgs = [
        one and {**one, "dtMatches": one["dtMatches"][:1], "dtIgnore": one["dtIgnore"][:1]} for one in of_all_sizes
    ]
    return half


def _accumulate(evaluated: COCOeval, indices: np.ndarray | None) -> np.ndarray:
    """Precision [T, R, K, A] at 100 detections; -1 where there is nothing to find."""
    chosen = evaluated._paramsEval.imgIds if indices is None else [evaluated._paramsEval.imgIds[i] for i in indices]
    over = copy.copy(evaluated)
    # `accumulate` takes the n-th evaluation for the n-th image that is asked for: the others have to be left out here
    over.evalImgs = _of_images(evaluated, indices)
    over._paramsEval, over.params = copy.copy(evaluated._paramsEval), copy.copy(evaluated.params)
    over._paramsEval.imgIds = over.params.imgIds = chosen
    with contextlib.redirect_stdout(io.StringIO()):
        over.accumulate()
    return over.eval["precision"][..., over.params.maxDets.index(MOST_DETECTIONS)]


def _of_images(evaluated: COCOeval, indices: np.ndarray | None) -> list:
    if indices is None:
        return evaluated.evalImgs
    n = len(evaluated._paramsEval.imgIds)
    return [evaluated.evalImgs[start + i] for start in range(0, len(evaluated.evalImgs), n) for i in indices]


def _mean(precision: np.ndarray) -> float | None:
    """Over all that exists; None if nothing does."""
    there = precision[precision > -1]
    return float(there.mean()) if there.size else None


def _xywh(box: np.ndarray, frame_px: float) -> list[float]:
    x0, y0, x1, y1 = (float(edge) * frame_px for edge in box)
    return [x0, y0, x1 - x0, y1 - y0]
