"""e2_4, final validation: is the small adapter nearly as good as the large one, on pictures that neither has seen?

Two adapters of one architecture, of the two sizes that the profile names, trained by the recipe that the profile
fixes before any result (nothing is picked on test), each with the learning rate that validation chooses for it. Both
normalise their inputs token by token. What they paint is scored on held-out sources beside the oracle and what needs no
features.

C2's criterion `param_efficiency` is read here: 1 - (L_small - L_large) / L_large in LPIPS. It is *void*, which makes
the criterion not measured, where the large adapter is no reference (`foresight.metrics.efficiency`). Since no decoder
reaches an LPIPS of zero, the share of the large one's gain over the mean latent that the small one keeps is given too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.torch import save

from foresight.experiments.c2.bridging import DECODER, Bridging, recipe_of
from foresight.experiments.painting import BASELINES
from foresight.experiments.reading import estimate
from foresight.metrics.reconstruction import one_of_each
from foresight.plots.charts import bars, learning_curve
from foresight.plots.pictures import image_grid
from foresight.probes.bridges import in_words

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner

EFFICIENT = {"well": 0.90, "acceptably": 0.80}  # the plan's target and acceptable level
ARMS = ("small", "large")


def run(runner: ExperimentRunner) -> dict[str, Any]:
    bridging = Bridging(runner)
    recipe = recipe_of(runner.config["recipe"])

    # The two adapters
    bridges = {
        arm: bridging.fit(arm, bridging.sized(runner.config[arm], recipe), recipe, progress=span)
        for arm, span in zip(ARMS, ((0.0, 0.3), (0.3, 0.75)), strict=True)
    }

    # Scores on held-out pictures
    runner.progress(0.78, "decoding")
    painted = {arm: bridging.paint(bridge) for arm, bridge in bridges.items()}
    scores = {arm: bridging.score(images) for arm, images in painted.items()}
    others, beside = bridging.beside(bridges["large"])
    bridging.log("", scores["small"], beside)
    bridging.log("_large", scores["large"], beside)
    bridging.log("_oracle", beside["oracle"], beside)
    void = bridging.log_efficiency("param_efficiency", scores["small"], scores["large"], beside)
    bridging.note_training(
        {arm: bridge.training for arm, bridge in bridges.items()}, {arm: ["param_efficiency"] for arm in ARMS}
    )
    bridging.note_stand_ins()

    # Pictures
    runner.progress(0.92, "pictures")
    some = one_of_each(bridging.groups)[:8]
    words = {arm: f"{arm}, {in_words(bridge.weights)}" for arm, bridge in bridges.items()}
    drawn = image_grid(
        {
            "original": bridging.painting.images[some],
            "oracle": others["oracle"][some],
            **{words[arm]: painted[arm][some] for arm in reversed(ARMS)},
            "shuffled tokens": others["shuffled_tokens"][some],
            "mean latent": others["mean_latent"],
        },
        title="Painted by the video model's decoder: the large adapter and the small one",
        caption=bridging.caption(),
        scores={words[arm]: scores[arm]["lpips"][some] for arm in ARMS},
    )
    runner.results.save_artifact("reconstruction_grid.png", drawn)
    drawn = bars(
        {
            "LPIPS": {
                **{words[arm]: estimate(scores[arm]["lpips"], bridging.groups) for arm in ARMS},
                **{name.replace("_", " "): estimate(of["lpips"], bridging.groups) for name, of in beside.items()},
            }
        },
        title="The small adapter beside the large one and beside what needs no features",
        caption=bridging.caption("95 % intervals over sources"),
        y_label="LPIPS (less is better)",
    )
    runner.results.save_artifact("arms.png", drawn)
    drawn = learning_curve(
        {words[arm]: bridge.training.history for arm, bridge in bridges.items()},
        title="Training of both adapters, at the learning rate that validation chose",
        caption=runner.caption(len(bridging.split.val), "validation pictures"),
        y_label="loss of the recipe",
    )
    runner.results.save_artifact("learning_curve.png", drawn)
    runner.results.save_artifact("small.safetensors", save(bridges["small"].tensors()))
    runner.results.save_json_artifact(
        "final_validation.json",
        {
            "items": [bridging.dataset.manifest.items[index].id for index in bridging.split.test],
            "decoder": {"name": DECODER, "stand_in": runner.is_stand_in("vae")},
            "recipe": vars(recipe),
            "void": void or None,
            "scores": {**scores, **beside},
            "adapters": {
                arm: {
                    "weights": bridge.weights,
                    "rate": bridge.training.rate,
                    "converged": bridge.training.history.converged,
                }
                for arm, bridge in bridges.items()
            },
        },
    )

    # Finding
    small, large, nothing = (of["lpips"].mean() for of in (scores["small"], scores["large"], beside["mean_latent"]))
    return {
        "finding": _sentence({arm: in_words(bridge.weights) for arm, bridge in bridges.items()}, small, large, void),
        "metrics": {
            **{f"{name}_lpips": np.mean(beside[name]["lpips"]) for name in BASELINES},
            **({} if void else {"gain_kept": (nothing - small) / (nothing - large)}),
            **{f"weights_{arm}": bridge.weights for arm, bridge in bridges.items()},
            **{f"rate_{arm}": bridge.training.rate for arm, bridge in bridges.items()},
            **{f"operations_{arm}": bridging.operations(bridge) for arm, bridge in bridges.items()},
        },
    }


def _sentence(weights: dict[str, str], small: float, large: float, void: str) -> str:
    painted = (
        f"Pictures painted by the {DECODER} decoder from {weights['small']} weights have LPIPS {{lpips:.3f}}, from "
        f"{weights['large']} {{lpips_large:.3f}} (oracle {{lpips_oracle:.3f}}, mean latent {{mean_latent_lpips:.3f}})"
    )
    if void:
        return f"{painted}. Parameter efficiency is void: {void}."
    efficiency = 2 - small / large
    word = next((word for word, at in EFFICIENT.items() if efficiency >= at), "not well enough")
    levels = ", ".join(f"{word}: at least {at:g}" for word, at in EFFICIENT.items())
    return (
        f"{painted}: the small adapter stands in for the large one {word} ({levels}), with a parameter efficiency of "
        "{param_efficiency:.2f}; of what the large one gains over the mean latent it keeps {gain_kept:.0%}."
    )
