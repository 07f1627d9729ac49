"""e1_1, latent visualisation: what the space looks like before anything is decoded from it.

At X2, X3 and X4: do pictures of one category, shape or colour lie together, and tokens of one place? Scores are taken
in the full space, silhouettes and nearest neighbours from other sources, beside the same scores under labels dealt
out anew. Maps (t-SNE, PCA) are pictures, and nothing is measured on them. A picture is described by the mean of its
visual tokens; the prompt's tokens are never among them.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from foresight.features.views import mean_tokens
from foresight.metrics.structure import knn_correct, permute_labels, silhouette, silhouette_by_source
from foresight.plots.maps import scatter_map
from foresight.probes.projection import fit_projection, map_pca, map_tsne

if TYPE_CHECKING:
    from foresight.data.dataset import Dataset
    from foresight.runner import ExperimentRunner

HEADLINE = "X3"  # what C1 decodes from; its scores by the first label carry the plain names
LABELS = ("category", "shape", "colour")
QUARTERS = np.array(["top left", "top right", "bottom left", "bottom right"])
STRONG, MODERATE = 0.5, 0.25
LEAST_SOURCES = 5  # of a label, so that each of five folds has one
PICTURES = 100  # at most, whose single tokens are looked at
AXES = 16  # principal axes that are written down


def run(runner: ExperimentRunner) -> dict[str, Any]:
    dataset = runner.dataset()
    labels, kept = _labels(runner, dataset)
    groups = np.array(dataset.groups)[kept]
    first = next(iter(labels))

    # Spaces: a vector a picture, and single tokens, one from each quarter of some pictures
    features = {need.split(":")[1]: runner.features(need) for need in runner.needs}
    pooled = {point: mean_tokens(array, kept) for point, array in features.items()}
    some = np.sort(runner.rng.permutation(len(kept))[:PICTURES])
    tokens = {point: _token_of_each_quarter(array[kept[some]], runner.rng) for point, array in features.items()}
    quarter, quarter_of = np.tile(QUARTERS, len(some)), np.repeat(groups[some], len(QUARTERS))

    # Scores, per point and label
    metrics: dict[str, float] = {}
    correct = {}
    for done, (point, vectors) in enumerate(pooled.items()):
        runner.progress(done / (len(pooled) + 1), f"silhouettes and neighbours at {point}")
        for name, values in labels.items():
            correct[point, name] = knn_correct(vectors, values, groups)
            metrics[_metric("silhouette", point, name)] = np.mean(silhouette(vectors, values))
            metrics[_metric("knn_accuracy", point, name)] = np.mean(correct[point, name])
            by_point = {kind: metrics[_metric(kind, point, name)] for kind in ("silhouette", "knn_accuracy")}
            runner.log_metrics({f"{name}/{kind}": value for kind, value in by_point.items()}, step=done)
        metrics[_metric("silhouette", point, "position")] = np.mean(silhouette(tokens[point], quarter))
        near = knn_correct(tokens[point], quarter, quarter_of)
        metrics[_metric("knn_accuracy", point, "position")] = np.mean(near)

    # The headline sample by sample, beside labels dealt out anew
    dealt = permute_labels(labels[first], groups, runner.rng)
    ours, sources = silhouette_by_source(pooled[HEADLINE], labels[first], groups)
    chance, _ = silhouette_by_source(pooled[HEADLINE], dealt, groups)
    knn_chance = knn_correct(pooled[HEADLINE], dealt, groups)
    for metric, scores, of, baseline in (
        ("silhouette_score", ours, sources, chance),
        ("knn_accuracy", correct[HEADLINE, first], groups, knn_chance),
    ):
        runner.log_samples(metric, scores, groups=of, baselines={"permuted_labels": baseline}, higher_is_better=True)
    metrics["permuted_silhouette"] = np.mean(chance)
    metrics["permuted_knn_accuracy"] = np.mean(knn_chance)
    if runner.is_stand_in("vlm"):
        runner.note("X4 comes from a stand-in whose language model is random: it says nothing of Qwen2.5-VL's.")

    # Pictures
    runner.progress(len(pooled) / (len(pooled) + 1), "maps")
    shown = runner.caption(len(kept), "pictures", note="not a measurement")
    maps = {point: map_tsne(vectors, runner.seed) for point, vectors in pooled.items()}
    for name, values in labels.items():
        drawn = scatter_map(maps, values, title=f"Mean visual token by {name}", caption=shown, label_name=name)
        runner.results.save_artifact(f"map_by_{name}.png", drawn)
    drawn = scatter_map(
        {point: map_pca(singles) for point, singles in tokens.items()},
        quarter,
        title="Single visual tokens by patch position",
        caption=runner.caption(len(quarter), "tokens", note="not a measurement"),
        label_name="quarter",
        axis_name="PCA",
    )
    runner.results.save_artifact("map_by_position.png", drawn)
    runner.results.save_json_artifact(
        "latents.json",
        {
            "items": [dataset.manifest.items[index].id for index in kept],
            "labels": labels,
            "tsne": {point: np.round(places, 3) for point, places in maps.items()},
            "principal_axes": {point: np.round(_axes(vectors), 4) for point, vectors in pooled.items()},
        },
    )

    # Finding
    others = {label: _metric("silhouette", HEADLINE, label) for label in labels if label != first}
    beside = "".join(f"; {_strength(metrics[name])} by {label} ({{{name}:.3f}})" for label, name in others.items())
    clusters = _strength(np.mean(ours), np.mean(chance))
    return {
        "finding": f"At X3 pictures cluster {clusters} by {first} (moderately: a silhouette over {MODERATE:g}, "
        f"strongly: over {STRONG:g}): the silhouette in the full space is "
        "{silhouette_score:.3f} ({permuted_silhouette:.3f} with permuted labels), and nearest neighbours "
        f"are right in {{knn_accuracy:.1%}} ({{permuted_knn_accuracy:.1%}} with permuted labels){beside}.",
        "metrics": metrics,
    }


def _strength(silhouette: float, chance: float = 0.0) -> str:
    """Not at all where labels dealt out anew do as well, or a picture is on average nearer to another's cluster."""
    if silhouette <= max(chance, 0.0):
        return "not at all"
    return "strongly" if silhouette > STRONG else "moderately" if silhouette > MODERATE else "weakly"


