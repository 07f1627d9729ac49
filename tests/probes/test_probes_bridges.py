"""Adapters of counted sizes, and how they are trained: what a recipe says is what happens."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from foresight.probes.bridge_training import Bridge, Lessons, Recipe, fit_bridge
from foresight.probes.bridges import ARCHITECTURES, alike, build, in_words, operations
from foresight.probes.training import Diverged, parameter_count

TOKENS, LATENTS = (3, 4, 12), (6, 8, 5)
RNG = np.random.default_rng(0)


def lessons(n: int = 48, *, repeat: int = 2, everywhere: bool = False) -> Lessons:
    """The latents are what the tokens say, in place or `everywhere` the mean of all; channels 0 to 2 are painted."""
    mixing = np.random.default_rng(1).normal(size=(12, 5)) / 3

    def part(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        tokens = RNG.normal(size=(n, *TOKENS)).astype(np.float32)
        said = np.broadcast_to(3 * tokens.mean((1, 2), keepdims=True), tokens.shape) if everywhere else tokens
        latents = np.repeat(np.repeat(np.tanh(said @ mixing), repeat, 1), repeat, 2).astype(np.float32)
        return tokens, latents, 1 / (1 + np.exp(-latents[..., :3]))

    learn, validation = part(n), part(n // 3)
    return Lessons(*zip(learn, validation, strict=True))


def decode(latents: torch.Tensor) -> torch.Tensor:
    return torch.sigmoid(latents[..., :3]).permute(0, 4, 1, 2, 3)


def trained(recipe: Recipe, of: Lessons, weights: int = 3000, architecture: str = "query") -> Bridge:
    def make() -> torch.nn.Module:
        return build(architecture, weights, TOKENS, LATENTS, seed=0, dropout=recipe.dropout)

    return fit_bridge(make, of, recipe, decode=decode, seed=0)


def error(bridge: Bridge, of: Lessons) -> float:
    return float(np.square(bridge.predict(of.tokens[1]) - of.latents[1]).mean())


# ---------------------------------------------------------------------- sizes


@pytest.mark.parametrize("architecture", ["query", "bottleneck", "perceiver"])
@pytest.mark.parametrize("weights", [5000, 20_000, 123_456])
def test_a_size_is_what_was_asked_for(architecture, weights):
    net = build(architecture, weights, TOKENS, LATENTS, seed=0)
    assert parameter_count(net) == pytest.approx(weights, rel=0.02)


def test_a_size_that_cannot_be_made_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"no query adapter .* has 100 weights within 10%; the nearest has 458"):
        build("query", 100, TOKENS, LATENTS, seed=0)
    with pytest.raises(ValueError, match="there is no architecture 'lora'"):
        build("lora", 5000, TOKENS, LATENTS, seed=0)


def test_all_architectures_are_of_one_size_and_start_at_the_mean_latent():
    nets = alike(ARCHITECTURES, 20_000, TOKENS, LATENTS, seed=0, depth=2, dropout=0.1)
    counts = [parameter_count(net) for net in nets.values()]
    assert max(counts) / min(counts) < 1.05
    tokens = torch.randn(2, *TOKENS)
    for name, net in nets.items():
        assert net(tokens).shape == (2, *LATENTS), name
        assert not net(tokens).any(), name
    assert len({operations(net, TOKENS) for net in nets.values()}) == len(nets), "of as many weights, not as much work"


def test_operations_grow_with_the_weights_and_are_those_of_one_picture():
    low_rank = build("low_rank", 20_000, TOKENS, LATENTS, seed=0, within=1)
    assert operations(low_rank, TOKENS) == pytest.approx(2 * (parameter_count(low_rank) - 2 * 12))
    query = [operations(build("query", weights, TOKENS, LATENTS, seed=0), TOKENS) for weights in (5000, 50_000)]
    assert query[1] > 5 * query[0]


def test_weights_are_said_in_three_digits():
    assert [in_words(n) for n in (999, 1704, 20_036, 99_812_345, 100_000_000)] == [
        "999",
        "1.7k",
        "20k",
        "99.8M",
        "100M",
    ]


# ---------------------------------------------------------------------- recipes


@pytest.mark.parametrize(
    ("architecture", "everywhere"),
    [("query", False), ("bottleneck", False), ("low_rank", False), ("query", True), ("perceiver", True)],
)
def test_every_architecture_learns_what_tokens_say(architecture, everywhere):
    of = lessons(96, everywhere=everywhere)
    bridge = trained(Recipe(rates=[0.01], epochs=12, dropout=0.0), of, 6000, architecture)
    assert error(bridge, of) < 0.75 * np.square(of.latents[1] - bridge.mean).mean()


def test_what_stands_alone_in_a_cell_is_not_told_by_its_neighbours():
    """A bottleneck sees the tokens around a cell and no others."""
    of = lessons(96, everywhere=True)
    bridge = trained(Recipe(rates=[0.01], epochs=12, dropout=0.0), of, 6000, "bottleneck")
    assert error(bridge, of) > 0.75 * np.square(of.latents[1] - bridge.mean).mean()


def test_validation_chooses_the_learning_rate_and_one_that_diverges_is_left():
    of = lessons()
    bridge = trained(Recipe(rates=[1e-6, 0.01, 1e30], epochs=4, largest_gradient=None), of)
    assert bridge.training.rate == 0.01
    assert bridge.training.tried[1e30] == math.inf
    assert bridge.training.tried[0.01] < bridge.training.tried[1e-6]
    assert not bridge.training.at_the_edge
    assert trained(Recipe(rates=[1e-6, 0.01], epochs=4), of).training.at_the_edge
    with pytest.raises(Diverged):
        trained(Recipe(rates=[1e30], epochs=4, largest_gradient=None), of)


@pytest.mark.parametrize("loss", [{"pixels": 1.0}, {"ssim": 1.0}])
def test_a_loss_of_pictures_reaches_the_adapter_through_the_decoder(loss):
    """Only the first three channels are painted: the others have no gradient and stay at the mean latent."""
    of = lessons(repeat=4)
    shape = of.latents[0].shape[1:]
    made = fit_bridge(
        lambda: build("query", 4000, TOKENS, shape, seed=0),
        of,
        Recipe(rates=[0.01], loss=loss, epochs=8),
        decode=decode,
        seed=0,
    )
    predicted = made.predict(of.tokens[1])
    better = np.square(predicted - of.latents[1]).mean((0, 1, 2)) / np.square(made.mean - of.latents[1]).mean((0, 1, 2))
    assert better[:3].mean() < 0.95
    assert better[3:] == pytest.approx(1.0, abs=1e-6)


def test_each_part_of_a_recipe_changes_what_is_trained():
    of, base = lessons(), {"rates": [0.01], "epochs": 3}
    plain = error(trained(Recipe(**base), of), of)
    for change in ({"schedule": "cosine"}, {"dropout": 0.4}, {"noise": 0.5}, {"weight_decay": 10.0},
                   {"loss": {"latent": 1.0, "pixels": 1.0}}, {"batch_size": 4}, {"schedule": "warm_up_cosine"},
                   {"schedule": "step"}, {"largest_gradient": 1e-3}):  # fmt: skip
        assert error(trained(Recipe(**{**base, **change}), of), of) != plain, change
    assert error(trained(Recipe(**base), of), of) == plain, "and nothing else does"


def test_noise_is_for_training_alone():
    of = lessons()
    bridge = trained(Recipe(rates=[0.01], epochs=1, noise=2.0), of)
    assert (bridge.predict(of.tokens[1]) == bridge.predict(of.tokens[1])).all()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"rates": [0.1], "loss": {"lpisp": 1.0}}, "not of lpisp"),
        ({"rates": [0.1], "schedule": "cosinus"}, "not 'cosinus'"),
        ({"rates": []}, "needs a learning rate"),
        ({"rates": [0.1], "loss": {"latent": 0.0}}, "a loss that weighs something"),
    ],
)
def test_a_recipe_that_says_nothing_or_something_unknown_is_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        Recipe(**settings)


def test_a_checkpoint_holds_all_that_a_prediction_rests_on():
    of = lessons()
    bridge = trained(Recipe(rates=[0.01], epochs=2), of)
    tensors = bridge.tensors()
    fresh = torch.nn.Sequential(torch.nn.Identity(), build("query", 3000, TOKENS, LATENTS, seed=9))
    fresh.load_state_dict({name.removeprefix("net."): x for name, x in tensors.items() if name.startswith("net.")})
    with torch.inference_mode():
        made = fresh.eval()(torch.from_numpy(of.tokens[1])) * tensors["scale"] + tensors["mean"]
    assert made.numpy() == pytest.approx(bridge.predict(of.tokens[1]), abs=1e-6)
