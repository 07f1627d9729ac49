import numpy as np
import pytest
import torch

from foresight.probes.latents import (
    CrossAttentionAdapter,
    _places,
    fit_cell_ridge,
    fit_latent_probe,
    latent_statistics,
    pooled_latent_head,
    resample,
)
from foresight.probes.pixels import patchify

SIDE = 56
RNG = np.random.default_rng(0)
MIX_TOKEN = np.random.default_rng(1).normal(size=(14 * 14, 128))
MIX_CELL = np.random.default_rng(2).normal(size=(4 * 4, 8))


def pictures(n: int) -> np.ndarray:
    """[n, 56, 56, 1]: smooth in blocks of 4 px, so that tokens hold everything."""
    return RNG.normal(size=(n, 14, 14, 1)).repeat(4, 1).repeat(4, 2).astype(np.float32)


def tokens(images: np.ndarray) -> np.ndarray:
    """[n, 4, 4, 128]: 14 px a token."""
    return (patchify(images, (4, 4)) @ MIX_TOKEN).astype(np.float32)


def latents(images: np.ndarray) -> np.ndarray:
    """[n, 14, 14, 8]: 4 px a cell, so that half of the cells lie on the border of two tokens."""
    return (patchify(images, (14, 14)) @ MIX_CELL).astype(np.float32)


TRAIN, VAL, TEST = pictures(100), pictures(30), pictures(20)
SHORT = {"epochs": 3}


def r2(predicted: np.ndarray, true: np.ndarray, train: np.ndarray) -> float:
    return float(1 - np.mean((predicted - true) ** 2) / np.mean((train.mean(0) - true) ** 2))


@pytest.mark.parametrize(("tokens_", "cells"), [(4, 14), (8, 7), (8, 14), (4, 4), (3, 9), (16, 7), (5, 2)])
def test_every_cell_gets_exactly_the_tokens_that_it_overlaps(tokens_, cells):
    found = {}
    for place in _places(tokens_, cells):
        for cell, under in zip(place.cells, place.tokens, strict=True):
            found[int(cell)] = list(under)
    for cell in range(cells):
        low, high = cell * tokens_, (cell + 1) * tokens_
        expected = [token for token in range(tokens_) if token * cells < high and (token + 1) * cells > low]
        assert found.pop(cell) == expected
    assert not found


def test_planted_latents_are_found_where_grids_do_not_divide():
    ridge = fit_cell_ridge(tokens(TRAIN), latents(TRAIN), tokens(VAL), latents(VAL))
    assert len(ridge.ridges) == 49
    assert r2(ridge.predict(tokens(TEST)), latents(TEST), latents(TRAIN)) > 0.99


def test_planted_latents_are_found_where_cells_are_larger_than_tokens_and_not_square():
    def parts(images):
        cropped = images[:, :, :28]
        fine = patchify(cropped, (8, 4)).astype(np.float32)
        coarse = resample(cropped, (14, 14))
        return fine, patchify(coarse, (7, 7)) @ np.ones((4, 3), np.float32)

    (x, z), (x_val, z_val), (x_test, z_test) = parts(TRAIN), parts(VAL), parts(TEST)
    ridge = fit_cell_ridge(x, z, x_val, z_val)
    assert ridge.predict(x_test).shape == (20, 7, 7, 3)
    assert r2(ridge.predict(x_test), z_test, z) > 0.95


def test_whole_probe_keeps_the_units_of_the_latents():
    def scaled(images):
        return latents(images) * np.array([1, 10, 100, 1e-3, 1, 1, 1, 1], np.float32) + 50

    probe = fit_latent_probe(tokens(TRAIN), scaled(TRAIN), tokens(VAL), scaled(VAL), seed=0, **SHORT)
    made = probe.predict(tokens(TEST))
    assert made.shape == (20, 14, 14, 8)
    for channel in range(8):
        found, true, train = (part[..., channel] for part in (made, scaled(TEST), scaled(TRAIN)))
        assert r2(found, true, train) > 0.9


def test_noise_gives_the_mean_latent():
    noise = [RNG.normal(size=(len(part), 4, 4, 32)).astype(np.float32) for part in (TRAIN, VAL, TEST)]
    probe = fit_latent_probe(noise[0], latents(TRAIN), noise[1], latents(VAL), seed=0, **SHORT)
    assert r2(probe.predict(noise[2]), latents(TEST), latents(TRAIN)) == pytest.approx(0, abs=0.05)


