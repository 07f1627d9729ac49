"""From tokens to a video model's latents, cell by cell: the adapter of e1_5 (and H10, the published pooled one).

Two parts, added. First a linear map in closed form: each token to the block of latent cells that it covers (a grid of
4x4 tokens has blocks of 4x4 cells for 14x14 latents, resampled from 16x16). Then a small cross-attention adapter,
whose queries are the cells and which sees all tokens, for what is left; its last layer starts at zero, so training
starts from the linear map and early stopping can fall back to it. From scratch, attention would have to find out from
some hundred pictures where each cell lies; the linear map knows.

Targets are taken relative to train's mean latent in each cell and in units of train's deviation per channel, so that
predicting nothing is the mean latent. Tokens [N, h, w, D], latents [N, H, W, C].
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from foresight.metrics.threads import single_thread
from foresight.probes.linear import RidgeProbe, Standardiser, fit_ridge
from foresight.probes.pixels import patchify, unpatchify
from foresight.probes.training import Progress, TrainingHistory, parameter_count, predict, seeded, train


@dataclass(frozen=True)
class BlockRidge:
    """A linear map, shared by all places, of a token to its block of cells; resampled where the grids do not divide."""

    ridge: RidgeProbe
    block: tuple[int, int]
    grid: tuple[int, int]  # of the latents

    def predict(self, tokens_NhwD: np.ndarray) -> np.ndarray:
        """[N, H, W, C] float32."""
        h, w = tokens_NhwD.shape[1:3]
        fine = unpatchify(self.ridge.predict(tokens_NhwD), (h * self.block[0], w * self.block[1]))
        return resample(fine, self.grid)


def fit_block_ridge(
    tokens_train: np.ndarray, latents_train: np.ndarray, tokens_val: np.ndarray, latents_val: np.ndarray
) -> BlockRidge:
    """Ridge from each token to the cells under it; validation chooses the penalty."""
    tokens_grid, grid = tokens_train.shape[1:3], latents_train.shape[1:3]
    block = tuple(max(1, math.ceil(cells / tokens)) for cells, tokens in zip(grid, tokens_grid, strict=True))
    fine = (tokens_grid[0] * block[0], tokens_grid[1] * block[1])
    x_train, x_val = (tokens.reshape(-1, tokens.shape[-1]) for tokens in (tokens_train, tokens_val))
    y_train, y_val = (
        patchify(resample(latents, fine), tokens_grid).reshape(len(x), -1)
        for latents, x in ((latents_train, x_train), (latents_val, x_val))
    )
    return BlockRidge(fit_ridge(x_train, y_train, x_val, y_val), block, grid)


@single_thread()
def resample(maps_NHWC: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """[N, *grid, C] float32, bilinear between cell centres; the same array where the grid is the same."""
    if maps_NHWC.shape[1:3] == tuple(grid):
        return maps_NHWC
    maps = torch.from_numpy(np.ascontiguousarray(maps_NHWC.transpose(0, 3, 1, 2), dtype=np.float32))
    return F.interpolate(maps, size=grid, mode="bilinear", antialias=True).permute(0, 2, 3, 1).contiguous().numpy()


class CrossAttentionAdapter(nn.Module):
    """Cells ask tokens. [N, h, w, D] -> [N, H, W, C]; zero before training. Size grows with `width` and `depth`."""

    def __init__(
        self,
        tokens: tuple[int, int, int],
        latents: tuple[int, int, int],
        *,
        width: int = 64,
        depth: int = 1,
        heads: int = 4,
    ) -> None:
        super().__init__()
        h, w, features = tokens
        self.latents = latents
        self.project = nn.Linear(features, width)
        self.place_of_token = nn.Parameter(0.02 * torch.randn(h * w, width))
        self.queries = nn.Parameter(0.02 * torch.randn(latents[0] * latents[1], width))
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(width, heads, 2 * width, dropout=0.1, batch_first=True, norm_first=True)
            for _ in range(depth)
        )
        self.out = nn.Sequential(nn.LayerNorm(width), last := nn.Linear(width, latents[2]))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, tokens_NhwD: torch.Tensor) -> torch.Tensor:
        memory = self.project(tokens_NhwD.flatten(1, 2)) + self.place_of_token
        cells = self.queries.expand(len(memory), -1, -1)
        for layer in self.layers:
            cells = layer(cells, memory)
        return self.out(cells).unflatten(1, self.latents[:2])


@dataclass(frozen=True)
class LatentProbe:
    """Mean latent + linear map + attention."""

    mean: np.ndarray  # [H, W, C]: the baseline, too
    scale: np.ndarray  # [C]
    linear: BlockRidge | None
    adapter: nn.Module
    standardiser: Standardiser
    history: TrainingHistory
    device: str

    def predict(self, tokens_NhwD: np.ndarray) -> np.ndarray:
        """[N, H, W, C] float32, in the latents' own units."""
        x = self.standardiser.apply(tokens_NhwD).astype(np.float32)
        z = predict(self.adapter, x, device=self.device)
        if self.linear is not None:
            z = z + self.linear.predict(x)
        return (z * self.scale + self.mean).astype(np.float32)

    @property
    def parameters(self) -> int:
        return parameter_count(self.adapter) + (self.linear.ridge.parameters if self.linear else 0)


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
    epochs: int = 100,
    patience: int = 15,
    lr: float = 1e-3,
    batch_size: int = 16,
    weight_decay: float = 0.0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> LatentProbe:
    """Fit the adapter by squared error on standardised latents. `linear=False` leaves attention alone with the mean."""
    standardiser = Standardiser.fit(tokens_train.reshape(-1, tokens_train.shape[-1]))
    x_train, x_val = (standardiser.apply(tokens).astype(np.float32) for tokens in (tokens_train, tokens_val))
    mean, scale = latent_statistics(latents_train)
    z_train, z_val = (((latents - mean) / scale).astype(np.float32) for latents in (latents_train, latents_val))
    base = fit_block_ridge(x_train, z_train, x_val, z_val) if linear else None
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
        epochs=epochs,
        patience=patience,
        lr=lr,
        batch_size=batch_size,
        weight_decay=weight_decay,
        device=device,
        progress=progress,
    )
    return LatentProbe(mean, scale, base, adapter, standardiser, history, device)


def latent_statistics(latents_train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Train's mean latent [H, W, C] (the baseline) and each channel's deviation from it [C] (1 where there is none)."""
    mean = latents_train.mean(0, dtype=np.float64)
    scale = np.sqrt(((latents_train - mean) ** 2).mean((0, 1, 2)))
    return mean.astype(np.float32), np.where(scale > 0, scale, 1.0).astype(np.float32)


def pooled_latent_head(width: int, latents: tuple[int, int, int], hidden: int = 2048) -> nn.Module:
    """H10, the published one: pooled features [N, width] -> MLP hidden-hidden -> latents [N, H, W, C]."""
    cells = math.prod(latents)
    return nn.Sequential(
        nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, cells),
        nn.Unflatten(1, latents),
    )  # fmt: skip
