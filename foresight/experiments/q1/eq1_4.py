"""eq1_4, linear probe: how much of one space is a linear map of the other?

Ridge from the mean visual token of X4.last to the flat latents X6, and back. Nested cross-validation by sources: the
penalty is chosen by five folds within train and validation, and the held-out pictures, other ones for every seed, are
read once. R2 is 1 - SS_res / SS_tot about train's mean, over all held-out pictures and all values.

Beside it what knows nothing of the pair: train's mean, the same ridge trained on pictures dealt out anew, and a random
projection scaled to the target. And what asks for no vision-language model at all: ridge from thumbnails of 8 x 8 px.

`linear_probe_r2`, Q1's criterion, is VLM -> LTX and no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.util import img_as_float32

from foresight.experiments.q1.spaces import LTX, VLM, HeldOut, Space, estimate, held_out, space
from foresight.metrics.explained import Explained, centred_cosine
from foresight.plots.charts import bars, curve
from foresight.plots.relations import relation
from foresight.plots.style import Estimate
from foresight.probes.latents import resample
from foresight.probes.linear import RidgeProbe, Standardiser, fit_ridge_by_folds
from foresight.probes.projection import fit_projection

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner

FORWARD, BACKWARD = "VLM to LTX", "LTX to VLM"
METRIC = {FORWARD: "linear_probe_r2", BACKWARD: "linear_probe_r2_back"}
EXCELLENT, ACCEPTABLE, WEAK = 0.7, 0.5, 0.3  # of the mean of both directions
THUMBNAIL = (8, 8)
AXES = 3  # of the target that are drawn


@dataclass(frozen=True)
class Direction:
    """One direction, fitted and read."""

    probe: RidgeProbe
    predicted: np.ndarray  # [N, K]
    r2: Explained
    cosine: np.ndarray  # [N]
    baselines: dict[str, Explained]


def run(runner: ExperimentRunner) -> dict[str, Any]:
    held = held_out(runner)
    vlm, ltx = space(runner, held, VLM), space(runner, held, LTX)
    pairs = {FORWARD: (vlm, ltx), BACKWARD: (ltx, vlm)}
    fitted: dict[str, Direction] = {}
    for done, (name, (source, target)) in enumerate(pairs.items()):
        runner.progress(done / 3, f"ridge {name} and its baselines")
        fitted[name] = _direction(runner, held, source, target)
    runner.progress(2 / 3, "ridge from thumbnails")
    thumbnails = _thumbnails(runner, held)
    from_pixels = _explained(ltx, _fit(runner, held, thumbnails, ltx).predict(thumbnails.held))

    # Scores
    metrics: dict[str, float] = {}
    for name, direction in fitted.items():
        scores, sources = direction.r2.scores(held.sources)
        beside = {baseline: other.scores(held.sources)[0] for baseline, other in direction.baselines.items()}
        runner.log_samples(METRIC[name], scores, groups=sources, baselines=beside, higher_is_better=True)
        cosine = METRIC[name].replace("linear_probe_r2", "centred_cosine")
        runner.log_samples(cosine, direction.cosine, groups=held.sources, baseline=np.zeros(len(held)))
        for baseline, other in direction.baselines.items():
            metrics[f"{METRIC[name]}_{baseline}"] = other.r2
    scores, sources = from_pixels.scores(held.sources)
    runner.log_samples("r2_pixels_to_ltx", scores, groups=sources, baseline=np.zeros(len(sources)))
    mean_r2 = metrics["mean_r2"] = (fitted[FORWARD].r2.r2 + fitted[BACKWARD].r2.r2) / 2

    _pictures(runner, held, fitted, from_pixels, ltx)

    # Finding
    word = (
        "an excellent"
        if mean_r2 > EXCELLENT
        else "an acceptable"
        if mean_r2 > ACCEPTABLE
        else "a weak"
        if mean_r2 > WEAK
        else "hardly any"
    )
    return {
        "finding": f"There is {word} linear map between the spaces (mean R2 {{mean_r2:.3f}}; weak: over "
        f"{WEAK:g}, acceptable: over {ACCEPTABLE:g}, excellent: over {EXCELLENT:g}): X4.last explains "
        "{linear_probe_r2:.3f} of X6's variance and X6 {linear_probe_r2_back:.3f} of X4.last's (with permuted pairs "
        "{linear_probe_r2_permuted_pairs:.3f}); thumbnails of 8 x 8 px explain {r2_pixels_to_ltx:.3f} of X6's.",
        "metrics": metrics,
    }


def _direction(runner: ExperimentRunner, held: HeldOut, source: Space, target: Space) -> Direction:
    mean = target.rest.mean(axis=0)
    probe = _fit(runner, held, source, target)
    predicted = probe.predict(source.held)
    dealt = Space(target.held, target.rest[_dealt(runner, held)])
    projection = runner.rng.standard_normal((source.rest.shape[1], target.rest.shape[1]), dtype=np.float32)
    units = Standardiser.fit(source.rest @ projection)
    guesses = {
        "mean": np.broadcast_to(mean, target.held.shape),
        "permuted_pairs": _fit(runner, held, source, dealt).predict(source.held),
        "random_projection": units.apply(source.held @ projection) * target.rest.std(axis=0) + mean,
    }
    return Direction(
        probe,
        predicted,
        _explained(target, predicted),
        centred_cosine(target.held, predicted, mean),
        {name: _explained(target, guess) for name, guess in guesses.items()},
    )


def _fit(runner: ExperimentRunner, held: HeldOut, source: Space, target: Space) -> RidgeProbe:
    return fit_ridge_by_folds(source.rest, target.rest, held.rest_sources, seed=runner.seed)


def _explained(target: Space, predicted: np.ndarray) -> Explained:
    return Explained.of(target.held, predicted, target.rest.mean(axis=0))


def _dealt(runner: ExperimentRunner, held: HeldOut) -> np.ndarray:
    """An order of the training pictures that gives each another's target; whole sources swap where they are alike."""
    names, member, counts = np.unique(held.rest_sources, return_inverse=True, return_counts=True)
    if counts.min() < counts.max():
        return runner.rng.permutation(len(member))
    of_source = np.argsort(member, kind="stable").reshape(len(names), -1)
    order = np.empty(len(member), dtype=int)
    order[of_source.ravel()] = of_source[runner.rng.permutation(len(names))].ravel()
    return order


