"""Nine categories: each differs from item to item, no two items are one picture, and a larger set holds a smaller."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from foresight.data import nine_categories
from foresight.data.dataset import prepare
from foresight.data.duplicates import near_duplicates_within
from foresight.data.manifest import DataSpec
from foresight.data.nine_categories import CATEGORIES
from foresight.data.recipes import NineCategoriesParameters
from foresight.data.splits import assert_disjoint, split_by_source
from foresight.errors import UserError
from foresight.home import Home


def drawn(n: int = 90, **parameters):
    return list(nine_categories.make(NineCategoriesParameters(n=n, side=56, **parameters)))


@pytest.fixture(scope="module")
def ninety():
    return drawn()


def test_there_are_nine_equally_frequent_categories_and_every_item_is_its_own_source(ninety):
    assert Counter(item.labels["category"] for item in ninety) == dict.fromkeys(CATEGORIES, 10)
    assert len({item.source_id for item in ninety}) == 90


def test_everything_about_a_picture_depends_on_the_seed(ninety):
    """In the published set gradients did not, and 98 of 450 pictures were copies of others."""
    other = drawn(seed=1)
    assert len({item.pixels.tobytes() for item in [*ninety, *other]}) == 180
    for category in CATEGORIES:
        pictures = np.array([item.pixels for item in ninety if item.labels["category"] == category], dtype=float)
        varies = pictures.std(axis=0).max(axis=2)
        assert varies.max() > 40, category
        if category not in nine_categories.SHAPES:
            assert (varies > 15).mean() > 0.95, f"{category}: nearly every pixel differs from item to item"


def test_the_near_duplicate_check_finds_none_in_a_set_and_no_split_of_it_leaks(ninety, tmp_path):
    assert not list(near_duplicates_within(np.array([item.pixels for item in ninety])))
    dataset = prepare(DataSpec("nine", "nine_categories", {"n": 90, "side": 56}), Home(tmp_path))
    for seed in range(3):
        assert_disjoint(dataset, split_by_source(dataset.manifest, seed, (0.3, 0.1, 0.6)))


def test_what_would_be_a_near_duplicate_is_drawn_again(monkeypatch):
    draw = nine_categories._draw

    def copying(parameters, index, attempt):
        return draw(parameters, 7 if index == 16 and attempt < 2 else index, attempt)

    monkeypatch.setattr(nine_categories, "_draw", copying)
    items = drawn(18)
    assert not np.array_equal(items[16].pixels, items[7].pixels)
    assert not list(near_duplicates_within(np.array([item.pixels for item in items])))


def test_a_set_without_room_is_refused(monkeypatch):
    monkeypatch.setattr(nine_categories, "_ATTEMPTS", 2)
    draw = nine_categories._draw
    monkeypatch.setattr(nine_categories, "_draw", lambda parameters, index, attempt: draw(parameters, 7, 0))
    with pytest.raises(UserError, match="18 pictures of nine categories cannot be drawn without near-duplicates"):
        drawn(18)


def test_a_larger_set_holds_the_smaller(ninety):
    for few, many in zip(drawn(45), ninety, strict=False):
        assert (few.id, few.labels) == (many.id, many.labels)
        np.testing.assert_array_equal(few.pixels, many.pixels)


def test_an_item_shows_the_same_at_every_side(ninety):
    """The same picture twice as large, edges apart."""
    for small, large in zip(ninety[:18], nine_categories.make(NineCategoriesParameters(n=18, side=112)), strict=False):
        halved = np.asarray(large.pixels, dtype=float).reshape(56, 2, 56, 2, 3).mean(axis=(1, 3))
        assert np.abs(halved - small.pixels).mean() < 6
