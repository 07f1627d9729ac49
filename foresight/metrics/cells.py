"""How the cells of a picture's features hang together: over distance, over frequency, and between channels.

Shapes: N pictures of h x w cells and C channels. Each picture and channel is taken about its own mean over cells, so
that what all cells share (a picture's tint, say) counts for none of it, and nothing is averaged over pictures before
it is measured: the mean map of a data set is smooth whatever its pictures are.
"""

from __future__ import annotations

import numpy as np


def autocorrelation(cells_NhwC: np.ndarray, lags: int) -> np.ndarray:
    """[N, lags + 1]: correlation of cells that lie 0, 1, … apart, along rows and columns, all channels pooled.

    Channels weigh by their variance. 1 at lag 0; 0 everywhere for a picture of one value. Raises `ValueError` on lags
    that do not fit into the picture.
    """
    _, h, w, _ = cells_NhwC.shape
    if lags >= max(h, w):
        raise ValueError(f"a lag of {lags} does not fit into {h} x {w} cells")
    centred = _centred(cells_NhwC)
    variance = (centred**2).mean(axis=(1, 2, 3))
    found = np.zeros((len(cells_NhwC), lags + 1))
    for lag in range(lags + 1):
        products = [
            (
                centred[:, : length - lag] * centred[:, lag:]
                if axis == 1
                else centred[:, :, : length - lag] * centred[:, :, lag:]
            )
            for axis, length in ((1, h), (2, w))
            if lag < length
        ]
        means = [(product.sum(axis=(1, 2, 3)), product[0].size) for product in products]
        found[:, lag] = sum(total for total, _ in means) / sum(count for _, count in means)
    return found / np.where(variance > 0, variance, np.inf)[:, None]


def spectrum(cells_NhwC: np.ndarray, bins: int = 4) -> np.ndarray:
    """[C, bins]: each channel's share of power by spatial frequency, from 0 to half a cycle a cell, mean over pictures.

    Rows add up to 1, or are 0 for a channel that never varies within a picture.
    """
    _, h, w, _ = cells_NhwC.shape
    power = (np.abs(np.fft.fft2(_centred(cells_NhwC), axes=(1, 2))) ** 2).mean(axis=0)
    frequency = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.fftfreq(w)[None, :])
    band = np.minimum((frequency / 0.5 * bins).astype(int), bins - 1)
    found = np.stack([power[band == b].sum(axis=0) for b in range(bins)], axis=1)
    total = found.sum(axis=1, keepdims=True)
    return found / np.where(total > 0, total, np.inf)


def channel_correlation(vectors_NC: np.ndarray) -> np.ndarray:
    """[C, C]: correlation of channels over pictures; 0 with a channel that never varies."""
    centred = vectors_NC - vectors_NC.mean(axis=0)
    scale = np.linalg.norm(centred, axis=0)
    unit = centred / np.where(scale > 0, scale, np.inf)
    return unit.T @ unit


def _centred(cells_NhwC: np.ndarray) -> np.ndarray:
    cells = np.asarray(cells_NhwC, dtype=np.float64)
    return cells - cells.mean(axis=(1, 2), keepdims=True)
