"""The fused encoder (H12): two encoders' tokens of one picture become one grid of tokens, and three heads read it.

Two streams come in, on one grid (`fused_system` sees to it). Where they are of one width, a system that is given one
stream twice has exactly the weights of one that is given two. A fused token is both streams' tokens of its cell, plus
what a strategy makes of all of them (`strategies`); the last layer of that starts at zero, so training starts from the
two side by side. With `cross_attention` every cell asks all tokens of both streams: at 224 px that is 64 queries, as
published. Tokens are those of the picture alone, a whole grid: nothing is padded, so there is nothing to mask.

The heads are those of other studies: latents for the video model's frozen decoder (`latents`), a set of boxes (H5,
`box_sets`), objects of every class (H7 or the dense head, `detectors`) or of none.

Streams a [N, h, w, A], b [N, h, w, B], fused tokens [N, h, w, A + B], latents [N, H, W, Z]; K slots for boxes.
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
from foresight.probes.detectors import DenseDetector, DetectionTransformer, NoDetector
from foresight.probes.latents import CrossAttentionAdapter
from foresight.probes.strategies import STRATEGIES, Widths


class FusedEncoder(nn.Module):
    """a and b -> [N, h, w, A + B]: both side by side, and what the strategy adds, which is nothing at first."""

    def __init__(self, widths: Widths, *, strategy: str, hidden: int, layers: int, **options: int) -> None:
        super().__init__()
        self.strategy = STRATEGIES[strategy](widths, hidden=hidden, layers=layers, **options)
        self.add = nn.Sequential(nn.LayerNorm(hidden), last := nn.Linear(hidden, sum(widths)))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, a_NhwA: torch.Tensor, b_NhwB: torch.Tensor) -> torch.Tensor:
        return torch.cat([a_NhwA, b_NhwB], -1) + self.add(self.strategy(a_NhwA, b_NhwB))


Made = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # latents [N, H, W, Z], slots [N, K, 5], and what objects need


class FusionNet(nn.Module):
    """The fusion and its heads. `shape` says all that is needed to build it again (`FusionSystem.load`).

    Inputs are both streams side by side, targets all three in one row: the trainer takes one array of each.
    """

    def __init__(self, shape: Mapping[str, Any], objectness: np.ndarray | None = None) -> None:
        super().__init__()
        self.shape = shape
        grid, widths, parts = tuple(shape["grid"]), tuple(shape["widths"]), shape["parts"]
        width = sum(widths)
        self.latents = CrossAttentionAdapter((*grid, width), tuple(shape["latents"]), **shape["adapter"])
        start = np.zeros((width + 1, parts**2)) if objectness is None else objectness
        self.boxes = GlimpseHead(width, start, shape["slots"], shape["reach"])
        detector, classes = dict(shape["detector"]), len(shape["category_ids"])
        kind = detector.pop("kind")
        self.objects: DenseDetector | DetectionTransformer | NoDetector
        if kind == "dense":
            self.objects = DenseDetector(width, classes, grid, parts=parts, **detector)
        elif kind == "none":
            self.objects = NoDetector()
        else:
            self.objects = DetectionTransformer(width, classes, **detector)
        self.encoder = FusedEncoder(widths, **shape["encoder"])  # last: heads start alike whatever the strategy

    def forward(self, both_NhwC: torch.Tensor) -> Made:
        fused = self.encoder(*both_NhwC.split(self.shape["widths"], -1))
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
