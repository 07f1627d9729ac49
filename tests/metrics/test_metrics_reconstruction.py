"""Scores of reconstructions: one function for every arm, and errors that are found where they are."""

from __future__ import annotations

import numpy as np
import pytest

from foresight.metrics.perceptual import lpips_scores, psnr_scores
from foresight.metrics.reconstruction import (
    HIGHER_IS_BETTER,
    Originals,
    boundary_error,
    boundary_masks,
    level,
    log_scores,
    one_of_each,
)


@pytest.fixture
def pictures():
    """A white square on black, each elsewhere: float [3, 48, 64, 3]."""
    images = np.zeros((3, 48, 64, 3), dtype=np.float32)
    for index, image in enumerate(images):
        image[10:30, 5 + 10 * index : 25 + 10 * index] = 1
    return images


def test_every_score_is_of_the_picture_that_it_stands_beside(pictures):
    worse = np.stack([pictures[0], pictures[1] * 0.9, pictures[2] * 0.2])
    scores = Originals(pictures).scores(worse)
    assert set(scores) == set(HIGHER_IS_BETTER)
    for metric, higher in HIGHER_IS_BETTER.items():
        best, middle, worst = scores[metric] if higher else -scores[metric]
        assert best > middle > worst
    np.testing.assert_allclose(scores["lpips"], lpips_scores(pictures, worse))
    np.testing.assert_allclose(scores["psnr"], psnr_scores(pictures, worse))


def test_one_picture_stands_for_all(pictures):
    mean = pictures.mean(0, keepdims=True)
    originals = Originals(pictures)
    for metric, values in originals.scores(mean).items():
        np.testing.assert_allclose(values, originals.scores(np.repeat(mean, 3, 0))[metric], rtol=1e-5)


def test_all_scores_of_an_arm_are_logged_beside_its_baselines():
    logged = {}
    scores = {metric: np.array([0.1, 0.2]) for metric in HIGHER_IS_BETTER}
    baselines = {"mean_image": {metric: np.array([0.3, 0.4]) for metric in HIGHER_IS_BETTER}}
    log_scores(
        lambda name, values, **rest: logged.update({name: rest}), scores, baselines, groups=["a", "b"], suffix="_x2"
    )
    assert {name: rest["higher_is_better"] for name, rest in logged.items()} == {
        "lpips_x2": False,
        "ssim_x2": True,
        "psnr_x2": True,
        "mse_x2": False,
    }
    assert logged["ssim_x2"]["baselines"]["mean_image"].tolist() == [0.3, 0.4]


@pytest.mark.parametrize(
    ("lpips", "ssim", "word"),
    [(0.34, 0.76, "acceptable"), (0.34, 0.75, "marginal"), (0.44, 0.9, "marginal"), (0.45, 0.9, "not sufficient")],
)
def test_the_words_follow_the_bands(lpips, ssim, word):
    assert level({"lpips": np.array([lpips]), "ssim": np.array([ssim])}) == word


def test_a_boundary_error_is_found_on_the_boundary_and_nowhere_else(pictures):
    masks = boundary_masks(pictures)
    assert masks.mean((1, 2)) == pytest.approx(0.1, abs=0.06)
    on, off = pictures.copy(), pictures.copy()
    on[masks] = 1 - on[masks]
    off[~masks] = 1 - off[~masks]
    assert boundary_error(pictures, on) == pytest.approx(np.ones(3))
    assert boundary_error(pictures, off) == pytest.approx(np.zeros(3))


def test_a_flat_picture_has_no_boundary():
    flat = np.full((1, 32, 32, 3), 0.5, dtype=np.float32)
    assert not boundary_masks(flat).any()
    assert boundary_error(flat, 1 - flat * 0) == pytest.approx([0])


def test_pictures_are_shown_of_every_source():
    assert one_of_each(["b", "b", "a", "b", "c", "a"]).tolist() == [2, 0, 4]
