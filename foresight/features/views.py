"""Views: one vector a picture, made of its features [h, w, D].

`mean` is the mean visual token, or of latents the mean of each channel, and `flat` is all cells one after another.
Only visual tokens are ever in the store, so the prompt's are in no mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from foresight.features.store import FeatureArray

_BATCH = 256  # pictures read at once


def mean_tokens(features: FeatureArray, index: Sequence[int] | np.ndarray) -> np.ndarray:
    """[n, D]: the mean over cells of each picture in `index`."""
    return _of(features, index, lambda cells: cells.mean(axis=tuple(range(1, cells.ndim - 1))))


def flat_cells(features: FeatureArray, index: Sequence[int] | np.ndarray) -> np.ndarray:
    """[n, h w D]: every cell of each picture in `index`."""
    return _of(features, index, lambda cells: cells.reshape(len(cells), -1))


VIEWS: dict[str, Callable[[FeatureArray, np.ndarray], np.ndarray]] = {"mean": mean_tokens, "flat": flat_cells}


def _of(
    features: FeatureArray, index: Sequence[int] | np.ndarray, view: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    index = np.asarray(index)
    return np.concatenate([view(features[index[i : i + _BATCH]]) for i in range(0, len(index), _BATCH)])
