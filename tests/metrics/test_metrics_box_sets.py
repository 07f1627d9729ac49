"""Sets of boxes: their order does not matter, what is missing scores 0, what is too much is counted."""

from __future__ import annotations

import numpy as np
import pytest

from foresight.metrics.box_sets import RELATIONS, matched_boxes, matched_iou, pairwise_iou, relation, spurious
from foresight.metrics.spatial import box_iou

LEFT, RIGHT, LOW = np.array([[0.1, 0.1, 0.3, 0.3], [0.6, 0.1, 0.9, 0.3], [0.1, 0.6, 0.3, 0.9]])


def test_pairwise_overlap_is_that_of_single_boxes():
    rng = np.random.default_rng(0)
    a, b = (np.sort(rng.uniform(size=(6, 2, 2)), axis=1).reshape(6, 4) for _ in range(2))
    table = pairwise_iou(a, b)
    for i in range(6):
        assert table[i] == pytest.approx(box_iou(np.tile(a[i], (6, 1)), b))


def test_the_order_of_boxes_does_not_matter():
    true = [np.stack([LEFT, RIGHT, LOW])]
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
        assert matched_iou([true[0][order]], true)[0] == pytest.approx([1, 1, 1])


def test_the_best_overlap_in_all_counts_and_not_the_first_best():
    """A greedy match would give the wide box to the first and leave the second without any."""
    wide = np.array([0.1, 0.1, 0.5, 0.3])
    true = np.array([[0.1, 0.1, 0.3, 0.3], [0.1, 0.1, 0.52, 0.3]])
    scores = matched_iou([np.stack([wide, LEFT])], [true])[0]
    assert scores[0] == pytest.approx(1)
    assert scores[1] > 0.9


def test_each_true_box_gets_the_one_that_is_matched_to_it_or_none():
    found = matched_boxes([np.stack([LOW, LEFT])], [np.stack([LEFT, RIGHT, LOW])])[0]
    assert found[[0, 2]] == pytest.approx(np.stack([LEFT, LOW]))
    assert np.isnan(found[1]).all()
    assert np.isnan(matched_boxes([np.zeros((0, 4))], [LEFT[None]])[0]).all()


def test_a_missing_box_scores_zero_and_a_spurious_one_is_counted():
    assert matched_iou([LEFT[None]], [np.stack([RIGHT, LEFT])])[0] == pytest.approx([0, 1])
    assert matched_iou([np.zeros((0, 4))], [LEFT[None]])[0] == pytest.approx([0])
    assert list(spurious([np.stack([LEFT, LOW, RIGHT]), LEFT[None]], [LEFT[None], LEFT[None]])) == [2, 0]


def test_relations():
    assert [RELATIONS[relation(a, b)] for a, b in [(LEFT, RIGHT), (RIGHT, LEFT), (LEFT, LOW), (LOW, LEFT)]] == [
        "left of",
        "right of",
        "above",
        "below",
    ]
