import numpy as np
import pytest
import torch

from foresight.metrics.perceptual import psnr_scores
from foresight.probes.pixels import fit_pixel_probe, image_baselines, patchify, pooled_image_head, unpatchify

RNG = np.random.default_rng(0)
GRID = (3, 5)


def pictures(n: int) -> np.ndarray:
    """Smooth colour fields, [n, 24, 40, 3]."""
    coarse = RNG.random((n, 6, 10, 3)).astype(np.float32)
    return coarse.repeat(4, 1).repeat(4, 2)


TRAIN, VAL, TEST = pictures(40), pictures(15), pictures(20)
MIXING = np.random.default_rng(1).normal(size=(8 * 8 * 3, 192))


def oracle(images: np.ndarray) -> np.ndarray:
    """Tokens that are a hidden linear mixture of their own patch."""
    return patchify(images, GRID) @ MIXING


def test_patches_lie_where_they_lay():
    images = RNG.random((2, 24, 40, 3))
    patches = patchify(images, GRID)
    assert patches.shape == (2, 3, 5, 8 * 8 * 3)
    assert np.array_equal(patches[1, 2, 3].reshape(8, 8, 3), images[1, 16:24, 24:32])
    assert np.array_equal(unpatchify(patches, (24, 40)), images)
    with pytest.raises(ValueError, match="does not divide"):
        patchify(images, (5, 5))


def test_oracle_tokens_give_the_picture_back():
    probe = fit_pixel_probe(oracle(TRAIN), TRAIN, oracle(VAL), VAL)
    made = probe.predict(oracle(TEST))
    assert made.shape == TEST.shape
    assert psnr_scores(TEST, made).min() > 40


def test_noise_tokens_give_the_mean_patch():
    noise = [RNG.normal(size=(len(part), *GRID, 192)) for part in (TRAIN, VAL, TEST)]
    probe = fit_pixel_probe(noise[0], TRAIN, noise[1], VAL)
    baseline = psnr_scores(TEST, image_baselines(TRAIN, GRID)["mean_patch"]).mean()
    assert psnr_scores(TEST, probe.predict(noise[2])).mean() == pytest.approx(baseline, abs=0.2)


def test_tokens_in_wrong_order_are_no_oracle():
    """What a naive reshape of window order would do."""
    wrong = [np.roll(oracle(part), 1, axis=2) for part in (TRAIN, VAL, TEST)]
    probe = fit_pixel_probe(wrong[0], TRAIN, wrong[1], VAL)
    assert psnr_scores(TEST, probe.predict(wrong[2])).mean() < 13


def test_a_token_says_nothing_of_other_places():
    probe = fit_pixel_probe(oracle(TRAIN), TRAIN, oracle(VAL), VAL)
    tokens = oracle(TEST[:1])
    before = probe.predict(tokens)
    tokens[0, 1, 2] = 0
    changed = (probe.predict(tokens) != before).any((0, 3))
    assert changed[8:16, 16:24].any()
    changed[8:16, 16:24] = False
    assert not changed.any()


def test_predictions_are_clipped():
    probe = fit_pixel_probe(oracle(TRAIN), TRAIN, oracle(VAL), VAL)
    for sign in (1, -1):
        made = probe.predict(sign * 100 * oracle(TEST))
        assert made.min() >= 0
        assert made.max() <= 1
        assert (made == max(sign, 0)).any()


def test_baselines_are_one_picture_each():
    white = np.ones((9, 24, 40, 3), np.float32)
    white[:, 4:8, 4:8] = 0
    baselines = image_baselines(white, GRID)
    assert {images.shape for images in baselines.values()} == {(1, 24, 40, 3)}
    assert np.array_equal(baselines["blank_image"], np.ones((1, 24, 40, 3)))
    assert np.allclose(baselines["mean_image"][0], white[0])
    tiles = patchify(baselines["mean_patch"], GRID)
    assert np.allclose(tiles, tiles[:, :1, :1])
    assert np.allclose(tiles.mean(), white.mean(), atol=1e-6)


def test_published_heads_have_the_published_size():
    with torch.device("meta"):
        weights = sum(p.numel() for p in pooled_image_head(3584, (224, 224)).parameters())
    assert round(weights / 1e6, 1) == 539.6
    assert pooled_image_head(12, (8, 6), hidden=4)(torch.zeros(2, 12)).shape == (2, 8, 6, 3)
