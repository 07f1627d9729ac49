"""The fused encoder (H12): two encoders' tokens of one picture become one grid of tokens, and three heads read it.

Two streams come in, alike in grid and width (`fused_system` makes them so): a system that is given one stream twice has
exactly the weights of one that is given two. A fused token is both streams' tokens of its cell, plus what a strategy
makes of all of them; the last layer of that starts at zero, so training starts from the two side by side. The strategy
is the one replaceable part, `STRATEGIES`: for `cross_attention` every cell asks all tokens of both streams (at 224 px
that is 64 queries, as published). Tokens are those of the picture alone, a whole grid: nothing is padded, so there is
nothing to mask.

The heads are those of other studies: latents for the video model's frozen decoder (`latents`), a set of boxes (H5,
`box_sets`), objects of every class (H7 or the dense head, `detectors`).

Streams a, b [N, h, w, C], fused tokens [N, h, w, 2 C], latents [N, H, W, Z]; K slots for boxes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from foresight.probes.box_sets import GlimpseHead, box_set_loss
from foresight.probes.detectors import DenseDetector, DetectionTransformer, position_code
from foresight.probes.latents import CrossAttentionAdapter

_HEADS = 4  # of attention


class CrossAttention(nn.Module):
    """Every cell asks all tokens of both streams, `layers` times. Two [N, h, w, C] -> [N, h, w, hidden]."""

    def __init__(self, width: int, *, hidden: int, layers: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.ask = nn.Linear(2 * width, hidden)
        self.tell = nn.ModuleList(nn.Linear(width, hidden) for _ in range(2))
        self.stream = nn.Parameter(0.02 * torch.randn(2, hidden))
        self.layers = nn.ModuleList(_Layer(hidden, dropout) for _ in range(layers))

    def forward(self, a_NhwC: torch.Tensor, b_NhwC: torch.Tensor) -> torch.Tensor:
        cells, tokens = self._start(a_NhwC, b_NhwC)
        for layer in self.layers:
            cells = layer(cells, tokens)[0]
        return cells.unflatten(1, a_NhwC.shape[1:3])

    def shares(self, a_NhwC: torch.Tensor, b_NhwC: torch.Tensor) -> torch.Tensor:
        """[N, layers]: how much of the attention goes to stream a, mean over cells; b gets the rest."""
        cells, tokens = self._start(a_NhwC, b_NhwC)
        found = []
        for layer in self.layers:
            cells, weights_NTS = layer(cells, tokens, weigh=True)
            found.append(weights_NTS[..., : tokens.shape[1] // 2].sum(-1).mean(1))
        return torch.stack(found, 1)

    def _start(self, a_NhwC: torch.Tensor, b_NhwC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h, w = a_NhwC.shape[1:3]
        where = position_code(h, w, self.stream.shape[-1], self.stream)
        cells = self.ask(torch.cat([a_NhwC, b_NhwC], -1)).flatten(1, 2) + where
        both = (a_NhwC, b_NhwC)
        tokens = [
            tell(x).flatten(1, 2) + where + name for tell, x, name in zip(self.tell, both, self.stream, strict=True)
        ]
        return cells, torch.cat(tokens, 1)


class _Layer(nn.Module):
    """Attention to the tokens and an MLP, each after a norm and with a residual."""

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        self.before_attention, self.before_mlp = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.attention = nn.MultiheadAttention(hidden, _HEADS, dropout=dropout, batch_first=True)
        self.mlp = nn.Sequential(
            nn.Linear(hidden, 2 * hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * hidden, hidden)
        )

    def forward(
        self, cells: torch.Tensor, tokens: torch.Tensor, *, weigh: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        seen, weights = self.attention(self.before_attention(cells), tokens, tokens, need_weights=weigh)
        cells = cells + seen
        return cells + self.mlp(self.before_mlp(cells)), weights


STRATEGIES: Mapping[str, type[nn.Module]] = {"cross_attention": CrossAttention}
"""How two streams become one: `strategy(width, hidden=, layers=)`, two [N, h, w, C] -> [N, h, w, hidden]."""


class FusedEncoder(nn.Module):
    """Two [N, h, w, C] -> [N, h, w, 2 C]: both side by side, and what the strategy adds, which is nothing at first."""

    def __init__(self, width: int, *, strategy: str, hidden: int, layers: int) -> None:
        super().__init__()
        self.strategy = STRATEGIES[strategy](width, hidden=hidden, layers=layers)
        self.add = nn.Sequential(nn.LayerNorm(hidden), last := nn.Linear(hidden, 2 * width))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, a_NhwC: torch.Tensor, b_NhwC: torch.Tensor) -> torch.Tensor:
        return torch.cat([a_NhwC, b_NhwC], -1) + self.add(self.strategy(a_NhwC, b_NhwC))


Made = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # latents [N, H, W, Z], slots [N, K, 5], and what objects need


class FusionNet(nn.Module):
    """The fusion and its heads. `shape` says all that is needed to build it again (`FusionSystem.load`).

    Inputs are both streams in one row a picture, targets all three in one row: the trainer takes one array of each.
    """

    def __init__(self, shape: Mapping[str, Any], objectness: np.ndarray | None = None) -> None:
        super().__init__()
        self.shape = shape
        grid, width, parts = tuple(shape["grid"]), shape["width"], shape["parts"]
        self.encoder = FusedEncoder(width, **shape["encoder"])
        self.latents = CrossAttentionAdapter((*grid, 2 * width), tuple(shape["latents"]), **shape["adapter"])
        start = np.zeros((2 * width + 1, parts**2)) if objectness is None else objectness
        self.boxes = GlimpseHead(2 * width, start, shape["slots"], shape["reach"])
        detector, classes = dict(shape["detector"]), len(shape["category_ids"])
        self.objects: DenseDetector | DetectionTransformer
        if detector.pop("kind", "transformer") == "dense":
            self.objects = DenseDetector(2 * width, classes, grid, parts=parts, **detector)
        else:
            self.objects = DetectionTransformer(2 * width, classes, **detector)

    def forward(self, streams_NF: torch.Tensor) -> Made:
        return self.read(*streams_NF.unflatten(1, (2, *self.shape["grid"], self.shape["width"])).unbind(1))

    def read(self, a_NhwC: torch.Tensor, b_NhwC: torch.Tensor) -> Made:
        fused = self.encoder(a_NhwC, b_NhwC)
        return self.latents(fused), self.boxes(fused), self.objects(fused)

    def loss(self, made: Made, targets_NF: torch.Tensor) -> torch.Tensor:
        """Squared error of standardised latents, plus the losses of both other heads, weighed by `loss`."""
        cells, slots = math.prod(self.shape["latents"]), self.shape["slots"] * 5
        latents, boxes, objects = targets_NF.split([cells, slots, targets_NF.shape[1] - cells - slots], 1)
        losses = (
            F.mse_loss(made[0].flatten(1), latents),
            box_set_loss(made[1], boxes.unflatten(1, (-1, 5))),
            self.objects.loss(made[2], objects.unflatten(1, (-1, 6))),
        )
        return torch.stack([weight * one for weight, one in zip(self.shape["loss"], losses, strict=True)]).sum()
