"""From a grid of tokens to the picture under it, each cell with a look at its neighbours (e_q2_5).

Every cell of the picture is painted from its token by the ridge map of `pixels`, in closed form, plus what a small
network adds from the token and the eight around it: a 3 x 3 convolution over the token grid and an MLP to the pixels of
the cell. The network starts at zero, so training can only improve on the linear map; it is trained on L1 plus a tenth
of L1 at three coarser scales, as published.

Tokens [N, h, w, D] in raster order; pictures float [N, H, W, 3] in [0, 1] that divide into the grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Unpack

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from foresight.probes.linear import Standardiser
from foresight.probes.pixels import fit_pixel_probe
from foresight.probes.training import Training, TrainingHistory, parameter_count, predict, seeded, train

_TRAINING: Training = {"epochs": 150, "patience": 20, "lr": 1e-3, "batch_size": 16, "weight_decay": 0.01}

_SCALES = (2, 4, 8)
_COARSE = 0.1


class TokenGridDecoder(nn.Module):
    """[N, h, w, D] -> [N, H, W, 3]. `affine` [D + 1, pixels of a cell] is the linear map that it starts from."""

    def __init__(self, affine: np.ndarray, cell: tuple[int, int], hidden: int) -> None:
        super().__init__()
        width = len(affine) - 1
        self.cell = cell
        self.linear: torch.Tensor
        self.register_buffer("linear", torch.as_tensor(affine, dtype=torch.float32))
        self.around = nn.Conv2d(width, hidden, 3, padding=1)
        self.mix = nn.Sequential(nn.GELU(), nn.Conv2d(hidden, hidden, 1), nn.GELU())
        self.paint = nn.Conv2d(hidden, affine.shape[1], 1)
        for parameter in self.paint.parameters():
            nn.init.zeros_(parameter)

    def forward(self, tokens_NhwD: torch.Tensor) -> torch.Tensor:
        n, h, w, _ = tokens_NhwD.shape
        added = self.paint(self.mix(self.around(tokens_NhwD.permute(0, 3, 1, 2))))
        pixels = tokens_NhwD @ self.linear[:-1] + self.linear[-1] + added.permute(0, 2, 3, 1)
        cells = pixels.reshape(n, h, w, *self.cell, 3).permute(0, 1, 3, 2, 4, 5)
        return cells.reshape(n, h * self.cell[0], w * self.cell[1], 3)


@dataclass(frozen=True)
class DecoderProbe:
    """A trained decoder with the standardisation that it was trained behind."""

    decoder: TokenGridDecoder
    standardiser: Standardiser
    history: TrainingHistory
    device: str

    def predict(self, tokens_NhwD: np.ndarray) -> np.ndarray:
        """[N, H, W, 3] float32, clipped to [0, 1]."""
        tokens = self.standardiser.apply32(tokens_NhwD)
        return predict(self.decoder, tokens, device=self.device, batch_size=32).clip(0, 1)

    @property
    def parameters(self) -> int:
        """Those of the linear map, too."""
        return parameter_count(self.decoder) + self.decoder.linear.numel()


def fit_decoder(
    tokens_train: np.ndarray,
    images_train: np.ndarray,
    tokens_val: np.ndarray,
    images_val: np.ndarray,
    *,
    seed: int,
    hidden: int = 256,
    device: str = "cpu",
    **training: Unpack[Training],
) -> DecoderProbe:
    """Standardised with train's statistics; validation chooses the ridge penalty and stops the training.

    Raises `ValueError` if the pictures do not divide into the token grid.
    """
    standardiser = Standardiser.fit(tokens_train.reshape(-1, tokens_train.shape[-1]))
    x_train, x_val = (standardiser.apply32(tokens) for tokens in (tokens_train, tokens_val))
    linear = fit_pixel_probe(x_train, images_train, x_val, images_val).ridge.affine()
    _, h, w, _ = x_train.shape
    cell = (images_train.shape[1] // h, images_train.shape[2] // w)
    with seeded(seed):
        decoder = TokenGridDecoder(linear, cell, hidden)
    history = train(
        decoder,
        painting_loss,
        (x_train, images_train),
        (x_val, images_val),
        seed=seed,
        device=device,
        **(_TRAINING | training),
    )
    return DecoderProbe(decoder, standardiser, history, device)


def painting_loss(made_NHWC: torch.Tensor, true_NHWC: torch.Tensor) -> torch.Tensor:
    """L1 plus a tenth of the mean L1 at half, a quarter and an eighth of the side."""
    made, true = made_NHWC.permute(0, 3, 1, 2), true_NHWC.permute(0, 3, 1, 2)
    coarse = [F.l1_loss(F.avg_pool2d(made, scale), F.avg_pool2d(true, scale)) for scale in _SCALES]
    return F.l1_loss(made, true) + _COARSE * torch.stack(coarse).mean()
