"""Reading boxes from tokens: what the experiments that ask where objects are do alike, so that scores can be compared.

Boxes by the same head with the same map at every point (H5 with Hungarian matching), scored object by object, beside
what needs no features and beside the same head trained on boxes dealt out anew.

Points are compared at one token count and one width, as in e1_3, so that neither decides: the tokens that a point has
under one cell of the coarser grid (the four of X2 that the merger joins, the four of X7 that cover the same pixels)
stand side by side, and what each cell then has is projected to the same number of features by a PCA fitted on train, at
every point, X3 included: a head standardises what it gets, and what has been turned to its axes is then white. PCA
keeps what varies most, which need not be what says where things are; so each comparison at one width stands beside one
of the tokens as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from skimage.util import img_as_float32

from foresight.data.objects import objects_of, padded_boxes
from foresight.metrics.box_sets import matched_iou
from foresight.metrics.statistics import Insufficient, Interval, mean_interval, paired_difference_interval
from foresight.plots.pictures import box_overlay
from foresight.plots.style import Estimate
from foresight.probes.box_sets import BoxSetProbe, constant_boxes, fit_box_set_probe
from foresight.probes.projection import fit_projection, group_tokens

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner

MAP = 32  # cells across the map that a head makes of any point's tokens, if the profile does not say
PUBLISHED: dict[str, Any] = {
    "epochs": 100,
    "patience": 20,
    "lr": 1e-3,
    "batch_size": 32,
}  # training of the pooled heads
DEAL: dict[str, Any] = {"epochs": 12, "patience": 3}  # of a head that can learn nothing
CELLS_FOR_PCA, BATCH = 50_000, 64

Grid = tuple[int, ...]  # rows, columns
Tokens = Mapping[str, np.ndarray]  # train, validation, test: [N, h, w, D]


class Reading:
    """The objects of a handler's data, and the heads that look for them."""

    def __init__(self, runner: ExperimentRunner) -> None:
        self.runner = runner
        self.dataset, self.split = runner.dataset(), runner.split()
        self.objects = [of.counted for of in objects_of(self.dataset)]
        self.slots = max(map(len, self.objects))
        self.boxes = {part: [self.objects[i].boxes for i in index] for part, index in self.split.parts.items()}

    def tokens(self, need: str) -> Tokens:
        """Every part's tokens of a point, at its own width."""
        features = self.runner.features(need)
        return {part: features[index] for part, index in self.split.parts.items()}

    def alike(self, need: str, grid: Grid, width: int) -> Tokens:
        """The same as one token of `width` numbers for each cell of `grid`, however many tokens a point has there.

        Those of a cell are put side by side and projected by a PCA fitted on train.
        """
        features = self.runner.features(need)
        size = features.shape[1] // grid[0]
        enough = self.split.train[: max(1, CELLS_FOR_PCA // (grid[0] * grid[1]))]
        project = fit_projection(group_tokens(features[enough], size), width).apply

        def part(index: np.ndarray) -> np.ndarray:
            batches = [index[start : start + BATCH] for start in range(0, len(index), BATCH)]
            return np.concatenate([project(group_tokens(features[batch], size)) for batch in batches])

        return {name: part(index) for name, index in self.split.parts.items()}

    def common_width(self, needs: Sequence[str], grid: Grid) -> int:
        """How many numbers each cell of `grid` has at all of these points: the profile's `width`, or what there is."""
        return min(self.room(needs, grid), self.runner.config.get("width", 2**20))

    def room(self, needs: Sequence[str], grid: Grid) -> int:
        """How many numbers each cell of `grid` can have at all of these points."""
        cells = grid[0] * grid[1]
        widths = [min(len(self.split.train) * cells, CELLS_FOR_PCA)]
        for need in needs:
            _, h, w, own = self.runner.features(need).shape
            widths.append(own * (h * w // cells))
        return min(widths)

    # ------------------------------------------------------------------ boxes

    @cached_property
    def box_groups(self) -> list[str]:
        """The source of every object of test."""
        return [self.dataset.groups[i] for i in self.split.test for _ in self.objects[i].boxes]

    @cached_property
    def objects_beside(self) -> np.ndarray:
        """[objects of test]: how many objects are in the picture of each, itself among them."""
        return np.concatenate([np.full(len(boxes), len(boxes)) for boxes in self.boxes["test"]])

    @cached_property
    def _constant_boxes(self) -> dict[str, np.ndarray]:
        objects = [self.objects[i] for i in self.split.train]
        return constant_boxes(padded_boxes(objects, self.slots), self.runner.seed)

    @property
    def typical_boxes(self) -> np.ndarray:
        """[slots, 4]: as many boxes as a head has slots, the same for every picture."""
        return self._constant_boxes["typical_boxes"]

    def fit_boxes(self, name: str, tokens: Tokens, *, dealt: bool = False, **settings: Any) -> BoxSetProbe:
        """A box head; with `dealt`, on boxes dealt out to other pictures of the same part: nothing to learn.

        `name` is that of its loss curve.
        """
        rng, targets = self.runner.rng, {}
        for part in ("train", "validation"):
            objects = [self.objects[i] for i in self.split.parts[part]]
            targets[part] = padded_boxes(objects, self.slots)
            if dealt:
                targets[part] = targets[part][rng.permutation(len(objects))]
        cells = tokens["train"].shape[1]
        parts = max(1, round(self.runner.config.get("map", MAP) / cells))
        options = {"parts": parts, **self.runner.config.get("head", {}), **(DEAL if dealt else {}), **settings}
        return fit_box_set_probe(
            tokens["train"],
            targets["train"],
            tokens["validation"],
            targets["validation"],
            seed=self.runner.seed,
            device=self.runner.device,
            watch=self.runner.loss_curve(name),
            **options,
        )

    def fit_pooled(self, tokens: Tokens, view: str) -> BoxSetProbe:
        """A published head on the mean token."""
        return self.fit_boxes(view, tokens, view=view, hidden=None, **PUBLISHED)

    def iou(self, found: Sequence[np.ndarray]) -> np.ndarray:
        """[objects of test]: how well each is overlapped by the box that is matched to it."""
        return np.concatenate(matched_iou(found, self.boxes["test"]))

    def box_baselines(self, dealt: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """The mean box; as many typical boxes as a head has slots; and a head on boxes dealt out anew."""
        guesses = {name: [boxes] * len(self.split.test) for name, boxes in self._constant_boxes.items()}
        return {name: self.iou(guess) for name, guess in {**guesses, "permuted_boxes": dealt}.items()}

    # ------------------------------------------------------------------ what is left behind

    def captions(self) -> tuple[str, str]:
        """Under a picture of pictures, and under one of scores of objects."""
        tested = len(self.split.test)
        sources = len({self.dataset.groups[i] for i in self.split.test})
        objects = len(self.box_groups)
        return (
            self.runner.caption(tested, sources=sources),
            self.runner.caption(objects, f"objects in {tested} held-out pictures", sources=sources),
        )

    def save_overlay(self, found: Mapping[str, Sequence[np.ndarray]], title: str) -> None:
        """Leave `boxes.png`: the first held-out pictures with the true boxes and those that each head found."""
        shown = img_as_float32(self.dataset.images[self.split.test[:18]])
        drawn = box_overlay(shown, self.boxes["test"], found, title=title, caption=self.captions()[0])
        self.runner.results.save_artifact("boxes.png", drawn)

    def table(
        self,
        found: Mapping[str, Sequence[np.ndarray]],
        iou: Mapping[str, np.ndarray],
        baselines: Mapping[str, np.ndarray],
    ) -> dict[str, Any]:
        """For a JSON artifact: every box and every score."""
        return {
            "items": [self.dataset.manifest.items[i].id for i in self.split.test],
            "true": self.boxes["test"],
            "found": found,
            "iou": {**iou, **baselines},
            "iou_of_item": [i for i, boxes in enumerate(self.boxes["test"]) for _ in boxes],
        }


def estimate(values: np.ndarray, groups: Sequence[str]) -> Estimate:
    """The mean with its interval over sources, for a picture of one seed."""
    found = mean_interval([(values.tolist(), list(groups))])
    if isinstance(found, Interval):
        return Estimate(found.estimate, found.low, found.high)
    return Estimate(float(np.mean(values)))


Standing = Literal["ahead of", "level with", "behind", "not told apart (too few sources) from"]


def standing(scores: np.ndarray, other: np.ndarray, groups: Sequence[str]) -> Standing:
    """How one arm stands to another on the same samples, more being better: by the paired difference over sources."""
    found = difference(scores, other, groups)
    if not isinstance(found, Interval):
        return "not told apart (too few sources) from"
    return ("ahead of" if found.low > 0 else "behind") if found.excludes_zero else "level with"


def difference(scores: np.ndarray, other: np.ndarray, groups: Sequence[str]) -> Interval | Insufficient:
    """By how much one arm has more than another on the same samples, over sources."""
    return paired_difference_interval([(scores.tolist(), other.tolist(), list(groups))], higher_is_better=True)


def name_of(need: str) -> str:
    """`vlm:X4.last` -> `X4.last`."""
    return need.split(":")[1]


def metric_of(need: str) -> str:
    """`vlm:X4.last` -> `x4_last`."""
    return name_of(need).lower().replace(".", "_")
