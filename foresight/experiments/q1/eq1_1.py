"""eq1_1, VLM latent space: how do categories separate, point by point through the vision-language model?

At every point (mean visual token, held-out pictures): silhouette and five nearest neighbours from other sources, both
in the full space, and mean distance within a category over that between categories. All beside the same under
categories dealt out anew. Maps are pictures, and nothing is measured on them.

The plain names `silhouette_score` and `knn_accuracy` are those of X4.last, fixed in advance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from foresight.experiments.q1.separation import Separation, map_of, separation, verdict_word
from foresight.experiments.q1.spaces import VLM, estimate, held_out, metric_name, point_of, space
from foresight.plots.charts import curve

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner

EXCELLENT, GOOD = (0.5, 0.8), (0.3, 0.6)  # silhouette, share of right neighbours
LEVELS = (
    f"good: silhouette over {GOOD[0]:g} or neighbours over {GOOD[1]:.0%}, "
    f"excellent: over {EXCELLENT[0]:g} and {EXCELLENT[1]:.0%}"
)


def run(runner: ExperimentRunner) -> dict[str, Any]:
    held = held_out(runner)
    points: dict[str, Separation] = {}
    vectors: dict[str, np.ndarray] = {}
    for done, need in enumerate(runner.needs):
        runner.progress(done / (len(runner.needs) + 1), f"separation at {need}")
        vectors[need] = space(runner, held, need).held
        found = separation(runner, held, vectors[need])
        if found is None:
            return {"finding": "Not measured: no two categories have five held-out pictures."}
        points[need] = found
        reached = {"silhouette": np.mean(found.silhouette), "knn_accuracy": np.mean(found.correct)}
        runner.log_metrics({f"by_point/{kind}": value for kind, value in reached.items()}, step=done)

    metrics: dict[str, float] = {}
    for need, found in points.items():
        of = () if need == VLM else (point_of(need),)
        found.log(runner, metric_name("silhouette_score", *of), metric_name("knn_accuracy", *of))
        metrics[metric_name("distance_ratio", point_of(need))] = found.distance_ratio
    metrics["permuted_silhouette"], metrics["permuted_knn"] = points[VLM].chance

    runner.progress(len(runner.needs) / (len(runner.needs) + 1), "maps")
    chosen = points[VLM].chosen
    maps = {point_of(need): all_of[chosen] for need, all_of in vectors.items()}
    places, drawn = map_of(runner, held, chosen, maps, "Mean visual token")
    runner.results.save_artifact("map.png", drawn)
    drawn = curve(
        [point_of(need) for need in points],
        {
            "nearest neighbours right": [estimate(found.correct, found.sources) for found in points.values()],
            "silhouette": [estimate(found.silhouette, found.silhouette_sources) for found in points.values()],
        },
        title=f"How well pictures separate by {held.label}, point by point",
        caption=runner.caption(len(chosen)),
        x_label="point of the vision-language model",
        y_label="share right; silhouette, -1 to 1",
        baselines={
            "right by chance": points[VLM].chance[1],
            "silhouette by chance": points[VLM].chance[0],
        },
    )
    runner.results.save_artifact("by_point.png", drawn)
    runner.results.save_json_artifact(
        "separation.json",
        {
            "items": [runner.dataset().manifest.items[held.index[i]].id for i in chosen],
            "labels": points[VLM].labels,
            "tsne": {point: np.round(place, 3) for point, place in places.items()},
            "scores": {point_of(need): found.summary for need, found in points.items()},
        },
    )

    word = verdict_word(points[VLM], {"an excellent": EXCELLENT, "a good": GOOD}, "a weak")
    return {
        "finding": f"X4.last gives {word} separation by {held.label} ({LEVELS}): silhouette {{silhouette_score:.3f}} "
        "in the full space ({permuted_silhouette:.3f} with permuted labels), nearest neighbours right in "
        "{knn_accuracy:.1%} ({permuted_knn:.1%}).",
        "metrics": metrics,
    }
