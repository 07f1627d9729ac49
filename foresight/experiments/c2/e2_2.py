"""e2_2, architecture: which adapter does best with as many weights as the others?

Query, bottleneck, low rank and perceiver (`probes.bridges`), all of one number of weights within 5 %, trained by one
recipe for as many epochs at most, each with the learning rate that validation chooses for it. The published ones had
2.6 to 28 million weights and were scored on what they had been trained on.

No criterion is read here. Which one is best is chosen on validation, whose loss is the same for all; how it stands to
the others is told by held-out pictures, pairwise, corrected for as many comparisons as are made (Holm). What an adapter
costs is given in operations a picture, how steady its training was by the variance of the validation loss over its last
ten epochs.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from foresight.experiments.c2.bridging import DECODER, Bridging, Scores, compare, listing, recipe_of
from foresight.experiments.painting import BASELINES
from foresight.experiments.reading import estimate
from foresight.metrics.reconstruction import one_of_each
from foresight.plots.charts import bars, learning_curve
from foresight.plots.pictures import image_grid
from foresight.probes.bridges import ARCHITECTURES, alike, in_words

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner


def run(runner: ExperimentRunner) -> dict[str, Any]:
    bridging = Bridging(runner)
    recipe, config = recipe_of(runner.config["recipe"]), runner.config
    tokens, latents = bridging.shapes

    # One of each, of one size
    untrained = alike(
        ARCHITECTURES,
        config["weights"],
        tokens,
        latents,
        seed=runner.seed,
        depth=config.get("depth", 1),
        dropout=recipe.dropout,
    )
    bridges = {}
    for done, (name, net) in enumerate(untrained.items()):
        span = 0.7 * done / len(untrained), 0.7 * (done + 1) / len(untrained)
        bridges[name] = bridging.fit(name, partial(copy.deepcopy, net), recipe, progress=span)
    chosen = min(bridges, key=lambda name: bridges[name].training.history.best_validation_loss)

    # Scores on held-out pictures
    runner.progress(0.72, "decoding")
    painted = {name: bridging.paint(bridge) for name, bridge in bridges.items()}
    scores = {name: bridging.score(images) for name, images in painted.items()}
    others, beside = bridging.beside(bridges[chosen])
    for name, of in scores.items():
        bridging.log(f"_{name}", of, beside)
    bridging.log("_oracle", beside["oracle"], beside)
    bridging.note_training({name: bridge.training for name, bridge in bridges.items()})
    bridging.note_stand_ins()

    # Pictures
    runner.progress(0.9, "pictures")
    some = one_of_each(bridging.groups)[:8]
    drawn = image_grid(
        {
            "original": bridging.painting.images[some],
            "oracle": others["oracle"][some],
            **{name.replace("_", " "): images[some] for name, images in painted.items()},
        },
        title=f"Painted by the video model's decoder, by adapters of {in_words(bridges[chosen].weights)} weights",
        caption=bridging.caption(),
        scores={name.replace("_", " "): of["lpips"][some] for name, of in scores.items()},
    )
    runner.results.save_artifact("architectures_grid.png", drawn)
    drawn = bars(
        {"LPIPS": {name.replace("_", " "): estimate(of["lpips"], bridging.groups) for name, of in scores.items()}},
        title="Adapters of one number of weights",
        caption=bridging.caption("95 % intervals over sources"),
        y_label="LPIPS (less is better)",
        baselines={name.replace("_", " "): float(np.mean(beside[name]["lpips"])) for name in ("oracle", "mean_latent")},
    )
    runner.results.save_artifact("architectures.png", drawn)
    drawn = learning_curve(
        {name.replace("_", " "): bridge.training.history for name, bridge in bridges.items()},
        title="Training of the adapters, at the learning rate that validation chose",
        caption=runner.caption(len(bridging.split.val), "validation pictures"),
        y_label="loss of the recipe",
    )
    runner.results.save_artifact("learning_curve.png", drawn)
    runner.results.save_json_artifact(
        "architectures.json",
        {
            "items": [bridging.dataset.manifest.items[index].id for index in bridging.split.test],
            "decoder": {"name": DECODER, "stand_in": runner.is_stand_in("vae")},
            "recipe": vars(recipe),
            "architectures": {
                name: {
                    "weights": bridge.weights,
                    "rate": bridge.training.rate,
                    "validation_loss": bridge.training.history.best_validation_loss,
                    "epochs": len(bridge.training.history.train_loss) - 1,
                    "converged": bridge.training.history.converged,
                    "scores": scores[name],
                }
                for name, bridge in bridges.items()
            },
            "beside": beside,
        },
    )

    # Finding
    return {
        "finding": _sentence(chosen, scores, in_words(bridges[chosen].weights), bridging.groups),
        "metrics": {
            **{f"{name}_lpips": np.mean(beside[name]["lpips"]) for name in BASELINES},
            **{f"weights_{name}": bridge.weights for name, bridge in bridges.items()},
            **{f"rate_{name}": bridge.training.rate for name, bridge in bridges.items()},
            **{f"operations_{name}": bridging.operations(bridge) for name, bridge in bridges.items()},
            **{f"loss_variance_{name}": bridge.training.unsteadiness for name, bridge in bridges.items()},
        },
    }


def _sentence(chosen: str, scores: Mapping[str, Scores], size: str, groups: list[str]) -> str:
    stands = compare({name: of["lpips"] for name, of in scores.items()}, chosen, groups)
    told = "; ".join(
        f"{word} {listing([name.replace('_', ' ') for name in names])}"
        for word in ("ahead of", "level with", "behind")
        if (names := [name for name, stand in stands.items() if stand == word])
    )
    listed = ", ".join(f"{name.replace('_', ' ')} {{lpips_{name}:.3f}}" for name in scores)
    return (
        f"LPIPS by architecture, {size} weights each: {listed} (oracle {{lpips_oracle:.3f}}, mean latent "
        f"{{mean_latent_lpips:.3f}}). Validation prefers {chosen.replace('_', ' ')}, which on held-out pictures is "
        f"{told} (paired, corrected for {len(stands)} comparisons)."
    )
