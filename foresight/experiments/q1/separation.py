"""How far categories lie apart in one space of held-out pictures: what eq1_1 and eq1_2 measure at every space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from foresight.experiments.q1.spaces import HeldOut
from foresight.metrics.structure import distance_ratio, knn_correct, permute_labels, silhouette_by_source
from foresight.plots.maps import scatter_map
from foresight.probes.projection import map_tsne

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner

LEAST = 5  # pictures of a category, so that each of five folds has one


@dataclass(frozen=True)
class Separation:
    """Scores of the pictures whose category is frequent enough, with those under categories dealt out anew."""

    chosen: np.ndarray  # [n] which of the held-out pictures they are
    labels: np.ndarray  # [n]
    sources: list[str]
    correct: np.ndarray  # [n] 0 or 1: found by five nearest neighbours from other sources
    silhouette: np.ndarray  # [n] the jackknife's scores, whose mean is the silhouette
    silhouette_sources: list[str]
    distance_ratio: float  # within over between
    dealt: tuple[np.ndarray, np.ndarray]  # the same two under permuted labels: silhouette, correct

    @property
    def chance(self) -> tuple[float, float]:
        """Silhouette and share right under permuted labels."""
        return float(np.mean(self.dealt[0])), float(np.mean(self.dealt[1]))

    @property
    def summary(self) -> dict[str, float]:
        return {
            "silhouette": float(np.mean(self.silhouette)),
            "knn_accuracy": float(np.mean(self.correct)),
            "distance_ratio": self.distance_ratio,
        }

    def log(self, runner: ExperimentRunner, silhouette: str, knn: str) -> None:
        """Both scores with their baselines, under these names."""
        of, dealt = self.silhouette_sources, self.dealt
        runner.log_samples(silhouette, self.silhouette, groups=of, baselines={"permuted_labels": dealt[0]})
        runner.log_samples(knn, self.correct, groups=self.sources, baselines={"permuted_labels": dealt[1]})


def separation(runner: ExperimentRunner, held: HeldOut, vectors_ND: np.ndarray) -> Separation | None:
    """None where no two categories have five pictures each, which is noted."""
    chosen = held.frequent(LEAST)
    if held.labels is None or len(np.unique(held.labels[chosen])) < 2:
        return None
    if len(chosen) < len(held):
        runner.note(
            f"{len(held) - len(chosen)} of {len(held)} pictures are left out: under {LEAST} of their {held.label}."
        )
    labels, vectors = held.labels[chosen], vectors_ND[chosen]
    sources = [held.sources[index] for index in chosen]
    silhouette, of = silhouette_by_source(vectors, labels, sources)
    dealt = permute_labels(labels, sources, runner.rng)
    return Separation(
        chosen=chosen,
        labels=labels,
        sources=sources,
        correct=knn_correct(vectors, labels, sources),
        silhouette=silhouette,
        silhouette_sources=of,
        distance_ratio=distance_ratio(vectors, labels),
        dealt=(silhouette_by_source(vectors, dealt, sources)[0], knn_correct(vectors, dealt, sources)),
    )


def verdict_word(found: Separation, bands: Mapping[str, tuple[float, float]], otherwise: str) -> str:
    """The first band that is reached: by silhouette *and* neighbours for the best, by either for the next."""
    silhouette, right = float(np.mean(found.silhouette)), float(np.mean(found.correct))
    for number, (word, (least_silhouette, least_right)) in enumerate(bands.items()):
        reached = (silhouette > least_silhouette, right > least_right)
        if all(reached) or (number and any(reached)):
            return word
    return otherwise


def map_of(
    runner: ExperimentRunner, held: HeldOut, chosen: np.ndarray, spaces: Mapping[str, np.ndarray], what: str
) -> tuple[dict[str, np.ndarray], bytes]:
    """t-SNE of each space, and the picture of all: not a measurement."""
    assert held.labels is not None
    places = {name: map_tsne(vectors, runner.seed) for name, vectors in spaces.items()}
    drawn = scatter_map(
        places,
        held.labels[chosen],
        title=f"{what} by {held.label}",
        caption=runner.caption(len(chosen), note="not a measurement"),
        label_name=str(held.label),
    )
    return places, drawn
