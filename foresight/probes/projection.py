"""One common width, so that extraction points can be compared fairly, and maps of a space for the eye.

Points differ in width (1280 before the merger, 3584 after) and in tokens (four before for one after). A probe on the
wider point has more parameters, so before any comparison tokens are grouped to one count and projected to one width
by a PCA fitted on train alone. Tokens are [N, h, w, D] in raster order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from foresight.probes.linear import Standardiser


@dataclass(frozen=True)
class Projection:
    """Standardise, then project on train's first principal axes."""

    standardiser: Standardiser
    axes: np.ndarray  # [D, width] float64, orthonormal
    explained: float  # part of train's standardised variance that is kept, 0..1

    def apply(self, tokens: np.ndarray) -> np.ndarray:
        """[..., width] float32 of [..., D]."""
        return (self.standardiser.apply(tokens) @ self.axes).astype(np.float32)


def group_tokens(tokens_NhwD: np.ndarray, size: int = 2) -> np.ndarray:
    """[N, h/size, w/size, size * size * D]: neighbouring tokens side by side, as the merger takes them."""
    n, h, w, d = tokens_NhwD.shape
    if h % size or w % size:
        raise ValueError(f"{h}x{w} tokens do not divide into blocks of {size}x{size}")
    blocks = tokens_NhwD.reshape(n, h // size, size, w // size, size, d).transpose(0, 1, 3, 2, 4, 5)
    return blocks.reshape(n, h // size, w // size, size * size * d)


def fit_projection(tokens_train: np.ndarray, width: int) -> Projection:
    """PCA of standardised training tokens [..., D] to `width` axes.

    Raises `ValueError` if there are fewer features or tokens than axes.
    """
    flat = tokens_train.reshape(-1, tokens_train.shape[-1])
    if width > min(flat.shape):
        raise ValueError(f"{flat.shape[0]} tokens of {flat.shape[1]} features cannot be projected to {width} axes")
    standardiser = Standardiser.fit(flat)
    solver = "covariance_eigh" if flat.shape[0] >= flat.shape[1] else "full"
    pca = PCA(width, svd_solver=solver).fit(standardiser.apply(flat))
    return Projection(standardiser, pca.components_.T, float(np.sum(pca.explained_variance_ratio_)))


def pca_colours(tokens_train: np.ndarray, tokens_NhwD: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[N, H, W, 3] in [0, 1] for the eye: train's first three principal axes as red, green and blue.

    Each token is a block of the picture of `size` (H, W), and each axis runs from the 2nd to the 98th percentile of
    what is shown.
    """
    shown = fit_projection(tokens_train, 3).apply(tokens_NhwD)
    low, high = np.quantile(shown, (0.02, 0.98), axis=(0, 1, 2))
    colours = np.clip((shown - low) / np.maximum(high - low, 1e-12), 0, 1)
    rows, columns = (np.arange(pixels) * cells // pixels for pixels, cells in zip(size, shown.shape[1:3], strict=True))
    return colours[:, rows[:, None], columns]


def map_pca(features_ND: np.ndarray) -> np.ndarray:
    """[N, 2] for a picture: the first two principal axes of standardised features."""
    return fit_projection(features_ND, 2).apply(features_ND)


def map_tsne(features_ND: np.ndarray, seed: int, perplexity: float = 30.0) -> np.ndarray:
    """[N, 2] for a picture, never for a measurement: t-SNE of standardised features (van der Maaten and Hinton 2008).

    Perplexity is lowered to a third of N where there are few samples.
    """
    features = Standardiser.fit(features_ND).apply(features_ND)
    model = TSNE(perplexity=min(perplexity, (len(features) - 1) / 3), init="pca", random_state=seed, n_jobs=1)
    return model.fit_transform(features.astype(np.float32))
