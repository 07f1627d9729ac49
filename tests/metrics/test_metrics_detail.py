"""Edges with tolerance, textures that may lie anywhere, and the summary of a point."""

from __future__ import annotations

import numpy as np
import pytest

from foresight.metrics.detail import GramReference, edge_f1, edges, information_retention


def squares(shift: int = 0, contrast: float = 1.0, n: int = 3) -> np.ndarray:
    images = np.full((n, 64, 64, 3), 0.2, dtype=np.float32)
    images[:, 20:44, 20 + shift : 44 + shift] = 0.2 + 0.7 * contrast
    return images


def test_edges_lie_on_the_outline_and_nowhere_else():
    found = edges(squares())[0]
    rows, columns = np.nonzero(found)
    assert 80 <= found.sum() <= 190, "one or both of the pixels at a step"
    near = [np.abs(place - side) <= 1 for place in (rows, columns) for side in (20, 43)]
    inside = np.any(near, axis=0)
    assert inside.all()


def test_the_thresholds_are_those_of_canny_50_150():
    """A step of height s has a Sobel gradient of 4 s, 4.2 s at a corner: seen from 150 / 255 / 4 = .147 on."""
    for height, seen in ((0.135, False), (0.155, True)):
        assert edges(squares(contrast=height / 0.7)).any() == seen


@pytest.mark.parametrize(("shift", "least", "most"), [(0, 1, 1), (2, 0.99, 1), (4, 0.3, 0.7), (20, 0, 0.55)])
def test_edges_within_two_pixels_count(shift, least, most):
    scores = edge_f1(edges(squares(shift)), edges(squares()))
    assert (scores >= least).all()
    assert (scores <= most).all()


def test_no_edges_found_is_zero_and_no_edges_to_find_is_no_score():
    blank, some = edges(squares(contrast=0)), edges(squares())
    assert (edge_f1(blank, some) == 0).all()
    assert np.isnan(edge_f1(some, blank)).all()
    assert edge_f1(blank[:1], some).shape == (3,)


def stripes(period: int, shift: int, vertical: bool = True) -> np.ndarray:
    wave = ((np.arange(128) + shift) // period % 2).astype(np.float32)
    image = np.broadcast_to(wave[None, :] if vertical else wave[:, None], (128, 128))
    return np.repeat(image[..., None], 3, 2)[None]


def test_a_texture_is_the_same_wherever_it_lies_and_others_are_not():
    reference = GramReference(stripes(7, 0))
    assert reference.distances(stripes(7, 0)) == pytest.approx([0], abs=1e-6)
    moved, turned = reference.distances(stripes(7, 6)), reference.distances(stripes(7, 0, vertical=False))
    assert moved < 0.15
    assert turned > 5 * moved
    assert reference.distances(np.full((1, 128, 128, 3), 0.5, np.float32)) > 5 * moved


def test_one_picture_for_all_is_compared_with_each():
    both = np.concatenate([stripes(4, 0), stripes(8, 0)])
    assert GramReference(both).distances(stripes(8, 0)).shape == (2,)
    assert GramReference(both).distances(stripes(8, 0))[1] == pytest.approx(0, abs=1e-6)


def test_the_summary_is_one_for_all_that_is_hoped_for_and_never_more():
    assert information_retention(0.85, 0.3, 0.8) == pytest.approx(1)
    assert information_retention(1, 0, 1) == pytest.approx(1)
    assert information_retention(0, 1, 0) == 0
    assert information_retention(0.425, 0.3, 0.8) == pytest.approx(0.8)
