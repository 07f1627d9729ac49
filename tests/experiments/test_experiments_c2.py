"""C2's handlers on features whose content is known: where weights are needed it shows, where not there is no ratio."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from planted_world import GRID_X2, GRID_X3, RECIPE, STAND_IN_VAE, World, finding, samples

from foresight.data.recipes import RECIPES
from foresight.experiments.c2 import e2_3, e2_4
from foresight.experiments.c2.bridging import Bridging, compare, listing
from foresight.home import Home
from foresight.plan.loader import load_plan
from foresight.probes.bridges import ARCHITECTURES

RATES = {"rates": [0.01], "epochs": 10, "patience": 10}
CONFIG = {"width": 48, "small": 1500, "large": 16_000, "recipe": RATES}
VAE = {"vae": STAND_IN_VAE}
TRIVIAL = {"mean_latent", "shuffled_tokens", "mean_image", "blank_image"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """96 pictures, two of each of 48 sources; X7 says what each of their latents is, X4 says nothing."""
    from foresight.models import loading
    from foresight.models.identity import ModelSpec, locate

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, "planted", RECIPE)
        world = World.of(Home(tmp_path_factory.mktemp("home")), n=96)
        vae = ModelSpec.from_json(STAND_IN_VAE)
        latents = loading.load(vae, locate(vae, world.home)).encode(np.asarray(world.dataset.images))
        yield world.plant({"dino:X7": latents, "vlm:X4.last": world.noise(GRID_X3, 64), "vae:X6": latents})


@pytest.fixture(scope="module")
def validated(pictures):
    return pictures.run("e2_4", config=CONFIG, models=VAE, stand_ins=True)


def artifact(world: World, made, name: str):
    return next(world.home.root / one.path for one in made.artifacts if one.name == name)


# ---------------------------------------------------------------------- e2_4


def test_e2_4_gives_the_share_that_the_small_adapter_lacks(pictures, validated):
    metrics = validated.metrics
    assert metrics["lpips_oracle"] < metrics["lpips_large"] < metrics["lpips"] - 0.03 < metrics["mean_latent_lpips"]
    assert metrics["param_efficiency"] == pytest.approx(2 - metrics["lpips"] / metrics["lpips_large"])
    assert metrics["param_efficiency"] < 0.95
    kept = (metrics["mean_latent_lpips"] - metrics["lpips"]) / (metrics["mean_latent_lpips"] - metrics["lpips_large"])
    assert metrics["gain_kept"] == pytest.approx(kept)
    assert (metrics["weights_small"], metrics["weights_large"]) == (
        pytest.approx(1500, rel=0.1),
        pytest.approx(16_000, rel=0.1),
    )
    assert metrics["operations_large"] > 3 * metrics["operations_small"]
    assert f"a parameter efficiency of {metrics['param_efficiency']:.2f}" in finding(validated)
    assert validated.not_measured == {}
    assert all(math.isfinite(value) for value in metrics.values())

    # one score a source, beside adapters of no weights
    logged, tested = samples(validated, "param_efficiency"), pictures.split().test
    assert logged.groups == sorted({pictures.dataset.groups[i] for i in tested})
    assert set(logged.baselines) == TRIVIAL
    for name in TRIVIAL:
        without = 2 - np.mean(samples(validated, "lpips_large").baselines[name]) / metrics["lpips_large"]
        assert np.mean(logged.baselines[name]) == pytest.approx(without)
    assert len(samples(validated, "lpips").scores) == len(tested)


def test_e2_4_leaves_the_small_adapter_and_what_its_numbers_were_made_of(pictures, validated):
    names = {one.name for one in validated.artifacts}
    assert names == {
        "reconstruction_grid.png", "arms.png", "learning_curve.png", "small.safetensors", "final_validation.json"
    }  # fmt: skip
    table = json.loads(artifact(pictures, validated, "final_validation.json").read_text())
    assert table["void"] is None
    assert table["decoder"] == {"name": "LTX-VAE", "stand_in": True}
    assert table["recipe"] | RATES == table["recipe"]
    assert table["adapters"]["large"]["weights"] == validated.metrics["weights_large"]
    assert np.mean(table["scores"]["small"]["lpips"]) == pytest.approx(validated.metrics["lpips"])
    assert pictures.trained("e2_4") == {"small", "large"}
    assert any("Stand-ins play the VLM, DINOv2, the decoder" in note for note in validated.notes)


def test_e2_4_has_no_ratio_of_equals(pictures):
    made = pictures.run("e2_4", config={**CONFIG, "small": 3000, "large": 3000}, models=VAE)
    assert made.metrics["lpips"] == made.metrics["lpips_large"]
    assert not {"param_efficiency", "gain_kept"} & made.metrics.keys()
    why = made.not_measured["param_efficiency"]
    assert "is level with the small one" in why
    assert "Parameter efficiency is void: the large adapter (" in finding(made)
    assert finding(made).endswith(f"{why}.")


def test_e2_4_has_no_ratio_where_the_tokens_say_nothing(pictures):
    kept = dict(pictures.needs)
    try:
        pictures.plant({"dino:X7": pictures.noise(GRID_X2, 12), "vlm:X4.last": pictures.noise(GRID_X3, 64)})
        pictures.needs["planted/vae:X6"] = kept["planted/vae:X6"]
        made = pictures.run("e2_4", config={**CONFIG, "recipe": {**RATES, "epochs": 2}}, models=VAE)
    finally:
        pictures.needs = kept
    assert "param_efficiency" not in made.metrics
    assert "which needs no features" in made.not_measured["param_efficiency"]


def test_e2_4_trains_by_the_recipe_of_the_profile(pictures):
    """Through the decoder, with the schedule; and each size has the learning rate that validation chose."""
    recipe = {"loss": {"pixels": 1.0}, "schedule": "warm_up_cosine", "rates": [1e-6, 0.01], "epochs": 1}
    config = {**CONFIG, "large": 3000, "recipe": recipe}
    made = pictures.run("e2_4", config=config, models=VAE)
    assert (made.metrics["rate_small"], made.metrics["rate_large"]) == (0.01, 0.01)
    assert any("a better one may lie beyond: small (0.01), large (0.01)" in note for note in made.notes)
    assert any("not trained to convergence" in note for note in made.notes)
    assert pictures.trained("e2_4") == {f"{arm}, rate {rate}" for arm in e2_4.ARMS for rate in ("1e-06", "0.01")}
    table = json.loads(artifact(pictures, made, "final_validation.json").read_text())
    assert table["recipe"] | recipe == table["recipe"]
    with pytest.raises(TypeError, match="epoch"):
        pictures.run("e2_4", config={**CONFIG, "recipe": {**RATES, "epoch": 3}}, models=VAE)


def test_the_levels_of_e2_4_are_those_of_the_plan():
    criterion = load_plan().experiment("c2").criterion("param_efficiency")
    assert (criterion.target, criterion.acceptable) == tuple(e2_4.EFFICIENT.values())


# ---------------------------------------------------------------------- e2_1


def test_e2_1_shows_what_more_weights_bring(pictures):
    made = pictures.run("e2_1", config={"width": 48, "sizes": [16_000, 1500, 4000], "recipe": RATES}, models=VAE)
    weights = sorted(int(value) for name, value in made.metrics.items() if name.startswith("weights_"))
    assert weights == [pytest.approx(1500, rel=0.1), pytest.approx(4000, rel=0.02), pytest.approx(16_000, rel=0.02)]
    names = [name.removeprefix("weights_") for name, at in sorted(made.metrics.items(), key=lambda of: of[1])
             if name.startswith("weights_")]  # fmt: skip
    errors = [made.metrics[f"lpips_{name}"] for name in names]
    assert errors == sorted(errors, reverse=True)
    assert made.metrics["lpips_oracle"] < errors[-1] < errors[0] < made.metrics["mean_latent_lpips"]
    assert made.metrics[f"param_efficiency_{names[0]}"] == pytest.approx(2 - errors[0] / errors[-1])
    assert f"param_efficiency_{names[-1]}" not in made.metrics, "the reference is not compared with itself"
    assert set(samples(made, f"lpips_{names[0]}").baselines) == TRIVIAL
    assert "16k, is ahead of all smaller ones" in finding(made)
    assert {"scaling.png", "scaling_grid.png", "learning_curve.png", "scaling.json"} == {a.name for a in made.artifacts}
    table = json.loads(artifact(pictures, made, "scaling.json").read_text())
    assert [one["weights"] for one in table["sizes"]] == weights


def test_e2_1_says_which_size_is_enough(pictures):
    made = pictures.run(
        "e2_1", config={"width": 48, "sizes": [3000, 3050], "recipe": {**RATES, "epochs": 2}}, models=VAE
    )
    assert "3k is the smallest that is not behind the largest" in finding(made)
    assert "level with the small one" in made.not_measured["param_efficiency_3k"]


# ---------------------------------------------------------------------- e2_2


def test_e2_2_compares_architectures_of_one_size(pictures):
    made = pictures.run("e2_2", config={"width": 48, "weights": 12_000, "recipe": RATES}, models=VAE)
    weights = [made.metrics[f"weights_{name}"] for name in ARCHITECTURES]
    assert max(weights) / min(weights) < 1.05
    lpips = {name: made.metrics[f"lpips_{name}"] for name in ARCHITECTURES}
    assert lpips["bottleneck"] < lpips["perceiver"] - 0.03, "what is in a cell stands in the tokens around it"
    for name in ARCHITECTURES:
        assert set(samples(made, f"lpips_{name}").baselines) == TRIVIAL
        assert made.metrics[f"loss_variance_{name}"] > 0
    table = json.loads(artifact(pictures, made, "architectures.json").read_text())
    chosen = min(table["architectures"], key=lambda name: table["architectures"][name]["validation_loss"])
    assert f"Validation prefers {chosen.replace('_', ' ')}, which on held-out pictures is " in finding(made)
    assert "behind" not in finding(made)
    assert "corrected for 3 comparisons" in finding(made)
    assert pictures.trained("e2_2") == set(ARCHITECTURES)
    assert {"architectures.png", "architectures_grid.png", "learning_curve.png"} < {a.name for a in made.artifacts}
    assert any("One learning rate for all" in note for note in made.notes)


def test_what_chance_alone_sets_apart_is_level():
    """Twelve equal arms on the same pictures: one in twenty would seem better without a correction."""
    rng, groups = np.random.default_rng(0), [f"source-{i // 2}" for i in range(60)]
    arms = {f"arm {i}": rng.normal(0.4, 0.05, 60) for i in range(40)}
    assert set(compare(arms, "arm 0", groups).values()) == {"level with"}
    arms |= {"better": arms["arm 0"] - 0.06 * rng.uniform(0.5, 1, 60), "worse": arms["arm 0"] + 0.06}
    arms["worse"] = arms["worse"] + rng.normal(0, 0.001, 60)
    told = compare(arms, "arm 0", groups)
    assert (told["better"], told["worse"]) == ("behind", "ahead of")
    assert listing(["a", "b", "c"]) == "a, b and c"
    assert (listing(["a"]), listing(["a", "b"])) == ("a", "a and b")


# ---------------------------------------------------------------------- e2_3

TRIALS = {
    "width": 48,
    "architecture": "bottleneck",
    "weights": 4000,
    "recipe": {**RATES, "epochs": 6},
    "trials": {"crawling": {"rates": [1e-5]}, "drowned": {"noise": 20.0}, "cosine": {"schedule": "cosine"}},
}


def trial_files(world: World, made) -> dict[str, str]:
    return json.loads(artifact(world, made, "recipes.json").read_text())["files"]


def test_e2_3_ranks_recipes_on_validation_and_tells_them_apart_on_held_out_pictures(pictures):
    made = pictures.run("e2_3", config=TRIALS, models=VAE)
    for bad in ("crawling", "drowned"):
        assert made.metrics[f"lpips_{bad}"] > made.metrics["lpips_base"] + 0.05
        assert made.metrics[f"validation_lpips_{bad}"] > made.metrics["validation_lpips_base"] + 0.05
    table = json.loads(artifact(pictures, made, "recipes.json").read_text())
    assert set(table["ranking"][2:]) == {"crawling", "drowned"}
    assert {table["base_is"][bad] for bad in ("crawling", "drowned")} == {"ahead of"}
    said = finding(made)
    assert "orse than the base on held-out pictures: " in said
    assert "Of 4 recipes validation prefers" in said
    assert "corrected for 3 comparisons" in said
    assert table["recipes"]["drowned"]["noise"] == 20.0
    assert set(samples(made, "lpips_base").baselines) == {"mean_latent", "mean_image", "blank_image"}
    assert any("No trial moves pictures" in note for note in made.notes)
    assert {"ranking.png", "recipes.png", "learning_curve.png"} < {a.name for a in made.artifacts}


def test_e2_3_names_a_trial_by_all_that_it_is(pictures):
    """The published study left out dropout and weight decay, and three runs had one name."""
    changes = [{"dropout": 0.2}, {"weight_decay": 1e-3}, {"noise": 0.1}, {"loss": {"latent": 2.0}}, {"batch_size": 8}]
    recipes = e2_3._recipes({**TRIALS, "trials": {str(i): change for i, change in enumerate(changes)}})
    keys = {e2_3._key(TRIALS, recipe) for recipe in recipes.values()}
    assert len(keys) == 1 + len(changes)
    assert e2_3._key({**TRIALS, "weights": 5000}, recipes["base"]) not in keys
    with pytest.raises(ValueError, match="one and the same recipe"):
        pictures.run("e2_3", config={**TRIALS, "trials": {"again": {"epochs": 6}}}, models=VAE)


def test_e2_3_goes_on_after_the_trials_that_an_attempt_left(pictures, monkeypatch):
    config, fit, asked = {**TRIALS, "weights": 3000, "recipe": {**RATES, "epochs": 2}}, Bridging.fit, []

    def dies(self, name, *args, **kwargs):
        asked.append(name)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return fit(self, name, *args, **kwargs)

    monkeypatch.setattr(Bridging, "fit", dies)
    with pytest.raises(KeyboardInterrupt):
        pictures.run("e2_3", config=config, models=VAE)
    for attempt in (pictures.home.step("e2_3") / "attempts").iterdir():  # those of other tests had other recipes
        (attempt / "attempt.json").write_text("{}")  # as whoever comes next finds an attempt that died
    made = pictures.run("e2_3", config=config, models=VAE)
    assert asked == ["base", "crawling", "drowned", "drowned", "cosine"], "the first two are not trained again"
    whole = {a.name for a in made.artifacts}
    assert set(trial_files(pictures, made).values()) < whole

    # It was finished once: whoever asks again wants it computed, also where its record was withdrawn as damaged.
    again = pictures.run("e2_3", config=config, models=VAE)
    assert len(asked) == 9
    assert (again.metrics, again.finding_template) == (made.metrics, made.finding_template)
    assert again.samples == made.samples
    assert set(again.notes) == set(made.notes)
