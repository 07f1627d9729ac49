"""All scores of a reconstruction against its original, picture by picture (M1-M3 and squared error).

What e1_2, e1_3, e1_5 and e1_6 share, so that "LPIPS of the oracle", "of ours" and "of the mean picture" are the same
function of the same originals. Shapes: N pictures, H rows, W columns, 3 channels; floats in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from foresight.metrics.perceptual import Lpips, mse_scores, psnr_scores, ssim_scores

#: Every score by name, and whether more of it is better. PSNR is in dB, the others have no unit.
HIGHER_IS_BETTER: Mapping[str, bool] = {"lpips": False, "ssim": True, "psnr": True, "mse": False}

#: C1's levels: acceptable below this LPIPS and above this SSIM, marginal below the second LPIPS.
ACCEPTABLE_LPIPS, ACCEPTABLE_SSIM, MARGINAL_LPIPS = 0.35, 0.75, 0.45

LEVELS = (
    f"acceptable: LPIPS under {ACCEPTABLE_LPIPS:g} and SSIM over {ACCEPTABLE_SSIM:g}, "
    f"marginal: LPIPS under {MARGINAL_LPIPS:g}"
)
"""What the words of `level` stand for; a sentence that uses one says it."""

#: The part of the pixels, those with the steepest luminance, that count as a boundary.
BOUNDARY_SHARE = 0.1


class Originals:
    """Held-out pictures [N, H, W, 3] that any number of reconstructions are compared with."""

    def __init__(self, images_NHWC: np.ndarray, *, device: str = "cpu") -> None:
        self.images = images_NHWC
        self._lpips = Lpips(images_NHWC, device=device)

    def scores(self, candidate_NHWC: np.ndarray) -> dict[str, np.ndarray]:
        """One [N] for each name of `HIGHER_IS_BETTER`. The candidate is N pictures, or one picture for all."""
        return {
            "lpips": self._lpips.scores(candidate_NHWC),
            "ssim": ssim_scores(self.images, candidate_NHWC),
            "psnr": psnr_scores(self.images, candidate_NHWC),
            "mse": mse_scores(self.images, candidate_NHWC),
        }

    def lpips(self, candidate_NHWC: np.ndarray) -> np.ndarray:
        """[N]: LPIPS alone, for ablations with many arms."""
        return self._lpips.scores(candidate_NHWC)


def log_scores(
    log_samples: Callable[..., float],
    scores: Mapping[str, np.ndarray],
    baselines: Mapping[str, Mapping[str, np.ndarray]],
    *,
    groups: Sequence[str],
    suffix: str = "",
) -> None:
    """Hand one arm's scores, and each baseline's, to a runner's `log_samples`, as `<metric><suffix>`."""
    for metric, values in scores.items():
        beside = {name: of[metric] for name, of in baselines.items()}
        log_samples(metric + suffix, values, groups=groups, baselines=beside, higher_is_better=HIGHER_IS_BETTER[metric])


def level(scores: Mapping[str, np.ndarray]) -> Literal["acceptable", "marginal", "not sufficient"]:
    """How good an arm is by its mean LPIPS and SSIM, in the words of research-program.md section 2, e1_2."""
    lpips, ssim = float(np.mean(scores["lpips"])), float(np.mean(scores["ssim"]))
    if lpips < ACCEPTABLE_LPIPS and ssim > ACCEPTABLE_SSIM:
        return "acceptable"
    return "marginal" if lpips < MARGINAL_LPIPS else "not sufficient"


def one_of_each(groups: Sequence[str]) -> np.ndarray:
    """Indices of the first sample of every source, for pictures that show many sources and not many crops of one."""
    return np.unique(np.asarray(groups), return_index=True)[1]


def error_maps(original_NHWC: np.ndarray, candidate_NHWC: np.ndarray) -> np.ndarray:
    """[N, H, W]: squared error of each pixel, mean over channels."""
    return np.square(original_NHWC - candidate_NHWC).mean(-1)


def boundary_masks(images_NHWC: np.ndarray, share: float = BOUNDARY_SHARE) -> np.ndarray:
    """[N, H, W] bool: the `share` of each picture's pixels with the steepest luminance (Sobel). None of a flat one."""
    from skimage.color import rgb2gray
    from skimage.filters import sobel

    steepness = np.stack([sobel(rgb2gray(image)) for image in images_NHWC])
    threshold = np.quantile(steepness, 1 - share, axis=(1, 2), keepdims=True)
    return (steepness >= threshold) & (steepness > 0)


def boundary_error(original_NHWC: np.ndarray, candidate_NHWC: np.ndarray) -> np.ndarray:
    """[N]: mean squared error over the original's boundary pixels; 0 for a picture without any."""
    masks = boundary_masks(original_NHWC)
    errors = np.where(masks, error_maps(original_NHWC, candidate_NHWC), 0).sum((1, 2), dtype=np.float64)
    return errors / np.maximum(masks.sum((1, 2)), 1)
