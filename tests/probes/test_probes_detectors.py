"""Detectors: planted classes are found at their places, noise is not, background is learnt, positions span a turn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from foresight.data.objects import Objects
from foresight.metrics.detection import AveragePrecision, class_prior
from foresight.probes.box_sets import covered_parts
from foresight.probes.detectors import (
    DenseDetector,
    DetectionTransformer,
    detection_targets,
    fit_detector,
    position_code,
)

CLASSES = (3, 44, 90)


def world(n: int, seed: int) -> list[Objects]:
    """One or two objects a picture, of three classes whose ids have gaps."""
    rng, made = np.random.default_rng(seed), []
    for _ in range(n):
        k = int(rng.integers(1, 3))
        corner = np.array([[0.02, 0.1], [0.52, 0.3]])[:k] + rng.uniform(0, 0.12, (k, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(0.2, 0.34, (k, 2))], 1).astype(np.float32)
        areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        made.append(Objects(boxes, rng.choice(CLASSES, k), areas, np.zeros(k, bool), 200.0))
    return made


def oracle(objects: list[Objects], grid: tuple[int, int], seed: int) -> np.ndarray:
    """Tokens whose first three features are the part of the cell that each class covers; the rest is noise."""
    tokens = np.random.default_rng(seed).standard_normal((len(objects), *grid, 12)).astype(np.float32)
    tokens[..., :3] = 0
    for row, of in zip(tokens, objects, strict=True):
        for box, category in zip(of.boxes, of.category_ids, strict=True):
            target = np.append(box, 1).astype(np.float32)[None, None]
            row[..., CLASSES.index(category)] += 3 * covered_parts(target, grid)[0]
    return tokens


TRAIN, VAL, TEST = world(90, 0), world(24, 1), world(40, 2)


def ap(found) -> float:
    return AveragePrecision(found, TEST, CLASSES).at_half() or 0.0


@pytest.mark.parametrize(("grid", "parts"), [((10, 14), 1), ((6, 6), 2)])
def test_the_dense_head_finds_what_is_there_and_where(grid, parts):
    tokens = [oracle(of, grid, seed) for seed, of in enumerate((TRAIN, VAL, TEST))]
    probe = fit_detector(
        tokens[0], TRAIN, tokens[1], VAL, category_ids=CLASSES, seed=0, kind="dense", parts=parts, epochs=12
    )
    found = probe.predict(tokens[2])
    assert ap(found) > 0.9
    assert {int(category) for one in found for category in one.category_ids} <= set(CLASSES), "ids, not indices"


def test_noise_is_no_better_than_the_prior():
    rng = np.random.default_rng(0)
    noise = [rng.standard_normal((len(of), 6, 6, 12)).astype(np.float32) for of in (TRAIN, VAL, TEST)]
    probe = fit_detector(noise[0], TRAIN, noise[1], VAL, category_ids=CLASSES, seed=0, kind="dense", parts=1, epochs=6)
    assert ap(probe.predict(noise[2])) < ap(class_prior(TRAIN, len(TEST))) + 0.1


def test_the_transformer_learns_what_is_there():
    """A small one for a few seconds: far over what needs no features, not what a GPU reaches."""
    tokens = [oracle(of, (6, 6), seed) for seed, of in enumerate((TRAIN, VAL, TEST))]
    probe = fit_detector(
        tokens[0], TRAIN, tokens[1], VAL, category_ids=CLASSES, seed=0, layers=1, hidden=32, queries=4, epochs=20,
        patience=40, lr=3e-3,
    )  # fmt: skip
    found = probe.predict(tokens[2])
    assert all(len(one.boxes) == 4 for one in found)
    assert ap(found) > ap(class_prior(TRAIN, len(TEST))) + 0.2


def test_background_is_trained():
    """A head that claims an object in every query pays for it, in either design."""
    targets = torch.from_numpy(detection_targets(TEST[:4], CLASSES))
    transformer = DetectionTransformer(8, 3, layers=1, hidden=16, queries=5, heads=2)
    boxes = torch.rand(4, 1, 5, 2).repeat(1, 1, 1, 2) + torch.tensor([0, 0, 0.1, 0.1])
    quiet, loud = (
        torch.cat([torch.tensor([0.0, 0, 0, background]).expand(4, 1, 5, 4), boxes], -1) for background in (3.0, -3.0)
    )
    assert transformer.loss(loud, targets) > transformer.loss(quiet, targets) * 0.5
    nothing = torch.zeros_like(targets)
    dense = DenseDetector(8, 3, (4, 4), parts=1)
    boxes = torch.rand(4, 16, 2).repeat(1, 1, 2) + torch.tensor([0, 0, 0.1, 0.1])
    quiet, loud = (torch.cat([torch.full((4, 16, 3), logit), boxes], -1) for logit in (-5.0, 5.0))
    assert dense.loss(loud, nothing) > 100 * dense.loss(quiet, nothing)


def test_the_loss_is_taken_after_every_decoder_layer_in_training_alone():
    head = DetectionTransformer(8, 3, layers=2, hidden=16, queries=5, heads=2)
    tokens = torch.rand(2, 3, 5, 8)
    assert head.train()(tokens).shape == (2, 2, 5, 3 + 1 + 4)
    assert head.eval()(tokens).shape == (2, 1, 5, 3 + 1 + 4)


def test_positions_go_once_round_across_the_grid_that_is_there():
    code = position_code(4, 8, 16, torch.zeros(1)).reshape(4, 8, 16)
    row_angle, column_angle = (torch.atan2(code[..., k], code[..., k + 4]) % (2 * math.pi) for k in (0, 8))
    assert row_angle[:, 0] == pytest.approx([2 * math.pi * (i + 0.5) / 4 for i in range(4)], abs=1e-5)
    assert column_angle[0] == pytest.approx([2 * math.pi * (j + 0.5) / 8 for j in range(8)], abs=1e-5)
    assert len({tuple(one.tolist()) for one in code.flatten(0, 1)}) == 32, "no two cells have one code"


def test_crowds_are_not_trained_on_and_the_largest_objects_are_kept():
    boxes = np.array([[0, 0, 0.1, 0.1], [0, 0, 0.5, 0.5], [0, 0, 0.9, 0.9]], dtype=np.float32)
    of = Objects(boxes, np.array([3, 44, 90]), np.array([0.01, 0.25, 0.8]), np.array([False, False, True]), 100.0)
    table = detection_targets([of], CLASSES)
    assert table.shape == (1, 2, 6)
    assert table[0, :, 4].tolist() == [1, 0], "largest first, by class index"
    assert detection_targets([of], CLASSES, most=1)[0, :, 4].tolist() == [1]
