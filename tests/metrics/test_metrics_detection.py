"""AP is pycocotools' own, over every subset of pictures; what does not exist is None; the trivial one scores little."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from foresight.data.objects import Objects
from foresight.metrics.detection import AveragePrecision, Detections, class_prior
from foresight.metrics.statistics import Interval, mean_interval

CLASSES = (1, 2, 44, 90)


def boxes_of(rng, n: int, low=0.03, high=0.4) -> np.ndarray:
    corner, size = rng.uniform(0, 0.6, (n, 2)), rng.uniform(low, high, (n, 2))
    return np.concatenate([corner, corner + size], 1).astype(np.float32)


def world(n: int = 24, seed: int = 0, *, crowds: bool = True) -> tuple[list[Objects], list[Detections]]:
    """Objects of three sizes, some of them crowds, and detections that are a little off, wrong, doubled or missing."""
    rng = np.random.default_rng(seed)
    true, found = [], []
    for _ in range(n):
        k = int(rng.integers(1, 6))
        boxes, ids = boxes_of(rng, k), rng.choice(CLASSES, k)
        crowd = (rng.uniform(size=k) < 0.15) & crowds
        areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) * rng.uniform(0.5, 1, k)
        true.append(Objects(boxes, ids, areas, crowd, float(rng.integers(320, 640))))
        seen = rng.uniform(size=k) < 0.8
        off = np.sort((boxes[seen] + rng.normal(0, 0.02, (seen.sum(), 4))).reshape(-1, 2, 2), axis=1).reshape(-1, 4)
        labels = np.where(rng.uniform(size=seen.sum()) < 0.8, ids[seen], rng.choice(CLASSES, seen.sum()))
        false = int(rng.integers(0, 4))
        found.append(
            Detections(
                np.concatenate([off, off[:1], boxes_of(rng, false)]),
                np.concatenate([labels, labels[:1], rng.choice(CLASSES, false)]),
                rng.uniform(0.1, 1, len(off) + len(off[:1]) + false),
            )
        )
    return true, found


def plainly(true: list[Objects], found: list[Detections]) -> np.ndarray:
    """The twelve numbers of COCOeval, run as its own demonstration does."""
    annotations, results = [], []
    for image, (of, got) in enumerate(zip(true, found, strict=True)):
        px = of.frame_px
        for box, category, area, crowd in zip(of.boxes, of.category_ids, of.areas, of.crowd, strict=True):
            x0, y0, x1, y1 = (float(edge) * px for edge in box)
            place = {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": float(area) * px**2, "iscrowd": int(crowd)}
            annotations.append({"id": 7 + len(annotations), "image_id": image, "category_id": int(category), **place})
        for box, category, score in zip(got.boxes, got.category_ids, got.scores, strict=True):
            x0, y0, x1, y1 = (float(edge) * px for edge in box)
            bbox = [x0, y0, x1 - x0, y1 - y0]
            results.append({"image_id": image, "category_id": int(category), "bbox": bbox, "score": float(score)})
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": image} for image in range(len(true))],
            "annotations": annotations,
            "categories": [{"id": category} for category in CLASSES],
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_number_is_that_of_pycocotools_run_plainly(seed):
    true, found = world(seed=seed)
    stats = plainly(true, found)
    summary = AveragePrecision(found, true, CLASSES).summary()
    names = ("ap", "ap_50", "ap_75", "ap_small", "ap_medium", "ap_large")
    for name, expected in zip(names, stats, strict=False):
        assert summary[name] == pytest.approx(float(expected), abs=1e-12), name
    assert 0.2 < summary["ap_50"] < 0.95


def test_ap_of_some_pictures_is_that_of_a_run_on_those_alone():
    true, found = world()
    ap = AveragePrecision(found, true, CLASSES)
    assert ap.at_half() == pytest.approx(plainly(true, found)[1], abs=1e-12)
    rng = np.random.default_rng(0)
    for _ in range(5):
        some = np.sort(rng.choice(24, 15, replace=False))
        expected = plainly([true[i] for i in some], [found[i] for i in some])[1]
        assert ap.at_half(some) == pytest.approx(expected, abs=1e-12)


def test_the_jackknife_gives_ap_an_interval():
    true, found = world(40)
    ap = AveragePrecision(found, true, CLASSES)
    scores, groups = ap.jackknife([f"source-{i // 2}" for i in range(40)])
    assert len(scores) == len(set(groups)) == 20
    assert scores.mean() == pytest.approx(ap.at_half(), abs=1e-9)
    interval = mean_interval([(scores, groups)])
    assert isinstance(interval, Interval)
    assert 0.05 < interval.high - interval.low < 0.6


def test_a_perfect_detector_scores_one_and_a_blind_one_little():
    true, _ = world(crowds=False)
    perfect = [Detections(of.boxes, of.category_ids, np.ones(len(of))) for of in true]
    assert AveragePrecision(perfect, true, CLASSES).summary()["ap"] == pytest.approx(1)
    dealt = perfect[1:] + perfect[:1]
    assert AveragePrecision(dealt, true, CLASSES).at_half() < 0.1
    assert AveragePrecision(class_prior(true, len(true)), true, CLASSES).at_half() < 0.15


def test_what_does_not_exist_is_none_and_no_crash():
    rng = np.random.default_rng(0)
    large = [Objects(boxes_of(rng, 1, 0.3, 0.4), np.array([1]), np.array([0.1]), np.zeros(1, bool), 640.0)] * 12
    found = [Detections(of.boxes, of.category_ids, np.ones(1)) for of in large]
    summary = AveragePrecision(found, large, CLASSES).summary()
    assert summary["ap_large"] == pytest.approx(1)
    assert summary["ap_small"] is summary["ap_medium"] is None
    # nothing but crowds, in all pictures or in all but one
    crowd = Objects(large[0].boxes, large[0].category_ids, large[0].areas, np.ones(1, bool), 640.0)
    groups = [str(i) for i in range(12)]
    nothing = AveragePrecision(found, [crowd] * 12, CLASSES)
    assert nothing.at_half() is None
    assert nothing.jackknife(groups) is None
    assert AveragePrecision(found, [large[0], *[crowd] * 11], CLASSES).jackknife(groups) is None


def test_no_detection_at_all_is_zero_where_there_is_something_to_find():
    true, _ = world(crowds=False)
    nothing = [Detections(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0))] * len(true)
    ap = AveragePrecision(nothing, true, CLASSES)
    assert ap.at_half() == 0
    assert ap.summary()["ap"] == 0


def test_detections_of_other_pictures_are_refused():
    true, found = world()
    with pytest.raises(ValueError, match="detections of 23 pictures cannot be scored on 24"):
        AveragePrecision(found[1:], true, CLASSES)
