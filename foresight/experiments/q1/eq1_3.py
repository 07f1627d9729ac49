"""eq1_3, intrinsic dimension: how many dimensions does each space really use?

X4.last (mean visual token), X6 flat and X6 as channel means, of held-out pictures without copies: principal axes that
hold 95 % of the variance, effective rank, the likelihood estimate over k from 5 to 50, and TwoNN. Latents are the
VAE's mode, so no sampling noise is counted as dimensions. Intervals are by leaving pictures out, never by repeating
them, which makes a picture its own nearest neighbour. As many numbers of pure noise in as many dimensions as the space
is wide are put through the same estimators: no estimate means anything near that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from foresight.experiments.q1.spaces import LTX, VLM, held_out, metric_name, space
from foresight.metrics.dimension import (
    NEIGHBOURS,
    Cloud,
    effective_rank,
    likelihood_dimension,
    pca_dimension,
    twonn_dimension,
)
from foresight.metrics.statistics import Insufficient, jackknife_scores, subsample_interval
from foresight.plots.charts import bars, curve
from foresight.plots.style import Estimate

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner

SPACES = {"X4.last": (VLM, "mean"), "X6 flat": (LTX, "flat"), "X6 channel mean": (LTX, "mean")}
ESTIMATORS: dict[str, Callable[[Cloud], float | None]] = {
    "pca95": pca_dimension,
    "effective rank": effective_rank,
    "mle": likelihood_dimension,
    "twonn": twonn_dimension,
}
CALLED = {"pca95": "95 % of variance", "effective rank": "effective rank", "mle": "likelihood", "twonn": "TwoNN"}
SWEEP = (5, 10, 15, 20, 30, 40, 50)
EXCELLENT, MODERATE, CHALLENGING = 2, 5, 10  # larger over smaller likelihood estimate
RESAMPLES = 60  # of the statistics that are no criterion


def run(runner: ExperimentRunner) -> dict[str, Any]:
    held = held_out(runner)
    clouds: dict[str, Cloud] = {}
    noise: dict[str, Cloud] = {}
    for name, (need, view) in SPACES.items():
        vectors = space(runner, held, need, view).held
        clouds[name] = Cloud.of(vectors)
        noise[name] = Cloud.of(runner.rng.standard_normal(vectors.shape))
        if copies := len(vectors) - len(clouds[name]):
            runner.note(f"{copies} pictures are exact copies of others in {name}, and are left out there.")

    # Estimates, with intervals by leaving pictures out
    metrics: dict[str, float] = {}
    shown: dict[str, dict[str, Estimate | float]] = {}
    for done, (name, cloud) in enumerate(clouds.items()):
        runner.progress(done / (len(clouds) + 1), f"estimates of {name}")
        sources = [held.sources[index] for index in cloud.index]
        for method, estimator in ESTIMATORS.items():
            value = estimator(cloud)
            if value is None:
                runner.note(
                    f"{method} of {name} is not measured: {len(cloud)} distinct pictures do not suffice for it."
                )
                continue
            metric = metric_name(method, name)
            if method == "mle":
                scores, groups = jackknife_scores(_of_part(cloud, estimator), sources)
                if np.isfinite(scores).all():
                    runner.log_samples(metric, scores, groups=groups)
            metrics[metric] = value
            shown.setdefault(name, {})[CALLED[method]] = _interval(cloud, estimator, sources, value)
            if (reference := estimator(noise[name])) is not None:
                metrics[f"{metric}_of_noise"] = reference
    sweep = {name: _sweep(cloud) for name, cloud in clouds.items()}

    vlm, ltx = (likelihood_dimension(clouds[name]) for name in ("X4.last", "X6 flat"))
    if vlm is None or ltx is None:
        return {"finding": "Not measured: too few distinct pictures are held out.", "metrics": metrics}

    runner.progress(len(clouds) / (len(clouds) + 1), "pictures")
    _pictures(runner, clouds, shown, sweep)

    # Finding
    ratio = metrics["mle_ratio"] = max(vlm, ltx) / min(vlm, ltx)
    word = (
        "an excellent"
        if ratio < EXCELLENT
        else "a moderate"
        if ratio < MODERATE
        else "a challenging"
        if ratio < CHALLENGING
        else "a concerning"
    )
    return {
        "finding": f"The spaces are {word} match in dimension (ratio under {EXCELLENT}: excellent, {MODERATE}: "
        f"moderate, {CHALLENGING}: challenging): {{mle_x4_last:.1f}} of X4.last and {{mle_x6_flat:.1f}} "
        f"of X6 by likelihood (k = {NEIGHBOURS}), a ratio of {{mle_ratio:.1f}}; 95 % of the variance takes "
        "{pca95_x4_last:.0f} and {pca95_x6_flat:.0f} axes. Noise as wide gives {mle_x6_flat_of_noise:.0f}.",
        "metrics": metrics,
    }


def _interval(
    cloud: Cloud, estimator: Callable[[Cloud], float | None], sources: list[str], value: float
) -> Estimate | float:
    found = subsample_interval(_of_part(cloud, estimator), sources, resamples=RESAMPLES)
    return value if isinstance(found, Insufficient) else Estimate(value, found.low, found.high)


def _sweep(cloud: Cloud) -> dict[int, float]:
    """The likelihood estimate by the number of neighbours, where there are enough."""
    found = {k: likelihood_dimension(cloud, k) for k in SWEEP}
    return {k: value for k, value in found.items() if value is not None}


def _of_part(cloud: Cloud, estimator: Callable[[Cloud], float | None]) -> Callable[[np.ndarray], float]:
    """The estimate of some of the pictures; NaN, which makes an interval insufficient, where they do not suffice."""

    def estimate(index: np.ndarray) -> float:
        value = estimator(cloud.part(index))
        return float("nan") if value is None else float(value)

    return estimate


def _pictures(
    runner: ExperimentRunner,
    clouds: dict[str, Cloud],
    shown: dict[str, dict[str, Estimate | float]],
    sweep: dict[str, dict[int, float]],
) -> None:
    caption = runner.caption(max(map(len, clouds.values())), "distinct held-out pictures")
    spectra = {name: np.cumsum(cloud.spectrum()) for name, cloud in clouds.items()}
    axes = np.unique(np.round(np.geomspace(1, min(map(len, spectra.values())), 40)).astype(int))
    drawn = curve(
        axes.tolist(),
        {name: [float(spectrum[axis - 1]) for axis in axes] for name, spectrum in spectra.items()},
        title="Variance that the first principal axes hold",
        caption=caption,
        x_label="principal axes",
        y_label="share of the variance",
        thresholds={"95 %": 0.95},
        log_x=True,
    )
    runner.results.save_artifact("variance.png", drawn)
    drawn = bars(
        shown,
        title="Intrinsic dimension by four estimators",
        caption=f"{caption} · likelihood with k = {NEIGHBOURS} · intervals by leaving pictures out",
        y_label="dimensions",
    )
    runner.results.save_artifact("dimensions.png", drawn)
    common = sorted(set.intersection(*(set(values) for values in sweep.values())))
    if common:
        drawn = curve(
            common,
            {name: [values[k] for k in common] for name, values in sweep.items()},
            title="Likelihood estimate by the number of neighbours",
            caption=caption,
            x_label="neighbours, k",
            y_label="dimensions",
        )
        runner.results.save_artifact("neighbours.png", drawn)
    runner.results.save_json_artifact(
        "dimension.json",
        {
            "mle_by_k": sweep,
            "cumulative_variance": {name: np.round(values, 5) for name, values in spectra.items()},
            "distinct_pictures": {name: len(cloud) for name, cloud in clouds.items()},
        },
    )
