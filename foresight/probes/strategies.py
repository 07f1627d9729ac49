"""How two encoders' tokens become one grid of tokens: the one replaceable part of the fused encoder (`fusion`).

A strategy is a module, `strategy((A, B), hidden=, layers=)`, that takes stream a [N, h, w, A] and b [N, h, w, B] to
[N, h, w, hidden]. What tells them apart is what a cell may know of others, and what the streams may do to each other:

    cross_attention  every cell asks all tokens of both streams
    concat_mlp       every cell thinks about its own two tokens, and knows of no other
    film             what b says of a cell scales and shifts what is made of a there (Perez et al. 2018); of no other
    perceiver        a few learned queries ask all tokens, and every cell asks them (Jaegle et al. 2021)

A layer of each has about 8 hidden^2 weights, so that as many layers weigh nearly alike; the perceiver alone has a layer
more, which brings what its queries found back to the cells. S tokens of both streams, h * w of each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from foresight.probes.detectors import position_code

_HEADS = 4  # of attention
_DROPOUT = 0.1

Widths = tuple[int, int]


class CrossAttention(nn.Module):
    """Every cell asks all tokens of both streams, `layers` times. a and b -> [N, h, w, hidden]."""

    def __init__(self, widths: Widths, *, hidden: int, layers: int, dropout: float = _DROPOUT) -> None:
        super().__init__()
        self.start = _Start(widths, hidden)
        self.layers = nn.ModuleList(_Asking(hidden, dropout) for _ in range(layers))

    def forward(self, a_NhwA: torch.Tensor, b_NhwB: torch.Tensor) -> torch.Tensor:
        cells, tokens = self.start(a_NhwA, b_NhwB)
        for layer in self.layers:
            cells = layer(cells, tokens)[0]
        return cells.unflatten(1, a_NhwA.shape[1:3])

    def shares(self, a_NhwA: torch.Tensor, b_NhwB: torch.Tensor) -> torch.Tensor:
        """[N, layers]: how much of the attention goes to stream a, mean over cells; b gets the rest."""
        cells, tokens = self.start(a_NhwA, b_NhwB)
        found = []
        for layer in self.layers:
            cells, weights_NTS = layer(cells, tokens, weigh=True)
            found.append(weights_NTS[..., : tokens.shape[1] // 2].sum(-1).mean(1))
        return torch.stack(found, 1)


class Perceiver(nn.Module):
    """`queries` learned queries ask all tokens, `layers` times, and then every cell asks them: whatever a cell learns
    of others has to pass through so few."""

    def __init__(self, widths: Widths, *, hidden: int, layers: int, queries: int = 64) -> None:
        super().__init__()
        self.start = _Start(widths, hidden)
        self.queries = nn.Parameter(torch.randn(queries, hidden))
        self.layers = nn.ModuleList(_Asking(hidden) for _ in range(layers))
        self.back = _Asking(hidden)

    def forward(self, a_NhwA: torch.Tensor, b_NhwB: torch.Tensor) -> torch.Tensor:
        cells, tokens = self.start(a_NhwA, b_NhwB)
        found = self.queries.expand(len(tokens), -1, -1)
        for layer in self.layers:
            found = layer(found, tokens)[0]
        return self.back(cells, found)[0].unflatten(1, a_NhwA.shape[1:3])


class ConcatMlp(nn.Module):
    """Both tokens of a cell side by side through `layers` residual MLPs."""

    def __init__(self, widths: Widths, *, hidden: int, layers: int) -> None:
        super().__init__()
        self.start = nn.Linear(sum(widths), hidden)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(hidden), *_thinking(hidden, 4 * hidden)) for _ in range(layers)
        )

    def forward(self, a_NhwA: torch.Tensor, b_NhwB: torch.Tensor) -> torch.Tensor:
        cells = self.start(torch.cat([a_NhwA, b_NhwB], -1))
        for layer in self.layers:
            cells = cells + layer(cells)
        return cells


class Film(nn.Module):
    """Cells of stream a, which stream b scales and shifts before each of `layers` residual MLPs."""

    def __init__(self, widths: Widths, *, hidden: int, layers: int) -> None:
        super().__init__()
        self.start = nn.Linear(widths[0], hidden)
        self.tell = nn.Linear(widths[1], hidden)
        self.norms = nn.ModuleList(nn.LayerNorm(hidden, elementwise_affine=False) for _ in range(layers))
        self.change = nn.ModuleList(nn.Linear(hidden, 2 * hidden) for _ in range(layers))
        self.layers = nn.ModuleList(nn.Sequential(*_thinking(hidden, 3 * hidden)) for _ in range(layers))

    def forward(self, a_NhwA: torch.Tensor, b_NhwB: torch.Tensor) -> torch.Tensor:
        cells, said = self.start(a_NhwA), self.tell(b_NhwB)
        for norm, change, layer in zip(self.norms, self.change, self.layers, strict=True):
            scale, shift = change(said).chunk(2, -1)
            cells = cells + layer((1 + scale) * norm(cells) + shift)
        return cells


class _Start(nn.Module):
    """a and b -> cells [N, h * w, hidden], each made of both its tokens, and tokens [N, S, hidden] of either stream;
    all know their place, and tokens their stream."""

    def __init__(self, widths: Widths, hidden: int) -> None:
        super().__init__()
        self.ask = nn.Linear(sum(widths), hidden)
        self.tell = nn.ModuleList(nn.Linear(width, hidden) for width in widths)
        self.stream = nn.Parameter(0.02 * torch.randn(2, hidden))

    def forward(self, a_NhwA: torch.Tensor, b_NhwB: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h, w = a_NhwA.shape[1:3]
        where = position_code(h, w, self.stream.shape[-1], self.stream)
        cells = self.ask(torch.cat([a_NhwA, b_NhwB], -1)).flatten(1, 2) + where
        both = (a_NhwA, b_NhwB)
        tokens = [
            tell(x).flatten(1, 2) + where + name for tell, x, name in zip(self.tell, both, self.stream, strict=True)
        ]
        return cells, torch.cat(tokens, 1)


class _Asking(nn.Module):
    """Attention to the tokens and an MLP, each after a norm and with a residual."""

    def __init__(self, hidden: int, dropout: float = _DROPOUT) -> None:
        super().__init__()
        self.before_attention, self.before_mlp = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.attention = nn.MultiheadAttention(hidden, _HEADS, dropout=dropout, batch_first=True)
        self.mlp = nn.Sequential(*_thinking(hidden, 2 * hidden, dropout))

    def forward(
        self, cells: torch.Tensor, tokens: torch.Tensor, *, weigh: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        seen, weights = self.attention(self.before_attention(cells), tokens, tokens, need_weights=weigh)
        cells = cells + seen
        return cells + self.mlp(self.before_mlp(cells)), weights


def _thinking(hidden: int, wide: int, dropout: float = _DROPOUT) -> list[nn.Module]:
    return [nn.Linear(hidden, wide), nn.GELU(), nn.Dropout(dropout), nn.Linear(wide, hidden)]


STRATEGIES: Mapping[str, Callable[..., nn.Module]] = {
    "cross_attention": CrossAttention,
    "concat_mlp": ConcatMlp,
    "film": Film,
    "perceiver": Perceiver,
}
