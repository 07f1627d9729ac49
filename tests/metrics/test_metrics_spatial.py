import numpy as np
import pytest
import torch
from torchvision.ops import box_iou as torchvision_iou

from foresight.metrics.spatial import box_iou, centre_error, crop_to_boxes, mask_iou, relative_size_error


def boxes(n: int, seed: int) -> np.ndarray:
    corners = np.random.default_rng(seed).random((n, 2, 2))
    return np.concatenate([corners.min(1), corners.max(1)], 1)


def test_iou_agrees_with_torchvision():
    a, b = boxes(500, 0), boxes(500, 1)
    expected = torchvision_iou(torch.tensor(a), torch.tensor(b)).diagonal().numpy()
    assert np.abs(box_iou(a, b) - expected).max() < 1e-6
    assert (expected == 0).any()
    assert expected.max() > 0.5


def test_iou_of_known_boxes():
    a = np.array([[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.5], [0.1, 0.1, 0.1, 0.1]])
    b = np.array([[0, 0, 0.5, 0.5], [0.25, 0, 0.75, 0.5], [0.1, 0.1, 0.1, 0.1]])
    assert np.allclose(box_iou(a, b), [1, 1 / 3, 0])


def test_centre_and_size_errors_of_known_boxes():
    true = np.array([[0.2, 0.2, 0.4, 0.6]])
    moved = np.array([[0.5, 0.6, 0.7, 1.0]])
    grown = np.array([[0.15, 0.2, 0.45, 0.6]])
    assert np.allclose(centre_error(moved, true), 0.5)
    assert np.allclose(relative_size_error(moved, true), 0)
    assert np.allclose(centre_error(grown, true), 0)
    assert np.allclose(relative_size_error(grown, true), 0.25)


def test_boxes_that_are_none_are_refused():
    good = np.array([[0.1, 0.1, 0.2, 0.2]])
    with pytest.raises(ValueError, match="x0 <= x1"):
        box_iou(good, good[:, [2, 3, 0, 1]])
    with pytest.raises(ValueError, match=r"\[N, 4\]"):
        box_iou(good[0], good[0])
    with pytest.raises(ValueError, match="no extent"):
        relative_size_error(good, good[:, [0, 1, 0, 1]])


def test_mask_iou_takes_true_masks_only():
    a = np.zeros((2, 4, 4), bool)
    b = a.copy()
    a[0, :2], b[0, 1:3] = True, True
    assert np.allclose(mask_iou(a, b), [1 / 3, 0])
    with pytest.raises(ValueError, match="bool"):
        mask_iou(a.astype(float), b)


def test_foreground_crop_holds_the_object_and_not_the_ground():
    images = np.zeros((2, 40, 60, 3), np.float32)
    images[0, 10:20, 30:45] = 1
    images[1, 0:40, 0:60] = 1
    given = np.array([[0.5, 0.25, 0.75, 0.5], [0, 0, 1, 1]])
    crops = crop_to_boxes(images, given, 32, margin=0)
    assert crops.shape == (2, 32, 32, 3)
    assert crops.dtype == np.float32
    assert np.allclose(crops, 1, atol=1e-5)
    assert crop_to_boxes(images, given, 32, margin=0.5)[0].mean() == pytest.approx(1 / 4, abs=0.02)