def _thumbnails(runner: ExperimentRunner, held: HeldOut) -> Space:
    images = runner.dataset().images
    parts = [
        resample(img_as_float32(images[part]), THUMBNAIL).reshape(len(part), -1) for part in (held.index, held.rest)
    ]
    return Space(*parts)


def _pictures(
    runner: ExperimentRunner, held: HeldOut, fitted: dict[str, Direction], from_pixels: Explained, ltx: Space
) -> None:
    shown = runner.caption(len(held), sources=len(held.sources))
    alphas = list(fitted[FORWARD].probe.validation_mse)
    drawn = curve(
        alphas,
        {name: [direction.probe.validation_mse[alpha] for alpha in alphas] for name, direction in fitted.items()},
        title="Choosing the penalty by folds of whole sources",
        caption=runner.caption(len(held.rest), "pictures in five folds", sources=len(set(held.rest_sources))),
        x_label="penalty a picture",
        y_label="squared error, variances of the target",
        log_x=True,
    )
    runner.results.save_artifact("penalty.png", drawn)

    axes = fit_projection(ltx.rest, min(AXES, *ltx.rest.shape))
    true, guess = axes.apply(ltx.held), axes.apply(fitted[FORWARD].predicted)
    drawn = relation(
        {f"principal axis {axis + 1} of X6": (true[:, axis], guess[:, axis]) for axis in range(true.shape[1])},
        title="X6 predicted from X4.last",
        caption=shown,
        x_label="true, deviations",
        y_label="predicted, deviations",
        identity=True,
    )
    runner.results.save_artifact("predictions.png", drawn)

    series: dict[str, dict[str, Estimate | float]] = {
        "ridge": {name: estimate(*direction.r2.scores(held.sources)) for name, direction in fitted.items()},
        "permuted pairs": {name: direction.baselines["permuted_pairs"].r2 for name, direction in fitted.items()},
        "thumbnails": {FORWARD: estimate(*from_pixels.scores(held.sources))},
    }
    drawn = bars(
        series,
        title="How much one space explains of the other, linearly",
        caption=shown,
        y_label="R2 on held-out pictures",
        baselines={"train's mean": 0.0},
        thresholds={"acceptable": ACCEPTABLE},
    )
    runner.results.save_artifact("r2.png", drawn)
    runner.results.save_json_artifact(
        "linear_probe.json",
        {
            name: {
                "r2": direction.r2.r2,
                "alpha": direction.probe.alpha,
                "validation_mse": direction.probe.validation_mse,
                "weights": direction.probe.parameters,
                "baselines": {baseline: other.r2 for baseline, other in direction.baselines.items()},
            }
            for name, direction in fitted.items()
        },
    )