def test_tokens_in_other_places_do_worse_than_the_mean():
    probe = fit_latent_probe(tokens(TRAIN), latents(TRAIN), tokens(VAL), latents(VAL), seed=0, **SHORT)
    shuffled = tokens(TEST)[:, ::-1, ::-1].copy()
    assert r2(probe.predict(shuffled), latents(TEST), latents(TRAIN)) < 0


def test_attention_adds_what_no_linear_map_has():
    """A latent that is the product of two features of its token."""

    def curved(x):
        return (x[..., :1] * x[..., 1:2] + x[..., 2:3]).repeat(2, 1).repeat(2, 2)

    x, x_val, x_test = (RNG.normal(size=(n, 3, 3, 4)).astype(np.float32) for n in (150, 40, 40))
    linear = fit_latent_probe(x, curved(x), x_val, curved(x_val), seed=0, epochs=0)
    both = fit_latent_probe(x, curved(x), x_val, curved(x_val), seed=0, epochs=25)
    scores = [r2(probe.predict(x_test), curved(x_test), curved(x)) for probe in (linear, both)]
    assert scores[0] < 0.6
    assert scores[1] > 0.8


def test_from_scratch_it_is_the_mean_latent_before_training():
    probe = fit_latent_probe(tokens(TRAIN), latents(TRAIN), tokens(VAL), latents(VAL), seed=0, linear=False, epochs=0)
    assert np.allclose(probe.predict(tokens(TEST)), latents(TRAIN).mean(0), atol=1e-4)
    assert np.allclose(probe.mean, latents(TRAIN).mean(0), atol=1e-5)


def test_the_same_seed_gives_the_same_latents():
    def made(seed: int) -> np.ndarray:
        x, z, x_val, z_val = tokens(TRAIN[:20]), latents(TRAIN[:20]), tokens(VAL), latents(VAL)
        probe = fit_latent_probe(x, z, x_val, z_val, seed=seed, linear=False, **SHORT)
        return probe.predict(tokens(TEST))

    assert np.array_equal(made(0), made(0))
    assert not np.array_equal(made(0), made(1))


def test_size_follows_width_and_depth():
    def size(**parameters) -> int:
        return sum(p.numel() for p in CrossAttentionAdapter((4, 4, 128), (14, 14, 32), **parameters).parameters())

    assert size() < size(width=128) < size(width=128, depth=3)
    adapter = CrossAttentionAdapter((3, 5, 6), (7, 4, 2), width=8)
    assert adapter(torch.zeros(2, 3, 5, 6)).shape == (2, 7, 4, 2)
    assert pooled_latent_head(6, (7, 4, 2), hidden=16)(torch.zeros(2, 6)).shape == (2, 7, 4, 2)


def test_a_channel_without_spread_stays_what_it_is():
    still = np.ones((5, 2, 2, 3), np.float32)
    mean, scale = latent_statistics(still)
    assert np.array_equal(mean, still[0])
    assert np.array_equal(scale, np.ones(3))


def test_resampling_keeps_a_plane_and_an_equal_grid():
    plane = np.broadcast_to(np.linspace(0, 1, 8)[None, :, None, None], (2, 8, 6, 1)).astype(np.float32)
    assert resample(plane, (8, 6)) is plane
    finer = resample(plane, (16, 12))
    assert finer.shape == (2, 16, 12, 1)
    assert np.allclose(np.diff(finer[0, 1:-1, 0, 0]), 1 / 14, atol=1e-5)


@pytest.mark.parametrize("linear", [True, False])
def test_a_checkpoint_holds_all_that_a_prediction_rests_on(linear):
    x, z = tokens(TRAIN), latents(TRAIN)
    probe = fit_latent_probe(x, z, tokens(VAL), latents(VAL), seed=0, epochs=1, width=16, linear=linear)
    kept = probe.tensors()
    adapter = CrossAttentionAdapter(x.shape[1:], z.shape[1:], width=16)
    adapter.load_state_dict({name.removeprefix("adapter."): of for name, of in kept.items() if "adapter." in name})
    x_test = torch.from_numpy(tokens(TEST))
    x_test = (x_test - kept["standardiser.mean"]) / kept["standardiser.scale"]
    with torch.no_grad():
        made = adapter.eval()(x_test)
    if linear:  # the first cell lies within the first token
        at = {name: kept[f"linear.0.0.{name}"] for name in ("mean", "scale", "weights", "intercept")}
        made[:, 0, 0] += (x_test[:, 0, 0] - at["mean"]) / at["scale"] @ at["weights"] + at["intercept"]
    expected = probe.predict(tokens(TEST))[:, 0, 0]
    assert np.allclose((made * kept["scale"] + kept["mean"])[:, 0, 0].numpy(), expected, atol=1e-3)
