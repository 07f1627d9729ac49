"""Sets of boxes: found where they are planted, at any grid; noise stays at chance; order means nothing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from foresight.data.recipes import SeveralObjectsParameters
from foresight.data.several import make
from foresight.metrics.box_sets import matched_iou, spurious
from foresight.probes.box_sets import (
    GlimpseHead,
    box_set_loss,
    constant_boxes,
    covered_parts,
    fit_box_set_probe,
    match,
)

FAST = {"epochs": 25, "patience": 25}


def targets(n: int, seed: int) -> np.ndarray:
    """Up to three boxes a picture, as the recipe places them."""
    table = np.zeros((n, 3, 5), dtype=np.float32)
    items = make(SeveralObjectsParameters(n=n, side=28, seed=seed, shortest=90, longest=170))
    for row, item in zip(table, items, strict=True):
        boxes = item.labels["boxes"]
        row[: len(boxes), :4], row[: len(boxes), 4] = boxes, 1
    return table


TRAIN, VAL, TEST = targets(100, 0), targets(30, 1), targets(40, 2)
TRUE = [one[one[:, 4] > 0][:, :4] for one in TEST]


def oracle(of: np.ndarray, grid: tuple[int, int], parts: int, seed: int) -> np.ndarray:
    """Tokens that know which parts of their cell are covered, and twelve features of noise."""
    h, w = grid
    fine = covered_parts(of, (h * parts, w * parts)).reshape(len(of), h, parts, w, parts)
    known = fine.transpose(0, 1, 3, 2, 4).reshape(len(of), h, w, -1)
    noise = np.random.default_rng(seed).standard_normal((len(of), h, w, 12))
    return np.concatenate([known, noise], -1).astype(np.float32)


def iou(found: list[np.ndarray]) -> float:
    return float(np.concatenate(matched_iou(found, TRUE)).mean())


@pytest.mark.parametrize(("grid", "parts"), [((16, 16), 1), ((4, 6), 3)])
def test_objects_are_found_where_they_are_and_counted(grid, parts):
    tokens = [oracle(of, grid, parts, seed) for seed, of in enumerate((TRAIN, VAL, TEST))]
    probe = fit_box_set_probe(tokens[0], TRAIN, tokens[1], VAL, seed=0, parts=parts, **FAST)
    found = probe.predict(tokens[2])
    assert iou(found) > 0.8
    assert np.mean([len(one) == len(true) for one, true in zip(found, TRUE, strict=True)]) > 0.85
    assert spurious(found, TRUE).mean() < 0.2


@pytest.mark.parametrize("view", ["tokens", "pooled", "pooled_linear"])
def test_noise_does_no_better_than_boxes_that_look_at_nothing(view):
    rng = np.random.default_rng(0)
    noise = [rng.standard_normal((len(of), 4, 4, 24)).astype(np.float32) for of in (TRAIN, VAL, TEST)]
    probe = fit_box_set_probe(noise[0], TRAIN, noise[1], VAL, seed=0, view=view, epochs=8, patience=4)
    typical = iou([constant_boxes(TRAIN, 0)["typical_boxes"]] * len(TEST))
    assert iou(probe.predict(noise[2])) < typical + 0.08


def test_the_same_seed_gives_the_same_probe():
    tokens = [oracle(of, (4, 4), 2, seed) for seed, of in enumerate((TRAIN, VAL, TEST))]
    first, again = (
        fit_box_set_probe(tokens[0], TRAIN, tokens[1], VAL, seed=3, parts=2, epochs=2).predict(tokens[2])
        for _ in range(2)
    )
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_order_of_objects_and_of_slots_means_nothing():
    rng = np.random.default_rng(0)
    true = torch.from_numpy(TEST[:8])
    made = true.clone()
    made[..., :4] += 0.05 * torch.from_numpy(rng.standard_normal(made[..., :4].shape).astype(np.float32)).abs()
    made[..., 4] = torch.from_numpy(rng.standard_normal(made[..., 4].shape).astype(np.float32))
    expected = box_set_loss(made, true)
    for order in itertools.permutations(range(3)):
        assert box_set_loss(made, true[:, order]) == pytest.approx(float(expected), rel=1e-5)
        assert box_set_loss(made[:, order], true) == pytest.approx(float(expected), rel=1e-5)


def test_a_slot_without_an_object_learns_that_it_has_none():
    true = torch.tensor([[[0.1, 0.1, 0.3, 0.3, 1.0], [0.0] * 5]])
    found = [0.1, 0.1, 0.3, 0.3, 5.0]
    says_so, claims = (torch.tensor([[found, [0.5, 0.5, 0.9, 0.9, logit]]]) for logit in (-5.0, 5.0))
    assert box_set_loss(says_so, true) < 0.02
    assert box_set_loss(claims, true) > 1


def test_matching_is_the_cheapest_in_all():
    """As found by trying every assignment."""
    rng = np.random.default_rng(1)
    a, b = (np.sort(rng.uniform(size=(5, 4, 2, 2)), axis=2).reshape(5, 4, 4).astype(np.float32) for _ in range(2))
    picture, slot, target = match(torch.from_numpy(a), torch.from_numpy(b), torch.ones(5, 4, dtype=torch.bool))

    def cost(i: int, order: tuple[int, ...]) -> float:
        from torchvision.ops import generalized_box_iou

        mine = torch.from_numpy(a[i, list(order)])
        theirs = torch.from_numpy(b[i])
        return float((5 * (mine - theirs).abs().sum(1) - 2 * generalized_box_iou(mine, theirs).diag()).sum())

    for i in range(5):
        here = picture == i
        order = tuple(int(s) for s in slot[here][target[here].argsort()])
        assert cost(i, order) == pytest.approx(min(cost(i, o) for o in itertools.permutations(range(4))), abs=1e-4)


def test_more_objects_than_slots_are_refused():
    with pytest.raises(ValueError, match="3 objects cannot be matched to 2 slots"):
        match(torch.rand(1, 2, 4), torch.rand(1, 3, 4), torch.ones(1, 3, dtype=torch.bool))


def test_a_glimpse_is_not_drawn_back_to_what_it_has_seen():
    """Two equal objects on an ideal map: the untrained head finds each once."""
    true = np.array([[[0.1, 0.1, 0.3, 0.3, 1], [0.6, 0.6, 0.8, 0.8, 1]]], dtype=np.float32)
    tokens = torch.from_numpy(covered_parts(true, (20, 20))[..., None].astype(np.float32))
    head = GlimpseHead(1, np.array([[1.0], [0.0]]), slots=2, reach=0.1).eval()
    with torch.no_grad():
        head.queries.zero_()
        found = head(tokens)[0, :, :4].numpy()
    assert np.concatenate(matched_iou([found], [true[0, :, :4]])).min() > 0.6
