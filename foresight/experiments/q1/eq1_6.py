"""eq1_6, neighbourhoods: are a picture's nearest neighbours in one space its nearest neighbours in the other?

Recall of the k nearest among the held-out pictures, Euclidean, X4.last (mean visual token) against X6 (flat). A
picture is never its own neighbour, and ties fall at random. Recall is the same in both directions. Two baselines, both
known exactly: neighbours drawn from all others, k / (N - 1), and neighbours drawn from the picture's own category,
which is what a space gives that knows categories and nothing else. Jaccard overlap and the reciprocal rank of the
nearest neighbour say the same otherwise.

`neighborhood_recall_at_10`, Q1's criterion, is the mean over pictures at k = 10. A picture's neighbours change when
another is left out, so its interval is the jackknife's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.util import img_as_float32

from foresight.experiments.q1.spaces import LTX, VLM, HeldOut, estimate, held_out, space
from foresight.metrics.distances import distances
from foresight.metrics.neighbours import (
    jaccard,
    leave_one_out,
    neighbour_ranks,
    rank_of_nearest,
    recall,
    same_category_recall,
    uniform_recall,
)
from foresight.metrics.statistics import Interval, paired_difference_interval, pseudo_values
from foresight.plots.charts import bars, curve
from foresight.plots.pictures import image_grid
from foresight.plots.style import Estimate

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner

K = (1, 5, 10, 20, 50, 100)
DESIGNATED = 10
STRONG, ACCEPTABLE, WEAK = 0.4, 0.2, 0.1
LEAST = 3  # pictures of a category, to show its recall
EXAMPLES, SHOWN = 3, 6  # pictures, and neighbours of each


def run(runner: ExperimentRunner) -> dict[str, Any]:
    held = held_out(runner)
    vlm, ltx = (neighbour_ranks(distances(space(runner, held, need).held), runner.rng) for need in (VLM, LTX))
    n = len(held)
    sizes = [k for k in K if k < n - 1]
    if DESIGNATED not in sizes:
        return {"finding": f"Not measured: of {n} held-out pictures each has no choice of {DESIGNATED} neighbours."}

    # Scores: the jackknife's, picture by picture
    metrics: dict[str, float] = {}
    beaten = False
    curves: dict[str, list[Estimate | float]] = {"X4.last and X6": [], "any picture": []}
    for done, k in enumerate(sizes):
        runner.progress(done / (len(sizes) + 1), f"{k} nearest neighbours")
        means = {"recall": float(np.mean(_found(vlm, ltx, k))), "uniform": uniform_recall(n, k)}
        if held.labels is not None:
            means["same_category"] = float(np.mean(same_category_recall(ltx, held.labels, k)))
        runner.log_metrics({f"by_neighbours/{name}": mean for name, mean in means.items()}, step=k)
        left_out = leave_one_out(vlm, ltx, held.labels, k)
        scores = {name: pseudo_values(mean, left_out[name]) for name, mean in means.items()}
        if k == DESIGNATED:
            beaten = _beaten(scores, held.sources)
        ours = scores.pop("recall")
        runner.log_samples(f"neighborhood_recall_at_{k}", ours, groups=held.sources, baselines=scores)
        curves["X4.last and X6"].append(estimate(ours, held.sources))
        curves["any picture"].append(means["uniform"])
        if "same_category" in means:
            curves.setdefault(f"any of the {held.label}", []).append(means["same_category"])
            metrics[f"same_category_recall_at_{k}"] = means["same_category"]
        metrics[f"uniform_recall_at_{k}"] = means["uniform"]
    overlap = jaccard(vlm, ltx, DESIGNATED)
    metrics |= {} if overlap is None else {"jaccard_at_10": np.mean(overlap)}
    ranks = {"LTX rank of the VLM's nearest": rank_of_nearest(vlm, ltx), "VLM rank of LTX's": rank_of_nearest(ltx, vlm)}
    forth, back = (float(np.mean(1 / found)) for found in ranks.values())
    metrics |= {"mean_reciprocal_rank": forth, "mean_reciprocal_rank_back": back}
    metrics["chance_reciprocal_rank"] = float(np.mean(1 / np.arange(1, n)))

    runner.progress(len(sizes) / (len(sizes) + 1), "pictures")
    _pictures(runner, held, vlm, ltx, sizes, curves, ranks)

    # Finding
    beyond = "" if beaten else ", which is no more than such a draw may give"
    mean = float(np.mean(_found(vlm, ltx, DESIGNATED)))
    word = "strongly" if mean > STRONG else "acceptably" if mean > ACCEPTABLE else "weakly" if mean > WEAK else "hardly"
    of_label = f", drawn from the same {held.label} {{same_category_recall_at_10:.3f}}" if held.label else ""
    return {
        "finding": f"Neighbourhoods overlap {word} (weakly: over {WEAK:g}, acceptably: over {ACCEPTABLE:g}, "
        f"strongly: over {STRONG:g}): {{neighborhood_recall_at_10:.3f}} of ten neighbours are the same "
        f"(drawn from all pictures {{uniform_recall_at_10:.3f}}{of_label}){beyond}.",
        "metrics": metrics,
    }


def _beaten(scores: Mapping[str, np.ndarray], sources: list[str]) -> bool:
    """Whether recall is ahead of every baseline by more than its interval."""
    ahead = [
        paired_difference_interval([(list(scores["recall"]), list(baseline), sources)], higher_is_better=True)
        for name, baseline in scores.items()
        if name != "recall"
    ]
    return all(isinstance(difference, Interval) and difference.low > 0 for difference in ahead)


def _found(vlm: np.ndarray, ltx: np.ndarray, k: int) -> np.ndarray:
    """[N] recall at a k that leaves a choice."""
    found = recall(vlm, ltx, k)
    assert found is not None
    return found


def _pictures(
    runner: ExperimentRunner,
    held: HeldOut,
    vlm: np.ndarray,
    ltx: np.ndarray,
    sizes: list[int],
    curves: dict[str, list[Estimate | float]],
    ranks: dict[str, np.ndarray],
) -> None:
    n, shown = len(held), runner.caption(len(held))
    drawn = curve(
        sizes,
        curves,
        title="Neighbours in one space that are neighbours in the other",
        caption=shown,
        x_label="neighbours a picture, k",
        y_label="recall at k",
        thresholds={"acceptable at 10": ACCEPTABLE},
        log_x=True,
    )
    runner.results.save_artifact("recall.png", drawn)
    places = np.unique(np.round(np.geomspace(1, n - 1, 24)).astype(int))
    drawn = curve(
        places.tolist(),
        {
            **{name: [float(np.mean(found <= place)) for place in places] for name, found in ranks.items()},
            "by chance": [float(place / (n - 1)) for place in places],
        },
        title="Where the nearest neighbour of one space stands in the other",
        caption=shown,
        x_label=f"rank among the {n - 1} others, at most",
        y_label="share of pictures",
        log_x=True,
    )
    runner.results.save_artifact("rank_of_nearest.png", drawn)

    per_picture = _found(vlm, ltx, DESIGNATED)
    by_category: dict[str, dict[str, float]] = {}
    if held.labels is not None:
        alone = same_category_recall(ltx, held.labels, DESIGNATED)
        chosen = np.unique(held.labels[held.frequent(LEAST)])
        for name, scores in (("X4.last and X6", per_picture), (f"any of the {held.label}", alone)):
            by_category[name] = {str(label): float(scores[held.labels == label].mean()) for label in chosen}
        if len(chosen):
            drawn = bars(
                by_category,
                title=f"Recall of ten neighbours by {held.label}",
                caption=runner.caption(n, note="no intervals: few pictures each"),
                y_label="recall at 10",
                baselines={"any picture": uniform_recall(n, DESIGNATED)},
            )
            runner.results.save_artifact("by_category.png", drawn)
    runner.results.save_artifact("examples.png", _examples(runner, held, vlm, ltx, per_picture))
    runner.results.save_json_artifact(
        "neighbourhoods.json",
        {
            "items": [runner.dataset().manifest.items[index].id for index in held.index],
            "neighbours": {name: np.argsort(r, axis=1)[:, :DESIGNATED] for name, r in (("x4_last", vlm), ("x6", ltx))},
            "recall_at_10": per_picture,
            "rank_of_nearest": ranks,
            "by_category": by_category,
        },
    )


def _examples(
    runner: ExperimentRunner, held: HeldOut, vlm: np.ndarray, ltx: np.ndarray, per_picture: np.ndarray
) -> bytes:
    """Pictures that the seed draws, whatever their recall, and their nearest neighbours in both spaces."""
    images = runner.dataset().images
    rows = {}
    for number, picture in enumerate(runner.rng.permutation(len(held))[:EXAMPLES]):
        for name, ranks in (("X4.last", vlm), ("X6", ltx)):
            near = [picture, *np.argsort(ranks[picture])[:SHOWN]]
            shared = f"recall {per_picture[picture]:.1f}"
            rows[f"{number + 1}: {name}, {shared}"] = np.stack([img_as_float32(images[held.index[i]]) for i in near])
    return image_grid(
        rows,
        title="Pictures and their nearest neighbours",
        caption=runner.caption(len(held), note="pictures drawn at random"),
        column_labels=["picture", *(f"neighbour {place + 1}" for place in range(SHOWN))],
        columns=SHOWN + 1,
    )
