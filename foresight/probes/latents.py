"""From tokens to a video model's latents, cell by cell: the adapter of e1_5 (and H10, the published pooled one).

Two parts, added. First a linear map in closed form, `CellRidge`: each latent cell from the tokens that it overlaps.
Tokens and cells seldom have one size (28 px and 32 px; 28 px and 8 px), so a cell's place within its tokens decides
which map it needs: 4x4 tokens under 14x14 cells repeat after 7 cells, which makes 7x7 maps, each fitted on all its
repeats. One map for all places, resampled, blurs: LPIPS .56 instead of .48 on held-out photographs with the stand-ins.
Then a small cross-attention adapter, whose queries are the cells and which sees all tokens, for what is left (LPIPS
.45). Its last layer starts at zero, so training starts from the linear map and early stopping can fall back to it.
From scratch, attention has to find out from a hundred pictures where each cell lies (LPIPS .60 after 60 epochs).

Targets are taken relative to train's mean latent in each cell and in units of train's deviation per channel, so that
predicting nothing is the mean latent. Tokens [N, h, w, D] and latents [N, H, W, C] in raster order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Unpack

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from foresight.metrics.threads import single_thread
from foresight.probes.linear import RidgeProbe, Standardiser, fit_ridge
from foresight.probes.training import Training, TrainingHistory, parameter_count, predict, seeded, train

_TRAINING: Training = {"epochs": 60, "patience": 10, "lr": 3e-3, "batch_size": 16}


@dataclass(frozen=True)
class CellRidge:
    """A ridge map for each place that a cell can have within its tokens."""

    ridges: Mapping[tuple[int, int], RidgeProbe]  # by row and column of the place
    grid: tuple[int, int]  # of the latents

    def predict(self, tokens_NhwD: np.ndarray) -> np.ndarray:
        """[N, H, W, C] float32."""
        n, h, w, _ = tokens_NhwD.shape
        rows, columns = _places(h, self.grid[0]), _places(w, self.grid[1])
        latents = np.empty((n, *self.grid, len(self.ridges[0, 0].intercept)), np.float32)
        for (r, c), ridge in self.ridges.items():
            row, column = rows[r], columns[c]
            predicted = ridge.predict(_overlapped(tokens_NhwD, row, column))
            latents[:, row.cells[:, None], column.cells] = predicted.reshape(n, row.cells.size, column.cells.size, -1)
        return latents

    @property
    def parameters(self) -> int:
        return sum(ridge.parameters for ridge in self.ridges.values())


def fit_cell_ridge(
    tokens_train: np.ndarray, latents_train: np.ndarray, tokens_val: np.ndarray, latents_val: np.ndarray
) -> CellRidge:
    """Each cell from the tokens that it overlaps; validation chooses the penalty, for each place by itself."""
    grid, channels = latents_train.shape[1:3], latents_train.shape[-1]
    rows, columns = (_places(tokens, cells) for tokens, cells in zip(tokens_train.shape[1:3], grid, strict=True))
    ridges = {}
    for r, row in enumerate(rows):
        for c, column in enumerate(columns):
            x_train, x_val = (_overlapped(tokens, row, column) for tokens in (tokens_train, tokens_val))
            y_train, y_val = (
                latents[:, row.cells][:, :, column.cells].reshape(-1, channels)
                for latents in (latents_train, latents_val)
            )
            ridges[r, c] = fit_ridge(x_train, y_train, x_val, y_val)
    return CellRidge(ridges, grid)


@dataclass(frozen=True)
class _Place:
    """The cells of an axis that lie alike within their tokens, and the tokens under each."""

    cells: np.ndarray  # [repeats]
    tokens: np.ndarray  # [repeats, tokens under a cell]


def _places(tokens: int, cells: int) -> list[_Place]:
    """The pattern of `cells` over `tokens` along one axis, which repeats gcd(tokens, cells) times."""
    repeats = np.arange(math.gcd(tokens, cells))[:, None]
    period, step = cells // len(repeats), tokens // len(repeats)
    return [
        _Place(
            (place + period * repeats)[:, 0],
            np.arange(place * tokens // cells, -(-(place + 1) * tokens // cells)) + step * repeats,
        )
        for place in range(period)
    ]


def _overlapped(tokens_NhwD: np.ndarray, row: _Place, column: _Place) -> np.ndarray:
    """[N * repeats, tokens under a cell * D], in the order of [N, cells of the row, cells of the column]."""
    window = tokens_NhwD[:, row.tokens][:, :, :, column.tokens].transpose(0, 1, 3, 2, 4, 5)
    return window.reshape(len(tokens_NhwD) * row.cells.size * column.cells.size, -1)


class CrossAttentionAdapter(nn.Module):
    """Cells ask tokens. [N, h, w, D] -> [N, H, W, C]; zero before training. Size grows with `width` and `depth`.

    A cell's query is its place and the tokens around it (interpolated); it then attends to all tokens. `hidden`: units
    of each layer's MLP, twice the width if not given.
    """

    def __init__(
        self,
        tokens: tuple[int, int, int],
        latents: tuple[int, int, int],
        *,
        width: int = 64,
        depth: int = 1,
        hidden: int | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        h, w, features = tokens
        self.grid = latents[:2]
        self.project = nn.Linear(features, width)
        self.place_of_token = nn.Parameter(0.02 * torch.randn(h * w, width))
        self.place_of_cell = nn.Parameter(0.02 * torch.randn(math.prod(self.grid), width))
        self.layers = nn.ModuleList(CrossAttention(width, hidden=hidden, dropout=dropout) for _ in range(depth))
        self.out = nn.Sequential(nn.LayerNorm(width), last := nn.Linear(width, latents[2]))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, tokens_NhwD: torch.Tensor) -> torch.Tensor:
        memory = self.project(tokens_NhwD)
        around = F.interpolate(memory.permute(0, 3, 1, 2), size=self.grid, mode="bilinear")
        cells = self.place_of_cell + around.flatten(2).transpose(1, 2)
        memory = memory.flatten(1, 2) + self.place_of_token
        for layer in self.layers:
            cells = layer(cells, memory)
        return self.out(cells).unflatten(1, self.grid)


class CrossAttention(nn.Module):
    """A decoder layer without attention among cells, of which there are many and which have little to say."""

    def __init__(self, width: int, heads: int = 4, *, hidden: int | None = None, dropout: float = 0.1) -> None:
        super().__init__()
        hidden = 2 * width if hidden is None else hidden
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, width),
            nn.Dropout(dropout),
        )

    def forward(self, cells: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        cells = cells + self.attention(self.before_attention(cells), memory, memory, need_weights=False)[0]
        return cells + self.mlp(self.before_mlp(cells))


@dataclass(frozen=True)
class LatentProbe:
    """Mean latent + linear map + attention."""

    mean: np.ndarray  # [H, W, C]: the baseline, too
    scale: np.ndarray  # [C]
    linear: CellRidge | None
    adapter: CrossAttentionAdapter
    standardiser: Standardiser
    history: TrainingHistory
    device: str

    def predict(self, tokens_NhwD: np.ndarray) -> np.ndarray:
        """[N, H, W, C] float32, in the latents' own units."""
        x = self.standardiser.apply32(tokens_NhwD)
        z = predict(self.adapter, x, device=self.device)
        if self.linear is not None:
            z = z + self.linear.predict(x)
        return (z * self.scale + self.mean).astype(np.float32)

    def tensors(self) -> dict[str, torch.Tensor]:
        """All that `predict` rests on, by name, for a checkpoint."""
        kept = {"mean": self.mean, "scale": self.scale}
        kept |= {"standardiser.mean": self.standardiser.mean, "standardiser.scale": self.standardiser.scale}
        for (row, column), ridge in self.linear.ridges.items() if self.linear else ():
            at = f"linear.{row}.{column}"
            kept |= {f"{at}.mean": ridge.standardiser.mean, f"{at}.scale": ridge.standardiser.scale}
            kept |= {f"{at}.weights": ridge.weights, f"{at}.intercept": ridge.intercept}
        tensors = {name: torch.from_numpy(np.ascontiguousarray(of, dtype=np.float32)) for name, of in kept.items()}
        return tensors | {f"adapter.{name}": of.contiguous() for name, of in self.adapter.state_dict().items()}

    @property
    def parameters(self) -> int:
        return parameter_count(self.adapter) + (self.linear.parameters if self.linear else 0)


