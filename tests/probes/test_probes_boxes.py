import numpy as np
import pytest
import torch

from foresight.metrics.spatial import box_area, box_iou
from foresight.probes.boxes import AttentionBoxHead, best_constant_box, covered_part, fit_box_probe, mean_box

FAST = {"epochs": 60, "patience": 15}


def boxes(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    size = rng.uniform(0.25, 0.6, (n, 2))
    corner = rng.uniform(0, 1 - size)
    return np.concatenate([corner, corner + size], 1).astype(np.float32)


def oracle(boxes_N4: np.ndarray, grid: tuple[int, int], seed: int, width: int = 64) -> np.ndarray:
    """Tokens whose first feature is the part of the cell that the object covers, and 63 that are noise."""
    tokens = np.random.default_rng(seed).normal(size=(len(boxes_N4), *grid, width)).astype(np.float32)
    tokens[..., 0] = covered_part(boxes_N4, grid)
    return tokens


TRAIN, VAL, TEST = boxes(100, 0), boxes(30, 1), boxes(60, 2)


@pytest.fixture(scope="module")
def planted():
    return [oracle(part, (8, 8), seed) for seed, part in enumerate((TRAIN, VAL, TEST))]


@pytest.fixture(scope="module")
def probe(planted):
    return fit_box_probe(planted[0], TRAIN, planted[1], VAL, seed=0)


def constant_iou(box: np.ndarray) -> float:
    return float(box_iou(np.tile(box, (len(TEST), 1)), TEST).mean())


def test_covered_part_adds_up_to_the_box():
    parts = covered_part(TRAIN, (5, 7))
    assert parts.shape == (100, 5, 7)
    assert np.allclose(parts.mean((1, 2)), box_area(TRAIN))
    assert np.allclose(covered_part(np.array([[0.0, 0.5, 0.25, 1.0]]), (2, 4)), [[[0, 0, 0, 0], [1, 0, 0, 0]]])


def test_planted_object_is_found_from_a_hundred_pictures(planted, probe):
    assert box_iou(probe.predict(planted[2]), TEST).mean() > 0.9
    assert constant_iou(best_constant_box(TRAIN)) < 0.4


def test_closed_form_start_already_reads_the_place(planted):
    untrained = fit_box_probe(planted[0], TRAIN, planted[1], VAL, seed=0, epochs=0)
    assert box_iou(untrained.predict(planted[2]), TEST).mean() > 0.6


def test_attention_lies_on_the_object(planted, probe):
    head = probe.head
    assert isinstance(head, AttentionBoxHead)
    tokens = torch.tensor(probe.standardiser.apply(planted[2]).astype(np.float32))
    with torch.inference_mode():
        looked = head.look(tokens).mean(-1).numpy()
    covered = covered_part(TEST, (8, 8)).reshape(len(TEST), -1)
    assert looked[covered == 1].mean() > 5 * looked[covered == 0].mean()


def test_best_constant_beats_the_mean_box_on_train():
    best = best_constant_box(TRAIN)
    on_train = [box_iou(np.tile(box, (len(TRAIN), 1)), TRAIN).mean() for box in (best, mean_box(TRAIN))]
    assert on_train[0] > on_train[1] + 0.01
    assert all(box_iou(np.tile(box, (100, 1)), TRAIN).mean() <= on_train[0] for box in boxes(50, 7))


def test_noise_gives_no_more_than_the_best_constant():
    rng = np.random.default_rng(5)
    noise = [rng.normal(size=(len(part), 4, 4, 64)).astype(np.float32) for part in (TRAIN, VAL, TEST)]
    for view in ("tokens", "pooled"):
        found = fit_box_probe(noise[0], TRAIN, noise[1], VAL, seed=0, view=view, **FAST).predict(noise[2])
        assert box_iou(found, TEST).mean() < constant_iou(best_constant_box(TRAIN)) + 0.03


def test_a_place_does_not_survive_pooling(planted):
    pooled = fit_box_probe(planted[0], TRAIN, planted[1], VAL, seed=0, view="pooled", **FAST)
    assert box_iou(pooled.predict(planted[2]), TEST).mean() < 0.5


def test_grids_need_not_be_square():
    tokens = [oracle(part, (6, 9), seed, width=8) for seed, part in enumerate((TRAIN, VAL, TEST))]
    probe = fit_box_probe(tokens[0], TRAIN, tokens[1], VAL, seed=0, **FAST)
    assert box_iou(probe.predict(tokens[2]), TEST).mean() > 0.85


def test_boxes_are_boxes_wherever_the_features_lie(planted, probe):
    found = probe.predict(50 * planted[2])
    assert np.isfinite(found).all()
    assert (found[:, 2:] > found[:, :2]).all()


def test_the_same_seed_gives_the_same_boxes(planted):
    def found(seed: int) -> np.ndarray:
        short = fit_box_probe(planted[0], TRAIN, planted[1], VAL, seed=seed, epochs=3)
        return short.predict(planted[2])

    assert np.array_equal(found(0), found(0))
    assert not np.array_equal(found(0), found(1))


def test_held_out_pictures_do_not_touch_the_fit(planted):
    """Validation may stop the training; its features decide no mean and no scale."""
    moved = fit_box_probe(planted[0], TRAIN, 3 + 10 * planted[1], VAL, seed=0, epochs=1)
    kept = fit_box_probe(planted[0], TRAIN, planted[1], VAL, seed=0, epochs=1)
    assert np.array_equal(moved.standardiser.mean, kept.standardiser.mean)
    assert np.array_equal(moved.standardiser.scale, kept.standardiser.scale)


def test_size_follows_the_width(planted):
    small = fit_box_probe(planted[0], TRAIN, planted[1], VAL, seed=0, hidden=16, epochs=0)
    large = fit_box_probe(planted[0], TRAIN, planted[1], VAL, seed=0, hidden=128, epochs=0)
    assert small.parameters < large.parameters / 5
