"""e2_1, scaling: what do more weights of the adapter bring?

Adapters of one architecture and of the sizes that the profile lists, each with the learning rate that validation
chooses for it and trained until validation stops it, take both encoders' tokens to the video model's latents
(see `bridging`).
A size is counted, not named: the published "10M" and "100M" had 8.1 and 76.2 million weights, one learning rate and as
many epochs, and were scored on what they had been trained on. Here all are scored on held-out pictures.

No criterion is read here. Beside each size stands its efficiency against the largest, where there is one
(`foresight.metrics.efficiency`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from foresight.experiments.c2.bridging import DECODER, Bridging, Scores, label, recipe_of
from foresight.experiments.painting import BASELINES
from foresight.experiments.reading import estimate, standing
from foresight.metrics.reconstruction import one_of_each
from foresight.plots.charts import curve, learning_curve
from foresight.plots.pictures import image_grid
from foresight.plots.style import Estimate
from foresight.probes.bridge_training import Bridge
from foresight.probes.bridges import in_words

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner


def run(runner: ExperimentRunner) -> dict[str, Any]:
    bridging = Bridging(runner)
    recipe = recipe_of(runner.config["recipe"])
    sizes = sorted(runner.config["sizes"])

    # An adapter of each size
    bridges: list[Bridge] = []
    for done, size in enumerate(sizes):
        span = 0.7 * done / len(sizes), 0.7 * (done + 1) / len(sizes)
        bridges.append(bridging.fit(in_words(size), bridging.sized(size, recipe), recipe, progress=span))

    # Scores on held-out pictures
    runner.progress(0.72, "decoding")
    painted = [bridging.paint(bridge) for bridge in bridges]
    scores = [bridging.score(images) for images in painted]
    others, beside = bridging.beside(bridges[-1])
    labels = [label(bridge.weights) for bridge in bridges]
    for name, of in zip(labels, scores, strict=True):
        bridging.log(f"_{name}", of, beside)
    bridging.log("_oracle", beside["oracle"], beside)
    for name, of in zip(labels[:-1], scores[:-1], strict=True):
        bridging.log_efficiency(f"param_efficiency_{name}", of, scores[-1], beside)
    bridging.note_training({in_words(bridge.weights): bridge.training for bridge in bridges})
    bridging.note_stand_ins()

    # Pictures
    runner.progress(0.9, "pictures")
    words = [in_words(bridge.weights) for bridge in bridges]
    runner.results.save_artifact("scaling.png", _curve(bridging, bridges, scores, beside))
    some = one_of_each(bridging.groups)[:8]
    rows = {f"{name} weights": images[some] for name, images in zip(words, painted, strict=True)}
    drawn = image_grid(
        {
            "original": bridging.painting.images[some],
            "oracle": others["oracle"][some],
            **rows,
            "mean latent": others["mean_latent"],
        },
        title="Painted by the video model's decoder, from fewer to more weights",
        caption=bridging.caption(),
        scores={f"{name} weights": of["lpips"][some] for name, of in zip(words, scores, strict=True)},
    )
    runner.results.save_artifact("scaling_grid.png", drawn)
    drawn = learning_curve(
        {f"{name} weights": bridge.training.history for name, bridge in zip(words, bridges, strict=True)},
        title="Training of the adapters, at the learning rate that validation chose",
        caption=runner.caption(len(bridging.split.val), "validation pictures"),
        y_label="loss of the recipe",
    )
    runner.results.save_artifact("learning_curve.png", drawn)
    runner.results.save_json_artifact(
        "scaling.json",
        {
            "items": [bridging.dataset.manifest.items[index].id for index in bridging.split.test],
            "decoder": {"name": DECODER, "stand_in": runner.is_stand_in("vae")},
            "recipe": vars(recipe),
            "sizes": [
                {
                    "weights": bridge.weights,
                    "rate": bridge.training.rate,
                    "validation_loss": {f"{rate:g}": _or_none(loss) for rate, loss in bridge.training.tried.items()},
                    "epochs": len(bridge.training.history.train_loss) - 1,
                    "converged": bridge.training.history.converged,
                    "scores": of,
                }
                for bridge, of in zip(bridges, scores, strict=True)
            ],
            "beside": beside,
        },
    )

    # Finding
    return {
        "finding": _sentence(words, labels, scores, bridging.groups),
        "metrics": {
            **{f"{name}_lpips": np.mean(beside[name]["lpips"]) for name in BASELINES},
            **{f"weights_{name}": bridge.weights for name, bridge in zip(labels, bridges, strict=True)},
            **{f"rate_{name}": bridge.training.rate for name, bridge in zip(labels, bridges, strict=True)},
            **{f"operations_{name}": bridging.operations(bridge) for name, bridge in zip(labels, bridges, strict=True)},
        },
    }


def _curve(bridging: Bridging, bridges: Sequence[Bridge], scores: Sequence[Scores], beside: dict[str, Scores]) -> bytes:
    points: list[Estimate | float] = [estimate(of["lpips"], bridging.groups) for of in scores]
    return curve(
        [float(bridge.weights) for bridge in bridges],
        {"LPIPS": points},
        title="What more weights of the adapter bring",
        caption=bridging.caption("band: 95 % intervals over sources"),
        x_label="weights of the adapter",
        y_label="LPIPS (less is better)",
        baselines={name.replace("_", " "): float(np.mean(beside[name]["lpips"])) for name in ("oracle", "mean_latent")},
        log_x=True,
    )


def _or_none(loss: float) -> float | None:
    return loss if np.isfinite(loss) else None


def _sentence(words: Sequence[str], labels: Sequence[str], scores: Sequence[Scores], groups: Sequence[str]) -> str:
    largest = scores[-1]["lpips"]
    stands = [standing(-of["lpips"], -largest, groups) for of in scores[:-1]]
    enough = next((name for name, word in zip(words, stands, strict=False) if word != "behind"), None)
    said = f"The largest, {words[-1]}, is ahead of all smaller ones"
    if enough is not None:
        said = f"{enough} is the smallest that is not behind the largest, {words[-1]}, on the same pictures"
    listed = ", ".join(f"{name} {{lpips_{of}:.3f}}" for name, of in zip(words, labels, strict=True))
    return (
        f"LPIPS of pictures painted by the {DECODER} decoder, by the adapter's weights: {listed} (oracle "
        f"{{lpips_oracle:.3f}}, mean latent {{mean_latent_lpips:.3f}}). {said}."
    )
