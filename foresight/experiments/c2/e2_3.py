"""e2_3, training recipe: which losses, schedules and regularisations help, one at a time?

A base recipe, and trials that each change something of it (`probes.bridge_training.Recipe`), on one adapter. What a
trial is, is its whole configuration, whose hash is the name of its file: the published study named trials by three of
five settings, and three runs overwrote one another. A trial is kept as soon as it is there, so an attempt that dies
loses the one that it was in.

The published augmentations moved the pictures and left the features as they were; here nothing moves pictures, since
the features of a moved picture would have to be extracted from it, and tokens are noised instead. A multi-scale LPIPS
is left out: LPIPS looks at five scales already.

No criterion is read here, and nothing is picked on test: recipes are ranked by the LPIPS of *validation* pictures,
since their losses have no common unit, and how each stands to the base is told by held-out pictures, pairwise and
corrected for the number of trials (Holm).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from foresight.experiments.c2.bridging import DECODER, Bridging, Scores, compare, listing, recipe_of
from foresight.experiments.painting import BASELINES
from foresight.experiments.reading import estimate
from foresight.files import canonical_json, sha256_bytes
from foresight.metrics.perceptual import lpips_scores
from foresight.plots.charts import bars, learning_curve
from foresight.probes.bridge_training import Bridge, Recipe, Tuned
from foresight.probes.training import TrainingHistory

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner

BASE = "base"

Trial = Mapping[str, Any]  # as its file has it


def run(runner: ExperimentRunner) -> dict[str, Any]:
    bridging = Bridging(runner)
    recipes = _recipes(runner.config)
    files = {name: f"trials/{_key(runner.config, recipe)}.json" for name, recipe in recipes.items()}
    if len(set(files.values())) < len(files):
        raise ValueError("two trials of the profile are one and the same recipe: leave one out")

    # One trial after another, each kept as soon as it is there
    trials: dict[str, Trial] = {}
    for done, (name, recipe) in enumerate(recipes.items()):
        span = 0.8 * done / len(recipes), 0.8 * (done + 1) / len(recipes)
        if (kept := runner.results.kept(files[name])) is not None:
            runner.progress(span[1], f"{name}: taken over from an earlier attempt")
            trials[name] = json.loads(kept)
        else:
            make = bridging.sized(runner.config["weights"], recipe)
            trials[name] = _told(bridging, bridging.fit(name, make, recipe, progress=span), recipe)
        runner.results.save_json_artifact(files[name], trials[name])

    # Scores on held-out pictures
    runner.progress(0.82, "decoding")
    _, beside = bridging.beside(None)
    scores = {name: {metric: np.array(of) for metric, of in trial["scores"].items()} for name, trial in trials.items()}
    for name, of in scores.items():
        bridging.log(f"_{name}", of, beside)
    bridging.log("_oracle", beside["oracle"], beside)
    trained = {name: Tuned.from_json(trial["training"]) for name, trial in trials.items()}
    bridging.note_training(trained)
    bridging.note_stand_ins()
    runner.note(
        "No trial moves pictures: the features of a flipped or shifted picture are not the picture's own, moved alike, "
        "and were not extracted."
    )

    # Pictures
    runner.progress(0.9, "pictures")
    ranked = sorted(trials, key=lambda name: trials[name]["validation_lpips"])
    _save_pictures(bridging, trained, scores, ranked)
    stands = compare({name: of["lpips"] for name, of in scores.items()}, BASE, bridging.groups)
    runner.results.save_json_artifact(
        "recipes.json",
        {
            "decoder": {"name": DECODER, "stand_in": runner.is_stand_in("vae")},
            "items": [bridging.dataset.manifest.items[index].id for index in bridging.split.test],
            "ranking": ranked,
            "base_is": stands,
            "files": files,
            "recipes": {name: trial["recipe"] for name, trial in trials.items()},
            "beside": beside,
        },
    )

    # Finding
    return {
        "finding": _sentence(ranked, stands),
        "metrics": {
            **{f"{name}_lpips": np.mean(beside[name]["lpips"]) for name in BASELINES if name in beside},
            **{f"validation_lpips_{name}": trial["validation_lpips"] for name, trial in trials.items()},
            **{f"settled_{name}": training.settled for name, training in trained.items()},
            **{f"loss_variance_{name}": training.unsteadiness for name, training in trained.items()},
            "weights": trials[BASE]["weights"],
        },
    }


def _recipes(config: Mapping[str, Any]) -> dict[str, Recipe]:
    """The base and every trial, whole."""
    base = config["recipe"]
    return {BASE: recipe_of(base), **{name: recipe_of({**base, **change}) for name, change in config["trials"].items()}}


def _key(config: Mapping[str, Any], recipe: Recipe) -> str:
    """Of all that a trial is, beside what identifies the step: data, features, seed, code."""
    net = {name: config.get(name) for name in ("architecture", "depth", "weights", "width")}
    return sha256_bytes(canonical_json({"recipe": vars(recipe), "net": net}))[:16]


def _told(bridging: Bridging, bridge: Bridge, recipe: Recipe) -> dict[str, Any]:
    validation = bridging.lessons.images[1]
    painted = bridging.paint(bridge, bridging.tokens["validation"])
    return {  # plain numbers, as the file gives them back
        "recipe": vars(recipe),
        "weights": bridge.weights,
        "training": bridge.training.to_json(),
        "validation_lpips": float(lpips_scores(validation, painted, device=bridging.runner.device).mean()),
        "scores": {metric: of.tolist() for metric, of in bridging.score(bridging.paint(bridge)).items()},
    }


def _save_pictures(
    bridging: Bridging, trained: Mapping[str, Tuned], scores: Mapping[str, Scores], ranked: list[str]
) -> None:
    words = {name: name.replace("_", " ") for name in ranked}
    base, results = scores[BASE]["lpips"], bridging.runner.results
    against = {words[name]: estimate(scores[name]["lpips"] - base, bridging.groups) for name in ranked if name != BASE}
    drawn = bars(
        {"LPIPS against the base": against},
        title="What a change of the recipe does to LPIPS, best on validation first",
        caption=bridging.caption("95 % intervals over sources of the paired difference, uncorrected"),
        y_label="LPIPS minus that of the base (less is better)",
    )
    results.save_artifact("ranking.png", drawn)
    drawn = bars(
        {"LPIPS": {words[name]: estimate(scores[name]["lpips"], bridging.groups) for name in ranked}},
        title="Recipes, best on validation first",
        caption=bridging.caption("95 % intervals over sources"),
        y_label="LPIPS (less is better)",
    )
    results.save_artifact("recipes.png", drawn)
    curves = {words[name]: _from_one(training.history) for name, training in trained.items()}
    drawn = learning_curve(
        curves,
        title="Training by each recipe, its own loss in units of that before training",
        caption=bridging.runner.caption(len(bridging.split.val), "validation pictures"),
        y_label="loss, share of that before",
    )
    results.save_artifact("learning_curve.png", drawn)


def _from_one(history: TrainingHistory) -> TrainingHistory:
    """In units of the loss before training: the losses of recipes have no other unit in common."""
    before = history.validation_loss[0]
    return replace(
        history,
        train_loss=[loss / before for loss in history.train_loss],
        validation_loss=[loss / before for loss in history.validation_loss],
    )


def _sentence(ranked: list[str], stands: Mapping[str, str]) -> str:
    words = {"behind": "better than", "ahead of": "worse than", "level with": "not told apart from"}
    told = "; ".join(
        f"{words[word]} the base on held-out pictures: {listing([name.replace('_', ' ') for name in names])}"
        for word in words
        if (names := [name for name in ranked if stands.get(name) == word])
    )
    best = "the base" if ranked[0] == BASE else ranked[0].replace("_", " ")
    return (
        f"Of {len(ranked)} recipes validation prefers {best} (LPIPS of held-out pictures {{lpips_{ranked[0]}:.3f}}; "
        f"the base {{lpips_{BASE}:.3f}}, oracle {{lpips_oracle:.3f}}, mean latent {{mean_latent_lpips:.3f}}). "
        f"{told[0].upper()}{told[1:]} (paired, corrected for {len(stands)} comparisons)."
    )
