"""Detectors on tokens: the same head on every arm, and one score for what each found.

An arm is tokens under a name, which is also its metric. Scored by COCO's own code, with an interval by the jackknife
over sources, beside every class at its typical boxes, as sure as they are common (`class_prior`); and one arm's own
detections dealt out to other pictures (`other_pictures`), which keep the habits of the head and lose what it saw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from skimage.util import img_as_float32

from foresight.data.objects import category_names, objects_of
from foresight.experiments.reading import MAP, Reading, Tokens, estimate
from foresight.metrics.box_sets import pairwise_iou
from foresight.metrics.detection import AveragePrecision, Detections, class_prior
from foresight.plots.pictures import box_overlay
from foresight.plots.style import Estimate
from foresight.probes.detectors import DetectionProbe, fit_detector

T = TypeVar("T")

SHOWN = 0.3  # least score of a detection in a picture of them; all of them are scored
TRIVIAL = ("class_prior", "other_pictures")


class Detecting:
    """The detectors of a handler's arms, and what they find in the held-out pictures."""

    def __init__(self, reading: Reading) -> None:
        self.reading, self.runner = reading, reading.runner
        self.objects, self.names = objects_of(reading.dataset), category_names(reading.dataset)
        self.true = [self.objects[i] for i in reading.split.test]
        self.groups = [reading.dataset.groups[i] for i in reading.split.test]
        self.probes: dict[str, DetectionProbe] = {}
        self.found: dict[str, list[Detections]] = {}

    def fit(self, arm: str, tokens: Tokens, settings: Mapping[str, Any]) -> None:
        """Train the head that `settings` name on an arm, and let it find what it can. A dense one has the arm's map."""
        options, split = dict(settings), self.reading.split
        if options.get("kind") == "dense":
            options["parts"] = max(1, round(self.runner.config.get("map", MAP) / tokens["train"].shape[1]))
        self.probes[arm] = fit_detector(
            tokens["train"],
            [self.objects[i] for i in split.train],
            tokens["validation"],
            [self.objects[i] for i in split.val],
            category_ids=sorted(self.names),
            seed=self.runner.seed,
            device=self.runner.device,
            watch=self.runner.loss_curve(arm),
            **options,
        )
        self.found[arm] = self.probes[arm].predict(tokens["test"])

    def score(self, designated: str) -> Precision:
        """Average precision of every arm, each handed over under its name; `designated`'s detections are dealt out."""
        counted = [self.objects[i].counted for i in self.reading.split.train]
        dealt = elsewhere(self.found[designated], self.groups, self.runner.rng)
        trivial = dict(zip(TRIVIAL, (class_prior(counted, len(self.true)), dealt), strict=True))
        ap = {name: AveragePrecision(of, self.true, list(self.names)) for name, of in {**self.found, **trivial}.items()}
        jackknife = {name: one.jackknife(self.groups) for name, one in ap.items()}
        baselines = {name: scored[0] for name in trivial if (scored := jackknife[name])}
        summaries = {name: one.summary() for name, one in ap.items()}
        for arm in self.found:
            scored = jackknife[arm]
            if scored is None:
                self.runner.note(f"{arm} was not measured: without one of the sources there is nothing to be found.")
                continue
            self.runner.log_samples(arm, scored[0], groups=scored[1], baselines=baselines, higher_is_better=True)
        missing = sorted({size for one in summaries.values() for size, value in one.items() if value is None})
        if missing:
            self.runner.note(f"{', '.join(missing)}: insufficient, no object of that size was held out.")
        return Precision(summaries, jackknife)

    def picture(self, arm: str, name: str, title: str) -> bytes:
        """PNG: the surest of what an arm found, over the true boxes; `name` is the arm's, for people."""
        sure = [_to_show(one) for one in self.found[arm]]
        return box_overlay(
            img_as_float32(self.reading.dataset.images[self.reading.split.test[:12]]),
            self.reading.boxes["test"],
            {name: [one.boxes for one in sure]},
            names={name: [[self.names[int(category)] for category in one.category_ids] for one in sure]},
            title=title,
            caption=self.runner.caption(
                len(self.true), sources=len(set(self.groups)), note=f"the surest detections, score over {SHOWN}"
            ),
            columns=4,
        )

    def caption(self) -> str:
        """Under a picture of scores."""
        return self.runner.caption(
            sum(len(of.counted) for of in self.true),
            f"objects of {len(self.names)} classes in {len(self.true)} held-out pictures",
            sources=len(set(self.groups)),
        )

    def table(self, precision: Precision) -> dict[str, Any]:
        """For a JSON artifact: every detection and every score."""
        return {
            "items": [self.reading.dataset.manifest.items[i].id for i in self.reading.split.test],
            "categories": self.names,
            "average_precision": precision.summaries,
            "detections": {name: [vars(one) for one in of] for name, of in self.found.items()},
            "weights": {name: of.parameters for name, of in self.probes.items()},
        }


@dataclass(frozen=True)
class Precision:
    """Average precision by arm; those of `TRIVIAL` are among the arms."""

    summaries: Mapping[str, Mapping[str, float | None]]
    jackknife: Mapping[str, tuple[np.ndarray, list[str]] | None]

    def estimate(self, arm: str, key: str = "ap_50") -> Estimate | float | None:
        """AP at .5 has an interval, the others have none; None where there was nothing to be found."""
        scored = self.jackknife[arm]
        return estimate(*scored) if key == "ap_50" and scored else self.summaries[arm][key]

    def metrics(self, arms: Sequence[str]) -> dict[str, float]:
        """What no sample holds: `<arm>_<key>`, or only `<key>` of an arm `mAP`; and the baselines at .5."""
        numbers = {
            f"{arm}_{key}".replace("mAP_ap", "ap"): value
            for arm in arms
            for key, value in self.summaries[arm].items()
            if value is not None and key != "ap_50"
        }
        trivial = {f"{name}_ap_50": value for name in TRIVIAL if (value := self.summaries[name]["ap_50"]) is not None}
        return {**numbers, **trivial}


def elsewhere(found: Sequence[T], groups: Sequence[str], rng: np.random.Generator) -> list[T]:
    """What was found in every picture given to a picture of another source."""
    order = rng.permutation(len(found))
    order = order[np.argsort(np.array(groups)[order], kind="stable")]  # sources side by side, in the order of names
    most = int(np.unique(groups, return_counts=True)[1].max())
    given = np.empty(len(found), dtype=int)
    given[order] = np.roll(order, most)
    return [found[i] for i in given]


def _to_show(one: Detections) -> Detections:
    """The surest of those that lie over each other, whatever their class: a picture with all of them cannot be read."""
    chosen: list[int] = []
    for index in np.argsort(-one.scores):
        over = pairwise_iou(one.boxes[[index]], one.boxes[chosen])
        if one.scores[index] > SHOWN and not (over > 0.4).any():
            chosen.append(int(index))
    return Detections(one.boxes[chosen], one.category_ids[chosen], one.scores[chosen])
