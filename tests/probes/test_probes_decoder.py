"""The token-grid decoder: paints what tokens know, from a linear start, and nothing from noise."""

from __future__ import annotations

import numpy as np
import pytest

from foresight.probes.decoder import fit_decoder
from foresight.probes.pixels import patchify

rng = np.random.default_rng(0)
IMAGES = np.kron(rng.uniform(0, 1, (60, 4, 6, 3)), np.ones((1, 8, 8, 1))).astype(np.float32)
TRAIN, VAL, TEST = slice(0, 36), slice(36, 46), slice(46, 60)
FAST = {"epochs": 3, "hidden": 16, "seed": 0}


def error(made: np.ndarray) -> float:
    return float(np.abs(made - IMAGES[TEST]).mean())


def test_what_tokens_know_is_painted():
    tokens = patchify(IMAGES, (4, 6))
    probe = fit_decoder(tokens[TRAIN], IMAGES[TRAIN], tokens[VAL], IMAGES[VAL], **FAST)
    assert error(probe.predict(tokens[TEST])) < 0.01
    assert probe.predict(tokens[TEST]).shape == (14, 32, 48, 3)
    assert probe.parameters > 36 * 192


def test_what_only_the_neighbour_knows_is_painted_too():
    """A linear map of a cell's own token cannot do this: the eight around are really seen."""
    tokens = np.roll(IMAGES[:, 4::8, 4::8], 1, axis=2)
    linear = fit_decoder(tokens[TRAIN], IMAGES[TRAIN], tokens[VAL], IMAGES[VAL], **{**FAST, "epochs": 0})
    probe = fit_decoder(
        tokens[TRAIN], IMAGES[TRAIN], tokens[VAL], IMAGES[VAL], seed=0, hidden=32, epochs=60, patience=60, lr=5e-3
    )
    assert error(probe.predict(tokens[TEST])) < 0.6 * error(linear.predict(tokens[TEST]))


def test_noise_paints_no_better_than_the_mean():
    noise = rng.standard_normal((60, 4, 6, 20)).astype(np.float32)
    probe = fit_decoder(noise[TRAIN], IMAGES[TRAIN], noise[VAL], IMAGES[VAL], **FAST)
    assert error(probe.predict(noise[TEST])) > 0.95 * error(np.repeat(IMAGES[TRAIN].mean(0)[None], 14, 0))


def test_pictures_that_do_not_divide_into_the_grid_are_refused():
    tokens = np.zeros((60, 5, 6, 3), np.float32)
    with pytest.raises(ValueError, match="does not divide into 5x6 patches"):
        fit_decoder(tokens[TRAIN], IMAGES[TRAIN], tokens[VAL], IMAGES[VAL], **FAST)
