"""Reading objects from tokens: what e_q2_1, e_q2_2 and e_q2_3 do alike, so that their scores can be compared.

Boxes by the same head with the same map at every point (H5 with Hungarian matching), scored object by object; which of
two objects is left of, right of, above or below the other, from what the tokens under each say and not from where
those tokens are; and the class of single tokens, background among them. Each beside what needs no features, and beside
the same head trained on labels dealt out anew.

Points are compared at one token count and one width, as in e1_3, so that neither decides: the four tokens of X2 that
the merger joins stand side by side as it takes them, and what each cell of X3's grid then has is projected to the same
number of features by a PCA fitted on train, at every point, X3 included: a head standardises what it gets, and what
has been turned to its axes is then white. PCA keeps what varies most, which need not be what says where things are;
so each comparison at one width stands beside one of the tokens as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from foresight.data.objects import Objects, objects_of, padded_boxes
from foresight.errors import StepFailed
from foresight.metrics.box_sets import matched_iou, relation
from foresight.metrics.statistics import Interval, mean_interval, paired_difference_interval
from foresight.metrics.structure import permute_labels
from foresight.plots.style import Estimate
from foresight.probes.box_sets import BoxSetProbe, constant_boxes, fit_box_set_probe
from foresight.probes.classes import ClassFeatures, balanced_tokens, pooled_over_boxes, token_classes
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
CELLS_FOR_PCA, TOKENS_TO_CLASSIFY, BATCH = 50_000, 10_000, 64

Grid = tuple[int, ...]  # rows, columns
Tokens = Mapping[str, np.ndarray]  # train, validation, test: [N, h, w, D]


@dataclass(frozen=True)
class Scores:
    """One score a sample, with the source of each and what needs no features on the same samples."""

    values: np.ndarray
    groups: list[str]
    baselines: dict[str, np.ndarray]


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
        """How many numbers each cell of `grid` can have at all of these points, at most the profile's `width`."""
        cells = grid[0] * grid[1]
        widths = [min(len(self.split.train) * cells, CELLS_FOR_PCA)]
        for need in needs:
            _, h, w, own = self.runner.features(need).shape
            widths.append(own * (h * w // cells))
        return min(*widths, self.runner.config.get("width", 2**20))

    # ------------------------------------------------------------------ boxes

    @cached_property
    def box_groups(self) -> list[str]:
        """The source of every object of test."""
        return [self.dataset.groups[i] for i in self.split.test for _ in self.objects[i].boxes]

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
        objects = [self.objects[i] for i in self.split.train]
        constant = constant_boxes(padded_boxes(objects, self.slots), self.runner.seed)
        guesses = {name: [boxes] * len(self.split.test) for name, boxes in constant.items()}
        return {name: self.iou(guess) for name, guess in {**guesses, "permuted_boxes": dealt}.items()}

    # ------------------------------------------------------------------ relative position and classes

    def relative_position(self, tokens: Tokens) -> Scores | None:
        """Whether each ordered pair of objects of test is told right, 1 or 0. None if a part has no pair."""

        def pairs(part: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
            x, y, groups = [], [], []
            for picture, index in zip(tokens[part], self.split.parts[part], strict=True):
                boxes = self.objects[index].boxes
                pooled = pooled_over_boxes(picture, boxes)
                for a in range(len(boxes)):
                    for b in set(range(len(boxes))) - {a}:
                        x.append(np.concatenate([pooled[a], pooled[b]]))
                        y.append(relation(boxes[a], boxes[b]))
                        groups.append(self.dataset.groups[index])
            return np.array(x), np.array(y), groups

        return self._classified({part: pairs(part) for part in ("train", "validation", "test")})

    def token_class(self, tokens: Tokens) -> Scores | None:
        """Whether each token of test is told right, 1 or 0: on objects, and as many on background."""
        rng = self.runner.rng

        def chosen(part: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
            index = self.split.parts[part]
            labels = token_classes([self._with_crowds[i] for i in index], tokens[part].shape[1:3])
            places = tuple(balanced_tokens(labels, rng, TOKENS_TO_CLASSIFY).T)
            return tokens[part][places], labels[places], [self.dataset.groups[index[i]] for i in places[0]]

        return self._classified({part: chosen(part) for part in ("train", "validation", "test")})

    @cached_property
    def _with_crowds(self) -> list[Objects]:
        return objects_of(self.dataset)

    def _classified(self, parts: Mapping[str, tuple[np.ndarray, np.ndarray, list[str]]]) -> Scores | None:
        if not all(len(groups) for _, _, groups in parts.values()):
            return None
        (x, y, of), (x_val, y_val, of_val), (x_test, y_test, groups) = parts.values()
        rng = self.runner.rng
        dealt, dealt_val = permute_labels(y, of, rng), permute_labels(y_val, of_val, rng)
        classes, counts = np.unique(y, return_counts=True)
        features = ClassFeatures.of(x, x_val)
        told = features.fit(y, y_val).predict(x_test)
        blind = features.fit(dealt, dealt_val).predict(x_test)
        return Scores(
            (told == y_test).astype(float),
            groups,
            {
                "most_common": (classes[counts.argmax()] == y_test).astype(float),
                "permuted_labels": (blind == y_test).astype(float),
            },
        )

    def log_content(self, tokens: Tokens) -> dict[str, Scores]:
        """`position_accuracy` and `patch_accuracy` of a point, where the data have what they ask for, by metric."""
        studies: dict[str, tuple[Callable[[Tokens], Scores | None], str]] = {
            "position_accuracy": (self.relative_position, "two objects in one picture"),
            "patch_accuracy": (self.token_class, "token that lies on an object"),
        }
        found = {}
        for metric, (study, lacking) in studies.items():
            scores = study(tokens)
            if scores is None:
                self.runner.note(f"{metric} was not measured: some part of the data has no {lacking}.")
                continue
            found[metric] = scores
            self.runner.log_samples(
                metric, scores.values, groups=scores.groups, baselines=scores.baselines, higher_is_better=True
            )
        return found

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


def merger_block(runner: ExperimentRunner) -> int:
    """How many tokens of X2 the merger joins each way. Raises `StepFailed` if X2 is not what lies before a merger."""
    pre, post = runner.features("vlm:X2").shape, runner.features("vlm:X3").shape
    size = pre[1] // post[1]
    if size < 2 or pre[1:3] != (size * post[1], size * post[2]) or pre[3] == post[3]:
        raise StepFailed(
            f"X2 has {pre[1]}x{pre[2]} tokens of {pre[3]} features and X3 {post[1]}x{post[2]} of {post[3]}: that is no "
            "merger between them. One of the two was not extracted where it says.",
            cause="needs",
            retryable=False,
        )
    return size


def estimate(values: np.ndarray, groups: Sequence[str]) -> Estimate:
    """The mean with its interval over sources, for a picture of one seed."""
    found = mean_interval([(values.tolist(), list(groups))])
    if isinstance(found, Interval):
        return Estimate(found.estimate, found.low, found.high)
    return Estimate(float(np.mean(values)))


CONTENT = {"position_accuracy": "relative position", "patch_accuracy": "class of a token"}
"""What `Reading.log_content` measures, in words."""


def told(content: Mapping[str, Scores]) -> str:
    """The same as part of a finding, beside what dealt-out labels give: what can be told, and what cannot."""
    known = [metric for metric, of in content.items() if _ahead(of)]
    said = [
        "the tokens tell "
        + " and ".join(
            f"{CONTENT[metric]} in {{{metric}:.0%}} of cases ({{permuted_{metric}:.0%}} with permuted labels)"
            for metric in known
        )
    ] * bool(known)
    said += [
        f"{CONTENT[metric]} cannot be told from them ({{{metric}:.0%}}, {{permuted_{metric}:.0%}} with permuted labels)"
        for metric in content
        if metric not in known
    ]
    return "; ".join(said)


def _ahead(scores: Scores) -> bool:
    """Better than with dealt-out labels, by the paired difference over sources; by the means where sources are few."""
    blind = scores.baselines["permuted_labels"]
    ahead = paired_difference_interval([(scores.values.tolist(), blind.tolist(), scores.groups)], higher_is_better=True)
    return ahead.low > 0 if isinstance(ahead, Interval) else bool(np.mean(scores.values) > np.mean(blind))


def content_metrics(content: Mapping[str, Scores]) -> dict[str, float]:
    """The metrics that `told` refers to beside the scores themselves."""
    return {f"permuted_{metric}": float(np.mean(of.baselines["permuted_labels"])) for metric, of in content.items()}


def name_of(need: str) -> str:
    """`vlm:X4.last` -> `X4.last`."""
    return need.split(":")[1]


def metric_of(need: str) -> str:
    """`vlm:X4.last` -> `x4_last`."""
    return name_of(need).lower().replace(".", "_")