def _metric(score: str, point: str, label: str) -> str:
    return f"{score}_{point}_{label}".lower().replace(".", "_")


def _labels(runner: ExperimentRunner, dataset: Dataset) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The labels that every item has, each partition once, and the items whose first label is frequent enough."""
    items = dataset.manifest.items
    found = {name: dataset.labels(name) for name in LABELS if all(name in item.labels for item in items)}
    distinct: dict[str, np.ndarray] = {}
    for name, values in found.items():
        same = next((other for other, seen in distinct.items() if _same_partition(values, seen)), None)
        if same is None:
            distinct[name] = values
        else:
            runner.note(f"In these data {name} and {same} are one and the same: they cannot be told apart.")
    first = next(iter(distinct))
    sources = Counter(label for label, _ in set(zip(distinct[first], dataset.groups, strict=True)))
    kept = np.flatnonzero([sources[label] >= LEAST_SOURCES for label in distinct[first]])
    if len(kept) < len(items):
        runner.note(f"{len(items) - len(kept)} pictures are left out: their {first} has under {LEAST_SOURCES} sources.")
    return {name: values[kept] for name, values in distinct.items()}, kept


def _same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    return len(set(zip(a, b, strict=True))) == len(set(a)) == len(set(b))


def _token_of_each_quarter(tokens_NhwD: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[4 N, D]: a token from each quarter of each picture, in the order of `QUARTERS`."""
    n, h, w, d = tokens_NhwD.shape
    tall, wide = max(1, h // 2), max(1, w // 2)
    rows = np.stack([rng.integers(low, low + tall, n) for low in (0, 0, h - tall, h - tall)], axis=1)
    columns = np.stack([rng.integers(low, low + wide, n) for low in (0, w - wide, 0, w - wide)], axis=1)
    return tokens_NhwD[np.arange(n)[:, None], rows, columns].reshape(-1, d)


def _axes(vectors: np.ndarray) -> np.ndarray:
    return fit_projection(vectors, min(AXES, *vectors.shape)).apply(vectors)
