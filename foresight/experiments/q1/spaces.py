"""What all of Q1 compares: held-out pictures as vectors, one picture a source, in the units of the other pictures.

A picture is its mean visual token in the vision-language model, and all cells of its latents ("flat") in the video
model. Every value is standardised by mean and deviation of the pictures that are not held out, so that no channel
decides by its scale and nothing of what is compared is fitted on it. One picture a source, since pictures of one
source lie together in any space; so n, pairs, permutations and what is left out for an interval all mean sources.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from foresight.features.views import VIEWS
from foresight.metrics.statistics import Interval, mean_interval
from foresight.plots.style import Estimate
from foresight.probes.linear import Standardiser

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner

VLM, LTX = "vlm:X4.last", "vae:X6"  # the designated pair: mean visual token, flat latents
DESIGNATED_VIEW = {"vlm": "mean", "vae": "flat"}
LABELS = ("category", "template")  # what a data set may call the category of a picture, best first
DEALS = 3  # of permuted pictures, averaged, where chance is a baseline: one alone varies


@dataclass(frozen=True)
class HeldOut:
    """N held-out pictures, and the others."""

    index: np.ndarray  # [N] items of the data set, sorted
    sources: list[str]
    rest: np.ndarray  # items that units and probes may be fitted on
    rest_sources: list[str]
    label: str | None  # what `labels` are, None if the data have none
    labels: np.ndarray | None  # [N]

    def __len__(self) -> int:
        return len(self.index)

    def frequent(self, least: int) -> np.ndarray:
        """[n] which of the N pictures have a label that at least `least` of them have; none without labels."""
        if self.labels is None:
            return np.array([], dtype=int)
        count = Counter(self.labels)
        return np.flatnonzero([count[label] >= least for label in self.labels])


def held_out(runner: ExperimentRunner) -> HeldOut:
    """Test pictures, the first of each source; train and validation are the rest. Notes what labels there are."""
    dataset, split = runner.dataset(), runner.split()
    groups = np.array(dataset.groups)
    _, first = np.unique(groups[split.test], return_index=True)
    index = np.sort(split.test[first])
    rest = np.sort(np.concatenate([split.train, split.val]))
    items = dataset.manifest.items
    label = next((name for name in LABELS if all(name in item.labels for item in items)), None)
    if label is None:
        runner.note("These data have no category: what asks for one is left out.")
    elif label != LABELS[0]:
        runner.note(f"These data have no category of pictures; their {label} stands in for it.")
    labels = None if label is None else dataset.labels(label)[index]
    return HeldOut(index, list(groups[index]), rest, list(groups[rest]), label, labels)


@dataclass(frozen=True)
class Space:
    """Vectors of the held-out pictures and of the rest, in the units of the rest."""

    held: np.ndarray  # [N, D] float64
    rest: np.ndarray  # [M, D]


def space(runner: ExperimentRunner, held: HeldOut, need: str, view: str | None = None) -> Space:
    """`need` as vectors, by the designated view of its model unless another is asked for."""
    role, point = need.split(":")
    features, make = runner.features(need), VIEWS[view or DESIGNATED_VIEW[role]]
    rest = make(features, held.rest)
    standardiser = Standardiser.fit(rest)
    if point.startswith("X4") and runner.is_stand_in(role):
        runner.note("X4 comes from a stand-in whose language model is random: it says nothing of Qwen2.5-VL's.")
    return Space(standardiser.apply(make(features, held.index)), standardiser.apply(rest))


def point_of(need: str) -> str:
    """`vlm:X4.last` -> `X4.last`."""
    return need.split(":")[1]


def metric_name(*parts: str) -> str:
    """`("cka", "X4.last")` -> `cka_x4_last`."""
    return "_".join(parts).lower().replace(".", "_").replace("@", "_").replace(" ", "_")


def estimate(scores: Sequence[float] | np.ndarray, groups: Sequence[str]) -> Estimate:
    """The mean of one seed's scores for a picture, with its interval if there are enough sources."""
    found = mean_interval([(list(scores), groups)])
    ends = (found.low, found.high) if isinstance(found, Interval) else (None, None)
    return Estimate(float(np.mean(scores)), *ends)
