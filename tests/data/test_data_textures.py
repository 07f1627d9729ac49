"""Textures: five of them, none drawn twice, fine where asked, with a patch whose box is known."""

from __future__ import annotations

import numpy as np
import pytest

from foresight.data.dataset import DataSpec, prepare
from foresight.data.recipes import TexturesParameters
from foresight.data.splits import assert_disjoint, split_by_source
from foresight.data.textures import TEXTURES, draw, make
from foresight.home import Home


def drawn(n: int = 12, **parameters):
    return list(make(TexturesParameters(n=n, **{"side": 112, "finest": 14, **parameters})))


def test_an_item_does_not_depend_on_how_many_there_are():
    for one, other in zip(drawn(4), drawn(9), strict=False):
        assert (one.id, one.labels) == (other.id, other.labels)
        np.testing.assert_array_equal(one.pixels, other.pixels)


def test_five_textures_and_a_patch_of_another():
    items = drawn(100, side=56)
    assert {item.labels["texture"] for item in items} == set(TEXTURES)
    assert {item.labels["categories"][0] for item in items} == set(TEXTURES)
    assert all(item.labels["categories"] != [item.labels["texture"]] for item in items)


@pytest.mark.parametrize("texture", list(TEXTURES))
def test_a_texture_depends_on_its_seed_and_has_edges(texture):
    one, other = (draw(texture, np.random.default_rng(seed), 112, 14) for seed in (1, 2))
    assert np.abs(one - other).mean() > 20
    steps = np.abs(np.diff(one @ [0.299, 0.587, 0.114], axis=1))
    assert (steps > 30).mean() > 0.02


def test_finer_textures_have_more_edges():
    def edges(finest: float) -> float:
        return float(
            np.mean([np.abs(np.diff(item.pixels.astype(int), axis=1)).mean() for item in drawn(20, finest=finest)])
        )

    assert edges(20) > 1.3 * edges(6)


def test_one_item_looks_the_same_at_every_side():
    for small, large in zip(drawn(6, side=56, finest=6), drawn(6, side=112, finest=6), strict=True):
        halved = large.pixels.reshape(56, 2, 56, 2, 3).mean((1, 3))
        assert np.abs(halved - small.pixels).mean() < 12
        np.testing.assert_allclose(small.labels["boxes"], large.labels["boxes"], atol=1 / 100)


@pytest.mark.parametrize(("side", "finest", "seed"), [(112, 14, 0), (112, 14, 1), (224, 32, 2)])
def test_no_two_are_shifted_copies_of_each_other(tmp_path, side, finest, seed):
    """What plain stripes and checks of like periods would be."""
    spec = DataSpec("textures", "textures", {"n": 160, "side": side, "finest": finest, "seed": seed})
    dataset = prepare(spec, Home(tmp_path))
    assert len({item.sha256 for item in dataset.manifest.items}) == 160
    assert_disjoint(dataset, split_by_source(dataset.manifest, 0))
