"""Whether fine detail survives: edges (M6), textures (Gram matrices), and the programme's summary of a point (M14).

Every function takes float pictures in [0, 1], [N, H, W, 3], and returns a score a picture. What does not exist is
NaN and left out by its caller, never 0: a picture without edges has no edge score.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt
from skimage.color import rgb2gray
from skimage.feature import canny

from foresight.metrics.perceptual import TrunkFeatures, trunk_features

LOW, HIGH = 50 / 255, 150 / 255  # of Canny's hysteresis, on grey in 0..1
TOLERANCE_PX = 2.0
IRS_BEST_IOU, IRS_BEST_LPIPS, IRS_BEST_F1 = 0.85, 0.3, 0.8  # what counts as all that can be kept


def edges(images_NHWC: np.ndarray) -> np.ndarray:
    """[N, H, W] bool: Canny(50, 150) as OpenCV has it, without smoothing, on luminance (Canny 1986).

    scikit-image's Sobel has the same weights; it measures a gradient by its length where OpenCV adds up both axes.
    """
    grey = (rgb2gray(image.astype(np.float64)) for image in images_NHWC)
    return np.stack([canny(one, sigma=0, low_threshold=LOW, high_threshold=HIGH, mode="nearest") for one in grey])


def edge_f1(found_NHW: np.ndarray, true_NHW: np.ndarray, tolerance_px: float = TOLERANCE_PX) -> np.ndarray:
    """[N]: F1 of edge pixels that lie within `tolerance_px` of one of the other picture's.

    NaN where the true picture has no edge: there is nothing to be found. No edge found where there are some is 0.
    `found_NHW` may be one picture for all.
    """
    found = np.broadcast_to(found_NHW, true_NHW.shape)
    return np.array([_f1(one, other, tolerance_px) for one, other in zip(found, true_NHW, strict=True)])


def _f1(found: np.ndarray, true: np.ndarray, tolerance_px: float) -> float:
    if not true.any():
        return float("nan")
    if not found.any():
        return 0.0
    precision = float((distance_transform_edt(~true)[found] <= tolerance_px).mean())
    recall = float((distance_transform_edt(~found)[true] <= tolerance_px).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


class GramReference:
    """Textures of N originals, which candidates are compared with: which features of AlexNet occur together
    (Gatys et al. 2015, on the trunk and layers of LPIPS)."""

    def __init__(self, images_NHWC: np.ndarray, *, device: str = "cpu") -> None:
        self._device = device
        self._grams = _grams(trunk_features(images_NHWC, device=device))

    def distances(self, candidate_NHWC: np.ndarray) -> np.ndarray:
        """[N]: relative distance of Gram matrices, mean over layers; 0 for equal textures wherever they lie, about 1
        for unlike ones. The candidate is N pictures, or one for all."""
        grams = _grams(trunk_features(candidate_NHWC, device=self._device))
        per_layer = [
            np.linalg.norm(mine - true, axis=(1, 2)) / np.linalg.norm(true, axis=(1, 2))
            for mine, true in zip(grams, self._grams, strict=True)
        ]
        return np.mean(per_layer, axis=0)


def _grams(features: TrunkFeatures) -> list[np.ndarray]:
    """A matrix [N, C, C] a layer: mean over places of the product of two channels."""
    return [np.concatenate([_gram(part) for part in layer]) for layer in zip(*features, strict=True)]


def _gram(layer_NCHW: np.ndarray) -> np.ndarray:
    flat = layer_NCHW.reshape(*layer_NCHW.shape[:2], -1).astype(np.float64)
    return flat @ flat.transpose(0, 2, 1) / flat.shape[2]


def information_retention(iou: float, lpips: float, f1: float) -> float:
    """M14 (IRS) in 0..1: .4 of places, .3 of looks, .3 of edges, each over the best that is hoped for, capped at 1.

    All three are of one extraction point. Above .8 nearly all is kept; under .4 little is.
    """
    parts = (iou / IRS_BEST_IOU, (1 - lpips) / (1 - IRS_BEST_LPIPS), f1 / IRS_BEST_F1)
    place, look, edge = (min(max(part, 0.0), 1.0) for part in parts)
    return 0.4 * place + 0.3 * look + 0.3 * edge
