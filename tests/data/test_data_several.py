"""Several objects an item: exact boxes, nothing hidden, items that depend on no other, labels that fit together."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from foresight.data.dataset import DataSpec, prepare
from foresight.data.manifest import Item
from foresight.data.objects import category_names, objects_of, padded_boxes
from foresight.data.recipes import SeveralObjectsParameters
from foresight.data.several import make
from foresight.data.splits import assert_disjoint, split_by_source
from foresight.errors import UserError
from foresight.home import Home


def drawn(n: int = 30, **parameters):
    return list(make(SeveralObjectsParameters(n=n, **{"side": 112, "shortest": 64, "longest": 140, **parameters})))


def test_an_item_does_not_depend_on_how_many_there_are():
    for one, other in zip(drawn(4), drawn(9), strict=False):
        assert (one.id, one.labels) == (other.id, other.labels)
        np.testing.assert_array_equal(one.pixels, other.pixels)


@pytest.mark.parametrize(("most", "classes"), [(3, "shape"), (5, "shape_and_colour")])
def test_every_number_of_objects_occurs_and_no_two_touch(most, classes):
    items = drawn(120, most=most, classes=classes)
    assert {len(item.labels["boxes"]) for item in items} == set(range(1, most + 1))
    for item in items:
        boxes = np.array(item.labels["boxes"])
        assert (boxes >= 0).all()
        assert (boxes <= 1).all()
        for i, a in enumerate(boxes):
            for b in boxes[i + 1 :]:
                apart = np.maximum(b[:2] - a[2:], a[:2] - b[2:])
                assert apart.max() > 4 / 448


def test_the_boxes_are_exactly_where_the_pixels_are():
    for item in drawn(40, side=224):
        coloured = (item.pixels != 255).any(2)
        for x0, y0, x1, y1 in np.array(item.labels["boxes"]) * 224:
            rows = slice(int(np.floor(y0 + 1e-6)), int(np.ceil(y1 - 1e-6)))
            columns = slice(int(np.floor(x0 + 1e-6)), int(np.ceil(x1 - 1e-6)))
            inside = coloured[rows, columns]
            assert inside[[0, -1]].any(1).all(), "it reaches the box's upper and lower edge"
            assert inside[:, [0, -1]].any(0).all(), "and both sides"
            coloured[rows, columns] = False
        assert not coloured.any(), "and nothing lies outside"


def test_an_area_is_the_objects_and_not_its_boxs():
    for item in drawn(40, side=224):
        for box, area, name in zip(*(item.labels[key] for key in ("boxes", "areas", "categories")), strict=True):
            part = {"circle": np.pi / 4, "square": 1.0, "triangle": 0.5}[name]
            assert area == pytest.approx((box[2] - box[0]) * (box[3] - box[1]) * part, rel=0.06)


def named(items, label: str) -> set:
    """(label, category) of every object."""
    return {pair for item in items for pair in zip(item.labels[label], item.labels["categories"], strict=True)}


def test_twelve_classes_are_shape_and_colour_and_three_are_shape_alone():
    items = drawn(150, most=5, classes="shape_and_colour")
    pairs = {
        pair for item in items for pair in zip(item.labels["category_ids"], item.labels["categories"], strict=True)
    }
    assert len(pairs) == 12
    assert {number for number, _ in pairs} == set(range(1, 13))
    few = named(drawn(150), "colours")
    assert len({shape for _, shape in few}) == 3
    assert len(few) == 18, "colour is independent of the class"


def test_objects_as_arrays(tmp_path):
    parameters = {"n": 20, "side": 56, "most": 5, "classes": "shape_and_colour"}
    dataset = prepare(DataSpec("several", "several_objects", parameters), Home(tmp_path))
    objects = objects_of(dataset)
    assert len(objects) == 20
    assert not any(of.crowd.any() for of in objects)
    table = padded_boxes(objects, 5)
    assert table.shape == (20, 5, 5)
    assert table[..., 4].sum() == sum(map(len, objects))
    with pytest.raises(ValueError, match="5 objects do not fit into 4 slots"):
        padded_boxes(objects, 4)
    assert set(category_names(dataset)) <= set(range(1, 13))
    # and it survives the way through the file
    again = prepare(DataSpec("several", "several_objects", parameters), Home(tmp_path))
    assert again.manifest == dataset.manifest


def test_a_data_set_with_one_object_says_that_it_has_no_boxes(tmp_path):
    dataset = prepare(DataSpec("one", "single_object", {"n": 3, "side": 56}), Home(tmp_path))
    with pytest.raises(KeyError, match="has no `boxes`"):
        objects_of(dataset)


BOX = [0.1, 0.2, 0.3, 0.4]


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ({"boxes": [[0.3, 0.2, 0.1, 0.4]]}, "no \\[x0, y0, x1, y1\\]"),
        ({"boxes": [[0.1, 0.2, 1.3, 0.4]]}, "no \\[x0, y0, x1, y1\\]"),
        ({"boxes": [[0.1, 0.2, 0.3]]}, "no \\[x0, y0, x1, y1\\]"),
        ({"boxes": [0.1, 0.2, 0.3, 0.4]}, "no \\[x0, y0, x1, y1\\]"),
        ({"boxes": [BOX, BOX], "categories": ["a"]}, "2 boxes and 1 entries of `categories`"),
    ],
)
def test_labels_that_do_not_fit_together_are_refused(labels, says):
    with pytest.raises(ValidationError, match=says):
        Item(id="x", source="x", sha256="0", labels=labels)


def test_no_part_leaks_into_another(tmp_path):
    parameters = {"n": 150, "side": 112, "shortest": 64, "longest": 140, "background": "textured"}
    dataset = prepare(DataSpec("several", "several_objects", parameters), Home(tmp_path))
    assert_disjoint(dataset, split_by_source(dataset.manifest, 0))


def test_sizes_in_the_wrong_order_are_refused():
    with pytest.raises(UserError, match="shortest 90 is more than longest 79"):
        DataSpec("several", "several_objects", {"n": 3, "shortest": 90})
