import numpy as np
import pytest

from foresight.probes.projection import fit_projection, group_tokens, map_pca, map_tsne, pca_colours

RNG = np.random.default_rng(0)


def planted(n: int, seed: int) -> np.ndarray:
    """[n, 4, 6, 50] tokens in which 3 directions carry nearly everything."""
    hidden = np.random.default_rng(seed).normal(size=(n, 4, 6, 3))
    noise = 0.01 * np.random.default_rng(seed + 1).normal(size=(n, 4, 6, 50))
    return hidden @ np.random.default_rng(9).normal(size=(3, 50)) + noise


def test_blocks_hold_their_four_tokens():
    tokens = np.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
    grouped = group_tokens(tokens)
    assert grouped.shape == (2, 2, 3, 12)
    assert np.array_equal(grouped[1, 1, 2], tokens[1, 2:4, 4:6].reshape(-1))
    with pytest.raises(ValueError, match="do not divide"):
        group_tokens(tokens, 4)


@pytest.mark.parametrize("n", [20, 1], ids=["more tokens than features", "fewer"])
def test_planted_directions_are_kept(n):
    projection = fit_projection(planted(n, 0), 3)
    assert projection.explained > 0.99
    projected = projection.apply(planted(5, 4))
    assert projected.shape == (5, 4, 6, 3)
    standardised = projection.standardiser.apply(planted(5, 4))
    assert np.allclose(projected @ projection.axes.T, standardised, atol=0.2)
    assert np.allclose(projection.axes.T @ projection.axes, np.eye(3), atol=1e-6)


def test_colours_are_blocks_of_the_picture_and_differ_where_tokens_do():
    tokens = np.zeros((3, 4, 6, 50))
    tokens[:, :2] = planted(3, 4)[:, :2]
    colours = pca_colours(planted(20, 0), tokens, (40, 90))
    assert colours.shape == (3, 40, 90, 3)
    assert colours.min() >= 0
    assert colours.max() <= 1
    cells = colours.reshape(3, 4, 10, 6, 15, 3)
    assert np.ptp(cells, axis=(2, 4)).max() == 0, "one colour a token"
    assert np.ptp(cells[:, 2:], axis=(1, 3)).max() < 1e-6, "equal tokens have equal colours"
    assert np.ptp(cells[:, :2], axis=(1, 3)).max() > 0.5


def test_each_width_comes_out_alike():
    wide, narrow = RNG.normal(size=(30, 2, 2, 40)), RNG.normal(size=(30, 4, 4, 10))
    assert fit_projection(wide, 8).apply(wide).shape[-1] == fit_projection(narrow, 8).apply(narrow).shape[-1] == 8


def test_too_many_axes_are_refused():
    with pytest.raises(ValueError, match="cannot be projected to 11 axes"):
        fit_projection(RNG.normal(size=(30, 4, 4, 10)), 11)


def test_maps_repeat_for_a_seed_and_show_planted_groups():
    features = np.repeat([[0.0] * 20, [5.0] * 20], 15, 0) + RNG.normal(size=(30, 20))
    for places in (map_pca(features), map_tsne(features, seed=0)):
        assert places.shape == (30, 2)
        distance = np.linalg.norm(places[:15].mean(0) - places[15:].mean(0))
        assert distance > 2 * np.linalg.norm(places[:15] - places[:15].mean(0), axis=1).mean()
    assert np.array_equal(map_tsne(features, seed=0), map_tsne(features, seed=0))
