"""eq1_5, similarity structure: are pictures that lie far apart in one space far apart in the other?

Spearman's correlation of the distances of all pairs of held-out pictures, Euclidean and cosine, between X4.last (mean
visual token) and X6 (flat). Distances of one picture hang together, so p is Mantel's (999 permutations of the sources,
adjusted after Holm for the two metrics) and the interval is the jackknife's. Two baselines: pictures dealt out anew,
and the category alone, 0 within and 1 between: what knowing it would say of distances in X6. What is left when it is
given is the partial correlation. Beside them Pearson's correlation, Kendall's tau of 5,000 pairs, and Procrustes on a
common number of principal axes.

`spearman_correlation`, Q1's criterion, is the Euclidean one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import spearmanr

from foresight.experiments.q1.spaces import DEALS, LTX, VLM, HeldOut, Space, held_out, space
from foresight.metrics.distances import (
    Mantel,
    Ranking,
    distances,
    kendall,
    label_distances,
    mantel,
    partial_spearman,
    partial_spearman_without,
    procrustes,
    rank_matrix,
    spearman,
    spearman_without,
)
from foresight.metrics.statistics import holm, pseudo_values
from foresight.plots.charts import bars
from foresight.plots.maps import block_names, heat_map
from foresight.plots.relations import relation
from foresight.probes.projection import fit_projection

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner

STRONG, ACCEPTABLE, WEAK = 0.8, 0.6, 0.4
DESIGNATED = "euclidean"
METRICS = {DESIGNATED: "spearman_correlation", "cosine": "spearman_cosine"}
AXES = 16  # principal axes that Procrustes compares, at most
LEAST_PAIRS = 10  # within a category, to say anything of it


def run(runner: ExperimentRunner) -> dict[str, Any]:
    held = held_out(runner)
    vlm, ltx = space(runner, held, VLM), space(runner, held, LTX)
    matrices = {metric: (distances(vlm.held, metric), distances(ltx.held, metric)) for metric in METRICS}
    rankings = {metric: (Ranking.of(vlm_NN), Ranking.of(ltx_NN)) for metric, (vlm_NN, ltx_NN) in matrices.items()}
    category = None if held.labels is None else Ranking.of(label_distances(held.labels))

    # Scores: the jackknife's, picture by picture
    metrics: dict[str, float] = {}
    tests: dict[str, Mantel] = {}
    for done, (metric, name) in enumerate(METRICS.items()):
        runner.progress(done / 3, f"{metric} distances")
        scores = _scores(*rankings[metric])
        test = mantel(rank_matrix(rankings[metric][0]), rank_matrix(rankings[metric][1]), runner.rng)
        if scores is None or test is None:
            return {"finding": "Not measured: the pictures are too few, or all equally far apart in one space."}
        tests[metric] = test
        beside = _baselines(runner, rankings[metric][0], matrices[metric][1], category)
        runner.log_samples(name, scores, groups=held.sources, baselines=beside, higher_is_better=True)
        metrics |= {f"{name}_{baseline}": np.mean(values) for baseline, values in beside.items()}
    left = False
    if category is not None:
        pair = rankings[DESIGNATED]
        whole, without = partial_spearman(*pair, category), partial_spearman_without(*pair, category)
        if whole is None or without is None:
            runner.note("The category explains all of one space's distances: nothing is left to correlate.")
        else:
            left = True
            partial = pseudo_values(whole, without)
            runner.log_samples("partial_spearman", partial, groups=held.sources, baseline=np.zeros(len(held)))

    # Other statistics of the same pairs
    runner.progress(2 / 3, "permutations and Procrustes")
    pearson = mantel(*matrices[DESIGNATED], runner.rng)
    tau = kendall(*matrices[DESIGNATED], runner.rng)
    for metric, p in zip(tests, holm([test.p for test in tests.values()]), strict=True):
        metrics[f"mantel_p_{metric}"] = p
    metrics |= {} if pearson is None else {"pearson_correlation": pearson.correlation}
    metrics |= {} if tau is None else {"kendall_tau": tau}
    metrics |= _procrustes(runner, vlm, ltx)

    _pictures(runner, held, matrices, rankings)

    # Finding
    rho = tests[DESIGNATED].correlation
    word = "strong" if rho > STRONG else "acceptable" if rho > ACCEPTABLE else "weak" if rho > WEAK else "little"
    alone = f"; the {held.label} alone gives {{spearman_correlation_category:.3f}}" if held.label else ""
    given = ", and {partial_spearman:.3f} is left once it is given" if left else ""
    return {
        "finding": f"There is {word} agreement of distances (weak: Spearman over {WEAK:g}, acceptable: over "
        f"{ACCEPTABLE:g}, strong: over {STRONG:g}): Spearman {{spearman_correlation:.3f}} (Euclidean), "
        f"{{spearman_cosine:.3f}} (cosine), Mantel p {{mantel_p_euclidean:.3f}}{alone}{given}.",
        "metrics": metrics,
    }


def _scores(first: Ranking, second: Ranking) -> np.ndarray | None:
    whole, without = spearman(first, second), spearman_without(first, second)
    return None if whole is None or without is None else pseudo_values(whole, without)


def _baselines(
    runner: ExperimentRunner, vlm: Ranking, ltx_NN: np.ndarray, category: Ranking | None
) -> dict[str, np.ndarray]:
    """Pictures dealt out anew, and the category instead of the first space."""
    deals, rng = [], runner.rng
    for _ in range(DEALS):
        order = rng.permutation(len(ltx_NN))
        deals.append(_scores(vlm, Ranking.of(ltx_NN[np.ix_(order, order)])))
    known = None if category is None else _scores(category, Ranking.of(ltx_NN))
    chance = np.mean([scores for scores in deals if scores is not None], axis=0)
    return {"permuted_pictures": chance, **({} if known is None else {"category": known})}


def _procrustes(runner: ExperimentRunner, vlm: Space, ltx: Space) -> dict[str, float]:
    """Disparity on common axes, 0 to 1, and with the pictures dealt out anew."""
    width = min(AXES, *vlm.rest.shape, *ltx.rest.shape)
    one, other = (fit_projection(space.rest, width).apply(space.held) for space in (vlm, ltx))
    found = procrustes(one, other)
    dealt = procrustes(one, runner.rng.permutation(other))
    if found is None or dealt is None:
        return {}
    return {"procrustes_disparity": found, "procrustes_disparity_permuted": dealt, "procrustes_axes": width}


def _pictures(
    runner: ExperimentRunner,
    held: HeldOut,
    matrices: dict[str, tuple[np.ndarray, np.ndarray]],
    rankings: dict[str, tuple[Ranking, Ranking]],
) -> None:
    n = len(held)
    shown = runner.caption(n, note=f"{n * (n - 1) // 2:,} pairs")
    upper = np.triu_indices(n, 1)
    drawn = relation(
        {f"{metric} distance": (vlm[upper], ltx[upper]) for metric, (vlm, ltx) in matrices.items()},
        title="Distances of pairs of pictures in the two spaces",
        caption=shown,
        x_label="in X4.last, standardised",
        y_label="in X6, standardised",
    )
    runner.results.save_artifact("distances.png", drawn)
    drawn = relation(
        {
            f"{metric} distance": (vlm.ranks() / len(upper[0]), ltx.ranks() / len(upper[0]))
            for metric, (vlm, ltx) in rankings.items()
        },
        title="Ranks of the same distances",
        caption=shown,
        x_label="rank in X4.last, 0 nearest",
        y_label="rank in X6, 0 nearest",
        identity=True,
    )
    runner.results.save_artifact("ranks.png", drawn)

    order = np.arange(n) if held.labels is None else np.argsort(held.labels, kind="stable")
    one, other = (rank_matrix(ranking)[np.ix_(order, order)] / len(upper[0]) for ranking in rankings[DESIGNATED])
    both = np.triu(one, 1) + np.tril(other, -1)
    np.fill_diagonal(both, np.nan)
    sorted_labels = [] if held.labels is None else list(held.labels[order])
    sorted_by = "" if held.label is None else f", sorted by {held.label}"
    drawn = heat_map(
        both,
        title="Who is far from whom: X4.last above the diagonal, X6 below",
        caption=shown,
        unit="rank of the Euclidean distance, 0 nearest",
        row_labels=block_names(sorted_labels),
        column_labels=block_names(sorted_labels),
        x_label=f"picture{sorted_by}",
        y_label=f"picture{sorted_by}",
    )
    runner.results.save_artifact("distance_matrices.png", drawn)
    by_category = _by_category(held, *matrices[DESIGNATED])
    if by_category:
        drawn = bars(
            by_category,
            title=f"Agreement of distances by {held.label}",
            caption=runner.caption(n, note="pairs within it, and from it to the others; no intervals"),
            y_label="Spearman correlation",
        )
        runner.results.save_artifact("by_category.png", drawn)
    runner.results.save_json_artifact(
        "similarity.json",
        {"items": [runner.dataset().manifest.items[index].id for index in held.index], "by_category": by_category}
        | {
            f"{metric}_{name}": np.round(matrix, 4)
            for metric in matrices
            for name, matrix in zip(("x4_last", "x6"), matrices[metric], strict=True)
        },
    )


def _by_category(held: HeldOut, vlm_NN: np.ndarray, ltx_NN: np.ndarray) -> dict[str, dict[str, float]]:
    """Spearman of the pairs within each category, and of those from it to all others."""
    found: dict[str, dict[str, float]] = {"within": {}, "to others": {}}
    labels = np.array([]) if held.labels is None else held.labels
    rows, columns = np.triu_indices(len(held), 1)
    for label in np.unique(labels):
        inside = np.stack([labels[rows] == label, labels[columns] == label])
        for name, chosen in (("within", inside.all(axis=0)), ("to others", inside.sum(axis=0) == 1)):
            if chosen.sum() >= LEAST_PAIRS:
                rho = spearmanr(vlm_NN[rows, columns][chosen], ltx_NN[rows, columns][chosen]).statistic
                found[name][str(label)] = float(rho)
    return {name: values for name, values in found.items() if values}
