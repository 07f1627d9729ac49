"""eq1_2, LTX latent space: how do categories separate in the video model's latents, and which channels carry it?

The pictures of eq1_1, as X6 (mode of the VAE, normalised), flat and as channel means: silhouette and five nearest
neighbours from other sources in the full space, beside categories dealt out anew. Then the channels: how much of the
variance over pictures each holds, how they correlate, how fast cells of one picture cease to be alike, and at which
spatial frequencies each channel's power lies. All of that per picture: the mean map of a data set is always smooth.

The plain names `silhouette_score` and `knn_accuracy` are those of flat X6, fixed in advance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from foresight.experiments.q1.separation import map_of, separation, verdict_word
from foresight.experiments.q1.spaces import LTX, estimate, held_out, metric_name, space
from foresight.features.views import mean_tokens
from foresight.metrics.cells import autocorrelation, channel_correlation, spectrum
from foresight.plots.charts import bars, curve

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner

VIEWS = {"flat": "flat", "channel mean": "mean"}
STRONG, MODERATE = (0.4, 0.7), (0.2, 0.5)  # silhouette, share of right neighbours
LEVELS = (
    f"moderate: silhouette over {MODERATE[0]:g} or neighbours over {MODERATE[1]:.0%}, "
    f"strong: over {STRONG[0]:g} and {STRONG[1]:.0%}"
)
LAGS, BANDS, SHOWN = 8, 4, 16  # cells apart; of frequency; channels that are drawn


def run(runner: ExperimentRunner) -> dict[str, Any]:
    held = held_out(runner)
    metrics: dict[str, float] = {}
    vectors = {name: space(runner, held, LTX, view).held for name, view in VIEWS.items()}
    found = {}
    for done, (name, values) in enumerate(vectors.items()):
        runner.progress(done / 4, f"separation of X6 {name}")
        separated = separation(runner, held, values)
        if separated is None:
            return {"finding": "Not measured: no two categories have five held-out pictures."}
        found[name] = separated
        of = () if name == "flat" else (name,)
        separated.log(runner, metric_name("silhouette_score", *of), metric_name("knn_accuracy", *of))
        metrics[metric_name("distance_ratio", name)] = separated.distance_ratio
    metrics["permuted_silhouette"], metrics["permuted_knn"] = found["flat"].chance

    # Channels and cells, picture by picture
    runner.progress(2 / 4, "channels and cells")
    features = runner.features(LTX)
    cells, means = features[held.index], mean_tokens(features, held.index)
    variance = means.var(axis=0, dtype=np.float64)
    share = variance / variance.sum()
    ranked = np.argsort(share)[::-1]
    correlation = channel_correlation(means)
    lags = min(LAGS, max(cells.shape[1:3]) - 1)
    along = autocorrelation(cells, lags)
    power = spectrum(cells, BANDS)
    metrics["channels_for_half_the_variance"] = int(np.searchsorted(np.cumsum(share[ranked]), 0.5)) + 1
    if len(correlation) > 1:
        metrics["mean_absolute_channel_correlation"] = np.abs(correlation[np.triu_indices(len(correlation), 1)]).mean()
    metrics["lowest_frequencies"] = power[:, 0].mean()
    if lags:
        shuffled = runner.rng.permuted(cells.reshape(len(cells), -1, cells.shape[-1]), axis=1).reshape(cells.shape)
        chance = autocorrelation(shuffled, lags)
        runner.log_samples("autocorrelation_1", along[:, 1], groups=held.sources, baseline=chance[:, 1])
        drawn = curve(
            range(lags + 1),
            {
                "X6": [estimate(along[:, lag], held.sources) for lag in range(lags + 1)],
                "values dealt out anew": [float(chance[:, lag].mean()) for lag in range(lags + 1)],
            },
            title="How fast the cells of a picture cease to be alike",
            caption=runner.caption(len(held)),
            x_label="distance, cells",
            y_label="autocorrelation",
        )
        runner.results.save_artifact("autocorrelation.png", drawn)

    # Pictures
    runner.progress(3 / 4, "maps")
    chosen = found["flat"].chosen
    places, drawn = map_of(runner, held, chosen, {f"X6 {n}": v[chosen] for n, v in vectors.items()}, "Latents")
    runner.results.save_artifact("map.png", drawn)
    drawn = bars(
        {"share": {str(channel): float(share[channel]) for channel in ranked[:SHOWN]}},
        title=f"The {min(SHOWN, len(share))} channels that vary most between pictures",
        caption=runner.caption(len(held), note=f"of {len(share)} channels"),
        y_label="share of the variance of channel means",
        x_label="channel of X6",
    )
    runner.results.save_artifact("channels.png", drawn)
    runner.results.save_json_artifact(
        "latents.json",
        {
            "tsne": {name: np.round(place, 3) for name, place in places.items()},
            "scores": {name: one.summary for name, one in found.items()},
            "variance_share": np.round(share, 6),
            "channel_correlation": np.round(correlation, 4),
            "power_by_frequency": np.round(power, 4),
            "autocorrelation": np.round(along.mean(axis=0), 4),
        },
    )

    word = verdict_word(found["flat"], {"strong": STRONG, "moderate": MODERATE}, "weak")
    return {
        "finding": f"Flat X6 separates by {held.label}: {word} ({LEVELS}), silhouette {{silhouette_score:.3f}} in the "
        "full space ({permuted_silhouette:.3f} with permuted labels), nearest neighbours right in {knn_accuracy:.1%} "
        "({permuted_knn:.1%}); as channel means {silhouette_score_channel_mean:.3f} and "
        f"{{knn_accuracy_channel_mean:.1%}}. Half the variance lies in {{channels_for_half_the_variance:.0f}} of "
        f"{len(share)} channels.",
        "metrics": metrics,
    }