def fit_latent_probe(
    tokens_train: np.ndarray,
    latents_train: np.ndarray,
    tokens_val: np.ndarray,
    latents_val: np.ndarray,
    *,
    seed: int,
    width: int = 64,
    depth: int = 1,
    linear: bool = True,
    device: str = "cpu",
    **training: Unpack[Training],
) -> LatentProbe:
    """Fit by squared error on standardised latents; `linear=False` leaves attention alone with the mean latent.

    `epochs=0` is the linear map by itself. About 7 s for 100 pictures of 4x4x128 tokens and 14x14x32 latents, one core.
    """
    standardiser = Standardiser.fit(tokens_train.reshape(-1, tokens_train.shape[-1]))
    x_train, x_val = (standardiser.apply32(tokens) for tokens in (tokens_train, tokens_val))
    mean, scale = latent_statistics(latents_train)
    z_train, z_val = (((latents - mean) / scale).astype(np.float32) for latents in (latents_train, latents_val))
    base = fit_cell_ridge(x_train, z_train, x_val, z_val) if linear else None
    if base is not None:
        z_train, z_val = z_train - base.predict(x_train), z_val - base.predict(x_val)
    with seeded(seed):
        adapter = CrossAttentionAdapter(x_train.shape[1:], latents_train.shape[1:], width=width, depth=depth)
    history = train(
        adapter,
        F.mse_loss,
        (x_train, z_train),
        (x_val, z_val),
        seed=seed,
        device=device,
        **(_TRAINING | training),
    )
    return LatentProbe(mean, scale, base, adapter, standardiser, history, device)


def latent_statistics(latents_train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Train's mean latent [H, W, C] (the baseline) and each channel's deviation from it [C] (1 where there is none)."""
    mean = latents_train.mean(0, dtype=np.float64)
    scale = np.sqrt(((latents_train - mean) ** 2).mean((0, 1, 2)))
    return mean.astype(np.float32), np.where(scale > 0, scale, 1.0).astype(np.float32)


@single_thread()
def resample(maps_NHWC: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """[N, *grid, C] float32, bilinear between cell centres and antialiased; untouched where the grid is the same."""
    if maps_NHWC.shape[1:3] == tuple(grid):
        return maps_NHWC
    maps = torch.from_numpy(np.ascontiguousarray(maps_NHWC.transpose(0, 3, 1, 2), dtype=np.float32))
    return F.interpolate(maps, size=grid, mode="bilinear", antialias=True).permute(0, 2, 3, 1).contiguous().numpy()


def pooled_latent_head(width: int, latents: tuple[int, int, int], hidden: int = 2048) -> nn.Module:
    """H10, the published one: pooled features [N, width] -> MLP hidden-hidden -> latents [N, H, W, C]."""
    return nn.Sequential(
        nn.Linear(width, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, math.prod(latents)),
        nn.Unflatten(1, latents),
    )
