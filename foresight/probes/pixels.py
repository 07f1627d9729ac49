"""From tokens to pixels: each token to the patch that it covers, and nothing else (e1_2, e1_3).

A token that is decoded into its own patch cannot borrow from others through the probe, so the error of a patch is the
loss at that place. Pictures are float [N, H, W, 3] in [0, 1]; tokens are [N, h, w, D] in raster order and cover the
picture evenly. `pooled_image_head` is the published probe (H1, H2), kept for the comparison with published figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import nn

from foresight.probes.linear import RidgeProbe, fit_ridge


def patchify(images_NHWC: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """[N, h, w, (H/h) * (W/w) * C]: the pixels under each cell of the grid (h, w).

    Raises `ValueError` if the picture does not divide into the grid.
    """
    n, height, width, channels = images_NHWC.shape
    h, w = grid
    if height % h or width % w:
        raise ValueError(f"a picture of {height}x{width} px does not divide into {h}x{w} patches")
    cells = images_NHWC.reshape(n, h, height // h, w, width // w, channels)
    return cells.transpose(0, 1, 3, 2, 4, 5).reshape(n, h, w, -1)


def unpatchify(patches_NhwP: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[N, H, W, C] of size (H, W): the inverse of `patchify`."""
    n, h, w, _ = patches_NhwP.shape
    height, width = size
    cells = patches_NhwP.reshape(n, h, w, height // h, width // w, -1)
    return cells.transpose(0, 1, 3, 2, 4, 5).reshape(n, height, width, -1)


@dataclass(frozen=True)
class PixelProbe:
    """One linear map, shared by all places, of a token to its patch."""

    ridge: RidgeProbe
    size: tuple[int, int]  # (H, W) of the pictures

    def predict(self, tokens_NhwD: np.ndarray) -> np.ndarray:
        """[N, H, W, 3] float32, clipped to [0, 1]."""
        return np.clip(unpatchify(self.ridge.predict(tokens_NhwD), self.size), 0, 1)


def fit_pixel_probe(
    tokens_train: np.ndarray, images_train: np.ndarray, tokens_val: np.ndarray, images_val: np.ndarray
) -> PixelProbe:
    """Ridge over all tokens of all training pictures; validation pictures choose the penalty."""
    grid = tokens_train.shape[1:3]
    flat = [tokens.reshape(-1, tokens.shape[-1]) for tokens in (tokens_train, tokens_val)]
    patches = [
        patchify(images, grid).reshape(len(x), -1) for images, x in zip((images_train, images_val), flat, strict=True)
    ]
    return PixelProbe(fit_ridge(flat[0], patches[0], flat[1], patches[1]), images_train.shape[1:3])


def image_baselines(images_train: np.ndarray, grid: tuple[int, int]) -> Mapping[str, np.ndarray]:
    """What needs no features, each as one picture [1, H, W, 3] for all (the metrics compare it with every original).

    mean_image: the mean of train. mean_patch: train's mean patch in every cell. blank_image: one colour, train's median
    (white where pictures are shapes on white).
    """
    mean = images_train.mean(0, keepdims=True, dtype=np.float64).astype(np.float32)
    patch = patchify(mean, grid).mean((1, 2), keepdims=True)
    colour = np.median(images_train.reshape(-1, images_train.shape[-1]), axis=0)
    return {
        "mean_image": mean,
        "mean_patch": unpatchify(np.broadcast_to(patch, (1, *grid, patch.shape[-1])), mean.shape[1:3]),
        "blank_image": np.broadcast_to(colour, mean.shape).astype(np.float32),
    }


def pooled_image_head(width: int, size: tuple[int, int], hidden: int | None = None) -> nn.Module:
    """H1 (or H2 with `hidden`): pooled features [N, width] -> pixels [N, H, W, 3] in (0, 1) through a sigmoid.

    H1 at 3584 features and 224 px has 539.6 M weights.
    """
    pixels = size[0] * size[1] * 3
    layers = (
        [nn.Linear(width, pixels)]
        if hidden is None
        else [nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, pixels)]
    )
    return nn.Sequential(*layers, nn.Sigmoid(), nn.Unflatten(1, (*size, 3)))
