"""Which way, how fast, in which order? A classifier of clips (the part that H9 plays in the published code).

H9 concatenates pooled frames, and pooled frames hardly know where anything is. Here motion is looked for where it is,
by correlators of the kind of Hassenstein and Reichardt (1956): a projection of each token times another projection of
its neighbour's one step later, averaged over places, for the five neighbours and every pair of steps. That is a few
thousand weights, knows no place by heart, and about 120 clips are enough. Correlators see only what changes in a clip
(its tokens less their mean over time, in units of their size, so that a pale object counts like a vivid one); beside
them the mean over time is seen, by quarters of the picture, for whatever appearance says.

Tokens [N, t, h, w, D], projected to one common width by a PCA fitted on train; t steps, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Unpack

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from foresight.probes.projection import Projection, fit_projection
from foresight.probes.training import Training, TrainingHistory, parameter_count, predict, seeded, train

_TRAINING: Training = {"epochs": 60, "patience": 15, "lr": 3e-3, "batch_size": 32, "weight_decay": 0.05}

_NEIGHBOURS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))  # rows, columns from a token to its place a step later
_APPEARANCE = 8  # channels of what is seen of the mean over time


class MotionHead(nn.Module):
    """[N, t, h, w, D] -> [N, C] logits."""

    def __init__(self, steps: int, width: int, classes: int, *, channels: int = 16, hidden: int = 64) -> None:
        super().__init__()
        self.now = nn.Linear(width, channels, bias=False)
        self.next = nn.Linear(width, channels, bias=False)
        self.look = nn.Linear(width, _APPEARANCE)
        seen = (steps - 1) * len(_NEIGHBOURS) * channels + 4 * _APPEARANCE
        self.read = nn.Sequential(
            nn.BatchNorm1d(seen),
            nn.Dropout(0.5),
            nn.Linear(seen, hidden),
            nn.GELU(),
            nn.Dropout(0.5),
            nn.Linear(hidden, classes),
        )

    def forward(self, tokens_NthwD: torch.Tensor) -> torch.Tensor:
        mean_NhwD = tokens_NthwD.mean(1)
        change = tokens_NthwD - mean_NhwD[:, None]
        change = change / (change.square().mean((1, 2, 3, 4), keepdim=True).sqrt() + 1e-3)
        now, later = self.now(change[:, :-1]), self.next(change[:, 1:])
        seen = [_correlation(now, later, rows, columns).flatten(1) for rows, columns in _NEIGHBOURS]
        quarters = F.adaptive_avg_pool2d(self.look(mean_NhwD).permute(0, 3, 1, 2), 2)
        return self.read(torch.cat([*seen, quarters.flatten(1)], 1))


def _correlation(now_NthwC: torch.Tensor, later_NthwC: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """[N, t, C]: what is at a place now times what is (rows, columns) further on a step later, mean over places."""
    h, w = now_NthwC.shape[2:4]
    here = now_NthwC[:, :, max(0, -rows) : h - max(0, rows), max(0, -columns) : w - max(0, columns)]
    there = later_NthwC[:, :, max(0, rows) : h - max(0, -rows), max(0, columns) : w - max(0, -columns)]
    return (here * there).mean((2, 3))


@dataclass(frozen=True)
class ClipTokens:
    """Tokens of all clips at one common width."""

    tokens: np.ndarray  # [N, t, h, w, D] float32, of unit size on train
    projection: Projection

    @classmethod
    def of(cls, tokens_NthwD: np.ndarray, train_index: np.ndarray, width: int) -> ClipTokens:
        """PCA and scale from `train_index` alone; fewer axes than `width` if the tokens have no more."""
        projection = fit_projection(tokens_NthwD[train_index], min(width, tokens_NthwD.shape[-1]))
        projected = projection.apply(tokens_NthwD)
        return cls(projected / projected[train_index].std(), projection)


@dataclass(frozen=True)
class MotionProbe:
    """A trained head and the classes that it tells apart."""

    head: MotionHead
    classes: np.ndarray  # [C], ascending
    history: TrainingHistory
    device: str

    def predict(self, tokens_NthwD: np.ndarray) -> np.ndarray:
        """[N]: the likeliest class of each clip."""
        return self.classes[predict(self.head, tokens_NthwD, device=self.device).argmax(1)]

    @property
    def parameters(self) -> int:
        return parameter_count(self.head)


def fit_motion_probe(
    tokens_train: np.ndarray,
    labels_train: Sequence | np.ndarray,
    tokens_val: np.ndarray,
    labels_val: Sequence | np.ndarray,
    *,
    seed: int,
    device: str = "cpu",
    **training: Unpack[Training],
) -> MotionProbe:
    """Cross-entropy, stopped by validation. About 1 s for 240 clips of 4 x 4 x 4 tokens on one core."""
    classes = np.unique(np.concatenate([labels_train, labels_val]))
    with seeded(seed):
        head = MotionHead(tokens_train.shape[1], tokens_train.shape[-1], len(classes))
    history = train(
        head,
        lambda logits, target: F.cross_entropy(logits, target.long()),
        (tokens_train, np.searchsorted(classes, labels_train)),
        (tokens_val, np.searchsorted(classes, labels_val)),
        seed=seed,
        device=device,
        **(_TRAINING | training),
    )
    return MotionProbe(head, classes, history, device)
