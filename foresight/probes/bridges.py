"""Adapters from tokens to latents (H11) of four architectures, each of as many weights as one asks for.

    query       every cell asks all tokens: `latents.CrossAttentionAdapter`
    bottleneck  a cell sees the tokens around it alone, through an MLP with residuals: no attention
    low_rank    one linear map from all tokens to all cells, of low rank
    perceiver   a few learned vectors ask the tokens, and the cells ask them

A size is the count of the numbers that training may change, and no name. `build` finds the width that makes it, or
raises: what is called 10 M weights has 10 M. An architecture grows by `width`, in steps of its heads; what is left over
goes into the units of its MLPs. A low rank grows by whole ranks, which are coarse, so it is built first and the others
to its count (`alike`).

Every adapter normalises each token first and predicts nothing before training, which is the mean latent. Tokens
[N, h, w, D], latents [N, H, W, C].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from foresight.probes.latents import CrossAttention, CrossAttentionAdapter
from foresight.probes.training import parameter_count, seeded

HEADS = 4
SIZE_TOLERANCE, MATCH_TOLERANCE = 0.10, 0.05

Shape = tuple[int, int, int]


def query(tokens: Shape, latents: Shape, width: int, hidden: int, *, depth: int, dropout: float) -> nn.Module:
    return CrossAttentionAdapter(tokens, latents, width=width, depth=depth, hidden=hidden, dropout=dropout)


class Bottleneck(nn.Module):
    """A cell from the tokens around it, interpolated, and from its place."""

    def __init__(self, tokens: Shape, latents: Shape, width: int, hidden: int, *, depth: int, dropout: float) -> None:
        super().__init__()
        self.grid = latents[:2]
        self.project = nn.Linear(tokens[2], width)
        self.place_of_cell = nn.Parameter(0.02 * torch.randn(math.prod(self.grid), width))
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, hidden),
                nn.GELU(),
                nn.Dropout(dropout),
                nn.Linear(hidden, width),
                nn.Dropout(dropout),
            )
            for _ in range(depth)
        )
        self.out = _out(width, latents[2])

    def forward(self, tokens_NhwD: torch.Tensor) -> torch.Tensor:
        cells = _around(self.project(tokens_NhwD), self.grid) + self.place_of_cell
        for layer in self.layers:
            cells = cells + layer(cells)
        return self.out(cells).unflatten(1, self.grid)


class LowRank(nn.Module):
    """All cells from all tokens, linearly: [h w D] -> rank -> [H W C]."""

    def __init__(self, tokens: Shape, latents: Shape, rank: int) -> None:
        super().__init__()
        self.shape = latents
        self.down = nn.Linear(math.prod(tokens), rank, bias=False)
        self.up = nn.Linear(rank, math.prod(latents), bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, tokens_NhwD: torch.Tensor) -> torch.Tensor:
        return self.up(self.down(tokens_NhwD.flatten(1))).unflatten(1, self.shape)


class Perceiver(nn.Module):
    """`vectors` learned ones ask the tokens, `depth` times, and then the cells ask them."""

    def __init__(
        self,
        tokens: Shape,
        latents: Shape,
        width: int,
        hidden: int,
        *,
        depth: int,
        dropout: float,
        vectors: int = 64,
    ) -> None:
        super().__init__()
        self.grid = latents[:2]
        self.project = nn.Linear(tokens[2], width)
        self.place_of_token = nn.Parameter(0.02 * torch.randn(math.prod(tokens[:2]), width))
        self.place_of_cell = nn.Parameter(0.02 * torch.randn(math.prod(self.grid), width))
        self.vectors = nn.Parameter(0.02 * torch.randn(vectors, width))
        self.ask = nn.ModuleList(CrossAttention(width, HEADS, hidden=hidden, dropout=dropout) for _ in range(depth))
        self.answer = CrossAttention(width, HEADS, hidden=hidden, dropout=dropout)
        self.out = _out(width, latents[2])

    def forward(self, tokens_NhwD: torch.Tensor) -> torch.Tensor:
        memory = self.project(tokens_NhwD).flatten(1, 2) + self.place_of_token
        found = self.vectors.expand(len(memory), -1, -1)
        for layer in self.ask:
            found = layer(found, memory)
        cells = self.answer(self.place_of_cell.expand(len(memory), -1, -1), found)
        return self.out(cells).unflatten(1, self.grid)


_GROWN: Mapping[str, Callable[..., nn.Module]] = {"query": query, "bottleneck": Bottleneck, "perceiver": Perceiver}
ARCHITECTURES = (*_GROWN, "low_rank")


def build(
    architecture: str,
    weights: int,
    tokens: Shape,
    latents: Shape,
    *,
    seed: int,
    depth: int = 1,
    dropout: float = 0.1,
    within: float = SIZE_TOLERANCE,
) -> nn.Module:
    """An untrained adapter of `weights` weights. Raises `ValueError` if none comes `within` that share of them."""
    if architecture not in ARCHITECTURES:
        raise ValueError(f"there is no architecture {architecture!r}; there are {', '.join(ARCHITECTURES)}")

    def made(width: int, hidden: int | None = None) -> nn.Module:
        if architecture == "low_rank":
            net: nn.Module = LowRank(tokens, latents, width)
        else:
            units = 2 * width if hidden is None else hidden
            net = _GROWN[architecture](tokens, latents, width, units, depth=depth, dropout=dropout)
        return nn.Sequential(nn.LayerNorm(tokens[2]), net)

    def count(width: int, hidden: int | None = None) -> int:
        with torch.device("meta"):
            return parameter_count(made(width, hidden))

    step = 1 if architecture == "low_rank" else HEADS
    width = step * max(1, _last(lambda steps: count(step * steps) <= weights))
    if architecture == "low_rank":
        width = min((width, width + 1), key=lambda rank: abs(count(rank) - weights))
        chosen: tuple[int, ...] = (width,)
    else:
        units = max(1, _last(lambda units: count(width, units) <= weights))
        chosen = (width, min((units, units + 1), key=lambda units: abs(count(width, units) - weights)))
    if abs(count(*chosen) / weights - 1) > within:
        raise ValueError(
            f"no {architecture} adapter from {tokens} to {latents} has {weights:,} weights within {within:.0%}; "
            f"the nearest has {count(*chosen):,}"
        )
    with seeded(seed):
        return made(*chosen)


def alike(
    architectures: Sequence[str], weights: int, tokens: Shape, latents: Shape, *, seed: int, depth: int, dropout: float
) -> dict[str, nn.Module]:
    """One of each, all of as many weights within `MATCH_TOLERANCE`: about `weights`, which the coarsest one decides."""
    if "low_rank" in architectures:
        rank = build("low_rank", weights, tokens, latents, seed=seed, within=math.inf)
        weights = parameter_count(rank)
    return {
        name: build(name, weights, tokens, latents, seed=seed, depth=depth, dropout=dropout, within=MATCH_TOLERANCE / 2)
        for name in architectures
    }


def operations(net: nn.Module, tokens: Shape) -> int:
    """Floating point operations of one picture. Unlike seconds they are the same on every machine."""
    net.eval()
    device = next(net.parameters()).device
    with FlopCounterMode(display=False) as counter:  # with gradients on: attention's fast path is not counted
        net(torch.zeros(1, *tokens, device=device))
    return counter.get_total_flops()


def in_words(weights: int) -> str:
    """`1.7k`, `9.98M`: three digits."""
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if weights >= unit:
            return f"{weights / unit:.3g}{name}"
    return str(weights)


def _around(memory_NhwC: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """[N, H W, C]: for each cell what the tokens around it say, bilinear."""
    return F.interpolate(memory_NhwC.permute(0, 3, 1, 2), size=grid, mode="bilinear").flatten(2).transpose(1, 2)


def _out(width: int, channels: int) -> nn.Module:
    last = nn.Linear(width, channels)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.LayerNorm(width), last)


def _last(holds: Callable[[int], bool]) -> int:
    """The largest number for which `holds`, which holds up to some number and no further; 0 if not for 1."""
    high = 1
    while holds(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
