"""Drawn pictures: exact labels, independent factors, and items that do not depend on how many there are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresight.data.recipes import STAND_IN_SEEDS_FROM, CategoriesParameters, SingleObjectParameters
from foresight.data.synthetic import (
    COLOURS,
    SHAPES,
    make_categories,
    make_single_object,
    shape_mask,
    textured_background,
)

VARIANTS = ["a", "b", "c"]


def objects(n: int = 30, **parameters):
    return list(make_single_object(SingleObjectParameters(n=n, **parameters)))


def categories(n: int = 30, **parameters):
    return list(make_categories(CategoriesParameters(n=n, **parameters)))


@pytest.mark.parametrize("background", ["white", "textured"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_an_item_does_not_depend_on_how_many_there_are(variant, background):
    few, many = (objects(n, side=56, variant=variant, background=background) for n in (5, 12))
    for one, other in zip(few, many, strict=False):
        assert (one.id, one.labels) == (other.id, other.labels)
        np.testing.assert_array_equal(one.pixels, other.pixels)


def test_seeds_differ_and_no_two_items_are_equal():
    drawn = [item.pixels.tobytes() for seed in (0, 1) for item in objects(200, seed=seed, side=56, variant="a")]
    assert len(set(drawn)) == len(drawn)


def changed_pixels(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns with anything but white."""
    changed = (pixels != 255).any(axis=2)
    return np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))


@pytest.mark.parametrize("side", [112, 224])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_box_is_exactly_where_the_pixels_are(variant, side):
    for item in objects(40, variant=variant, side=side, seed=7):
        rows, columns = changed_pixels(item.pixels)
        seen = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        box = np.round(np.array(item.labels["box"]) * side, 6)
        # The border pixels are covered in part: the box ends inside them.
        assert (box[:2] >= seen[:2]).all()
        assert (box[:2] < seen[:2] + 1).all()
        assert (box[2:] <= seen[2:]).all()
        assert (box[2:] > seen[2:] - 1).all()


@pytest.mark.parametrize("shape", SHAPES)
@given(
    centre=st.tuples(st.floats(60, 164), st.floats(60, 164)),
    radius=st.floats(25, 59),
)
@settings(max_examples=25)
def test_a_mask_covers_the_area_and_the_box_of_its_shape(shape, centre, radius):
    mask, box = shape_mask(shape, np.array(centre), radius, 224)
    # Areas for radius 1; a five-pointed star with inner radius 1/2 is ten triangles of sin(36 deg) / 4.
    area = {"circle": np.pi, "square": 4.0, "triangle": 2.0, "star": 10 * np.sin(np.pi / 5) / 4}[shape]
    assert mask.sum() == pytest.approx(area * radius**2, rel=0.03)
    if shape in ("circle", "square"):
        expected = [centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius]
        np.testing.assert_allclose(np.array(box) * 224, expected, atol=0.3)
    assert mask.min() >= 0
    assert mask.max() <= 1


def test_the_ranges_of_the_variants():
    for variant, least, most in (("a", 30, 50), ("b", 25, 50), ("c", 25, 60)):
        boxes = np.array([item.labels["box"] for item in objects(300, variant=variant, side=56)]) * 224
        half = (boxes[:, 2] - boxes[:, 0]) / 2
        assert least - 4 <= half.min() <= least + 3  # a star is narrower than its radius
        assert most - 3 <= half.max() <= most + 1
        margin = min(boxes.min(), 224 - boxes.max())
        assert margin > (9 if variant == "c" else 8)


@pytest.mark.parametrize(("variant", "n_shapes", "n_colours"), [("a", 3, 6), ("b", 4, 8), ("c", 3, 6)])
def test_shape_and_colour_are_independent_of_each_other_and_of_the_index(variant, n_shapes, n_colours):
    n = 1200
    drawn = [(item.labels["shape"], item.labels["colour"]) for item in objects(n, variant=variant, side=28)]
    table = np.zeros((n_shapes, n_colours))
    for shape, colour in drawn:
        table[SHAPES.index(shape), list(COLOURS).index(colour)] += 1
    cells = n_shapes * n_colours
    assert ((table - n / cells) ** 2 / (n / cells)).sum() < cells + 4 * np.sqrt(2 * cells)  # chi-square, mean cells - 1
    for period in (n_shapes, n_colours):  # in the published sets shape and colour follow the index
        for factor in range(2):
            runs = set(zip(*([item[factor] for item in drawn][start::period] for start in range(period)), strict=True))
            assert len(runs) > period


def test_colours_are_what_the_label_says():
    for item in objects(40, variant="b", side=112):
        x0, y0, x1, y1 = (np.array(item.labels["box"]) * 112).astype(int)
        centre = item.pixels[(2 * y0 + 3 * y1) // 5, (x0 + x1) // 2]  # inside all four shapes
        assert tuple(centre) == COLOURS[item.labels["colour"]]


def test_an_item_shows_the_same_at_every_side():
    for small, large in zip(objects(10, side=112), objects(10, side=224), strict=True):
        assert small.labels["shape"] == large.labels["shape"]
        np.testing.assert_allclose(small.labels["box"], large.labels["box"], atol=1 / 112)


def test_on_a_textured_background_only_the_background_differs():
    for plain, textured in zip(objects(10, side=112), objects(10, side=112, background="textured"), strict=True):
        assert plain.labels == textured.labels
        inside = (plain.pixels == COLOURS[plain.labels["colour"]]).all(axis=2)
        np.testing.assert_array_equal(textured.pixels[inside], plain.pixels[inside])
        outside = (plain.pixels == 255).all(axis=2)
        assert textured.pixels[outside].std() > 5


def test_a_textured_background_is_muted():
    for seed in range(30):
        backdrop = textured_background(np.random.default_rng(seed), 112).astype(int)
        assert (backdrop.max(axis=2) - backdrop.min(axis=2)).max() <= 75


def test_categories_vary_colour_independently_unless_asked_for_the_published_pairs():
    independent = {(item.labels["category"], item.labels["colour"]) for item in categories(200, side=28)}
    assert len(independent) == 9
    published = {(i.labels["category"], i.labels["colour"]) for i in categories(200, side=28, colour="by_category")}
    assert published == {("circle", "red"), ("square", "blue"), ("triangle", "green")}


def test_the_box_of_a_category_ends_at_the_border():
    boxes = np.array([item.labels["box"] for item in categories(300, side=56)])
    assert boxes.min() == 0.0
    assert boxes.max() == 1.0


def test_an_item_is_its_own_source_and_seeds_of_the_stand_ins_count_as_train():
    free, taken = objects(3, side=28), objects(3, side=28, seed=STAND_IN_SEEDS_FROM)
    assert [item.source_id for item in free] == [item.id for item in free]
    assert [item.source.stand_in_training for item in free] == [False] * 3
    assert [item.source.stand_in_training for item in taken] == [True] * 3
