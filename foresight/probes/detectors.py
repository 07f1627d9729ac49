"""What is where: heads that find objects of several classes, trained with background (e_q2_4).

Two of them, with one interface, so that the same head can be put on every extraction point:

- `DetectionTransformer` (H7) is DETR (Carion et al. 2020) on given tokens: 6 + 6 layers, 256 wide, 20 queries, targets
  matched by the Hungarian algorithm, 5 L1 + 2 GIoU + cross entropy in which background weighs .1, the loss taken after
  every decoder layer. Positions are sines of the place on the grid that the tokens have, scaled to a whole turn (2 pi)
  across it, and are added wherever attention looks for a place. It needs a GPU and thousands of pictures.
- `DenseDetector` fits in seconds on a laptop: each part of each token's cell says of every class whether an object of
  it is there, and where its four sides are (FCOS, Tian et al. 2019); overlapping answers are thinned out at the end.
  Cells outside all boxes are trained to say "nothing" in every class.

Tokens [N, h, w, D] in raster order; targets [N, M, 6] are boxes [x0, y0, x1, y1] in 0..1, the index of the class, and
1 or 0, padded with zeros. C classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Unpack

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.ops import batched_nms, generalized_box_iou_loss, sigmoid_focal_loss

from foresight.data.objects import Objects
from foresight.metrics.detection import MOST_DETECTIONS, Detections
from foresight.probes.box_sets import match
from foresight.probes.boxes import cell_centres
from foresight.probes.linear import Standardiser
from foresight.probes.training import Training, TrainingHistory, parameter_count, predict, seeded, train

_TRAINING_OF: dict[str, Training] = {
    "transformer": {"lr": 1e-4, "largest_gradient": 0.1},
    "dense": {"lr": 5e-3},
}
_TRAINING: Training = {"epochs": 100, "patience": 20, "batch_size": 16, "weight_decay": 0.01}

Kind = Literal["dense", "transformer"]


class DenseDetector(nn.Module):
    """[N, h, w, D] -> [N, h * s * w * s, C + 4] for one grid (h, w): class logits and a box for each part of a cell."""

    def __init__(self, width: int, classes: int, grid: tuple[int, int], *, parts: int = 4, hidden: int = 32) -> None:
        super().__init__()
        self.grid = (grid[0] * parts, grid[1] * parts)
        self.project = nn.Sequential(nn.Linear(width, hidden * parts**2), nn.Unflatten(-1, (parts, parts, hidden)))
        self.layers = nn.Sequential(
            nn.GroupNorm(4, hidden),
            nn.GELU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.GroupNorm(4, hidden),
            nn.GELU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.GELU(),
        )
        self.name, self.place = nn.Conv2d(hidden, classes, 1), nn.Conv2d(hidden, 4, 1)
        with torch.no_grad():  # at first everything is background, as nearly all is, and every object a tenth wide
            self.name.bias.fill_(-math.log(99))  # type: ignore[union-attr]
            self.place.weight.zero_()
            self.place.bias.fill_(math.log(0.1))  # type: ignore[union-attr]

    def forward(self, tokens_NhwD: torch.Tensor) -> torch.Tensor:
        n, h, w, _ = tokens_NhwD.shape
        cells = self.project(tokens_NhwD)  # [N, h, w, s, s, C]
        s = cells.shape[3]
        fine = self.layers(cells.permute(0, 5, 1, 3, 2, 4).reshape(n, -1, h * s, w * s))
        places = _places(*self.grid, fine)
        sides = self.place(fine).flatten(2).transpose(1, 2).clamp(max=0.7).exp()
        boxes = torch.cat([places - sides[..., :2], places + sides[..., 2:]], -1)
        return torch.cat([self.name(fine).flatten(2).transpose(1, 2), boxes], -1)

    def loss(self, made_NTC: torch.Tensor, targets_NM6: torch.Tensor) -> torch.Tensor:
        """Focal loss over all cells and classes, and GIoU where a cell answers for an object; per object."""
        cells, places = made_NTC.shape[1], _places(*self.grid, made_NTC)
        boxes, classes, there = targets_NM6[..., :4], targets_NM6[..., 4].long(), targets_NM6[..., 5] > 0
        # a cell answers for an object if it lies in the middle half of its box, or is the nearest to its middle
        middle, half = (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]) / 4
        off = (places[None, :, None] - middle[:, None]).abs()
        inside = (off <= half[:, None]).all(-1) & there[:, None]
        nearest = F.one_hot(off.sum(-1).argmin(1), cells).transpose(1, 2).bool() & there[:, None]
        answers = inside | nearest  # [N, T, M]
        size = torch.where(answers, (half[..., 0] * half[..., 1])[:, None], torch.inf)
        owner = size.argmin(-1)  # of two objects a cell answers for the smaller
        wanted = torch.zeros_like(made_NTC[..., :-4])
        picture, cell = torch.nonzero(answers.any(-1), as_tuple=True)
        object_ = owner[picture, cell]
        wanted[picture, cell, classes[picture, object_]] = 1
        n_positive = max(len(cell), 1)
        named = sigmoid_focal_loss(made_NTC[..., :-4], wanted, reduction="sum") / n_positive
        mine, theirs = made_NTC[picture, cell, -4:], boxes[picture, object_]
        return named + generalized_box_iou_loss(mine, theirs, reduction="sum") / n_positive

    def found(self, made_TC: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes, class indices and scores of one picture, thinned out class by class."""
        made = torch.from_numpy(made_TC)
        scores, boxes = made[:, :-4].sigmoid(), made[:, -4:].clamp(0, 1)
        best = scores.flatten().topk(min(4 * MOST_DETECTIONS, scores.numel())).indices
        cell, name = best // scores.shape[1], best % scores.shape[1]
        kept = batched_nms(boxes[cell], scores[cell, name], name, 0.5)[:MOST_DETECTIONS]
        return boxes[cell[kept]].numpy(), name[kept].numpy(), scores[cell[kept], name[kept]].numpy()


class NoDetector(nn.Module):
    """The head of a system that is asked for no objects: [N, h, w, D] -> [N, 0]."""

    def forward(self, tokens_NhwD: torch.Tensor) -> torch.Tensor:
        return tokens_NhwD.flatten(1)[:, :0]

    def loss(self, made_N0: torch.Tensor, targets_NM6: torch.Tensor) -> torch.Tensor:
        return made_N0.sum()

    def found(self, made_0: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of one picture: none."""
        return np.empty((0, 4), np.float32), np.empty(0, np.int64), np.empty(0, np.float32)


class DetectionTransformer(nn.Module):
    """H7: [N, h, w, D] -> [N, layers, Q, C + 1 + 4]: class logits, the last of them background, and boxes.

    In training after each decoder layer, in evaluation after the last alone.
    """

    def __init__(
        self,
        width: int,
        classes: int,
        *,
        layers: int = 6,
        hidden: int = 256,
        queries: int = 20,
        heads: int = 8,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(width, hidden), nn.LayerNorm(hidden))
        self.encoder = nn.ModuleList(_Layer(hidden, heads, dropout, crosses=False) for _ in range(layers))
        self.decoder = nn.ModuleList(_Layer(hidden, heads, dropout, crosses=True) for _ in range(layers))
        self.queries = nn.Parameter(torch.randn(queries, hidden))
        self.norm = nn.LayerNorm(hidden)
        self.name = nn.Linear(hidden, classes + 1)
        self.place = nn.Sequential(
            nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 4)
        )

    def forward(self, tokens_NhwD: torch.Tensor) -> torch.Tensor:
        n, h, w, _ = tokens_NhwD.shape
        tokens = self.project(tokens_NhwD.flatten(1, 2))
        where = position_code(h, w, tokens.shape[-1], tokens)
        for layer in self.encoder:
            tokens = layer(tokens, where)
        queries = self.queries.expand(n, -1, -1)
        state, after = torch.zeros_like(queries), []
        for layer in self.decoder:
            state = layer(state, queries, tokens, where)
            after.append(state)
        states = self.norm(torch.stack(after if self.training else after[-1:], 1))
        centre, size = self.place(states).sigmoid().chunk(2, -1)
        return torch.cat([self.name(states), centre - size / 2, centre + size / 2], -1)

    def loss(self, made_NLQC: torch.Tensor, targets_NM6: torch.Tensor) -> torch.Tensor:
        """5 L1 + 2 GIoU of matched queries per object, and cross entropy of all; mean over layers."""
        losses = [self._loss(made, targets_NM6) for made in made_NLQC.unbind(1)]
        return torch.stack(losses).mean()

    def _loss(self, made_NQC: torch.Tensor, targets_NM6: torch.Tensor) -> torch.Tensor:
        logits, boxes = made_NQC[..., :-4], made_NQC[..., -4:]
        true, classes, there = targets_NM6[..., :4], targets_NM6[..., 4].long(), targets_NM6[..., 5] > 0
        unlike = -logits.softmax(-1).gather(2, classes[:, None].expand(-1, logits.shape[1], -1))
        picture, query, target = match(boxes, true, there, unlike)
        background = logits.shape[-1] - 1
        wanted = torch.full(logits.shape[:2], background, device=logits.device)
        wanted[picture, query] = classes[picture, target]
        weight = torch.ones(background + 1, device=logits.device)
        weight[background] = 0.1
        named = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), weight)
        mine, theirs = boxes[picture, query], true[picture, target]
        near = F.l1_loss(mine, theirs, reduction="none").sum(-1).mean()
        return named + 5 * near + 2 * generalized_box_iou_loss(mine, theirs, reduction="mean")

    def found(self, made_LQC: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes, class indices and scores of one picture: each query's best class that is not background."""
        made = torch.from_numpy(made_LQC[-1])
        scores, name = made[:, :-4].softmax(-1)[:, :-1].max(-1)
        return made[:, -4:].clamp(0, 1).numpy(), name.numpy(), scores.numpy()


class _Layer(nn.Module):
    """Attention to itself, to the tokens if it `crosses`, and an MLP, each with a residual and a norm after it."""

    def __init__(self, hidden: int, heads: int, dropout: float, *, crosses: bool) -> None:
        super().__init__()
        self.own = nn.MultiheadAttention(hidden, heads, dropout, batch_first=True)
        self.cross = nn.MultiheadAttention(hidden, heads, dropout, batch_first=True) if crosses else None
        self.mlp = nn.Sequential(
            nn.Linear(hidden, 4 * hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(4 * hidden, hidden)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: torch.Tensor,
        where: torch.Tensor,
        tokens: torch.Tensor | None = None,
        tokens_where: torch.Tensor | None = None,
    ) -> torch.Tensor:
        placed = x + where
        x = self.norms[0](x + self.dropout(self.own(placed, placed, x, need_weights=False)[0]))
        if self.cross is not None and tokens is not None and tokens_where is not None:
            seen = self.cross(x + where, tokens + tokens_where, tokens, need_weights=False)[0]
            x = self.norms[1](x + self.dropout(seen))
        return self.norms[2](x + self.dropout(self.mlp(x)))


def position_code(h: int, w: int, width: int, like: torch.Tensor) -> torch.Tensor:
    """[h * w, width]: sines and cosines of a cell's row, then of its column, each 0..2 pi across the grid, at
    wavelengths from one grid on (temperature 10,000)."""
    wavelengths = 10_000 ** (torch.arange(width // 4, device=like.device, dtype=like.dtype) / (width // 4))
    codes = []
    for place in _places(h, w, like).flip(-1).unbind(-1):
        angle = 2 * math.pi * place[:, None] / wavelengths
        codes += [angle.sin(), angle.cos()]
    return torch.cat(codes, -1)


@dataclass(frozen=True)
class DetectionProbe:
    """A trained head with the standardisation that it was trained behind and the classes that it knows."""

    head: DenseDetector | DetectionTransformer
    standardiser: Standardiser
    category_ids: tuple[int, ...]
    history: TrainingHistory
    device: str

    def predict(self, tokens_NhwD: np.ndarray) -> list[Detections]:
        """Up to 100 detections a picture."""
        made = predict(self.head, self.standardiser.apply32(tokens_NhwD), device=self.device)
        ids, found = np.array(self.category_ids), []
        for one in made:
            boxes, classes, scores = self.head.found(one)
            sound = np.concatenate([boxes[:, :2], np.maximum(boxes[:, 2:], boxes[:, :2])], 1)
            found.append(Detections(sound, ids[classes], scores))
        return found

    @property
    def parameters(self) -> int:
        return parameter_count(self.head)


def fit_detector(
    tokens_train: np.ndarray,
    objects_train: Sequence[Objects],
    tokens_val: np.ndarray,
    objects_val: Sequence[Objects],
    *,
    category_ids: Sequence[int],
    seed: int,
    kind: Kind = "transformer",
    parts: int = 4,
    hidden: int | None = None,
    layers: int = 6,
    queries: int = 20,
    device: str = "cpu",
    **training: Unpack[Training],
) -> DetectionProbe:
    """H7 (`transformer`: hidden 256, lr 1e-4, gradients clipped at .1) or the dense head (`dense`: hidden 32, lr 5e-3).

    Crowds are not trained on. H7 with fewer queries than a picture has objects is trained on the largest of them.
    """
    standardiser = Standardiser.fit(tokens_train.reshape(-1, tokens_train.shape[-1]))
    x_train, x_val = (standardiser.apply32(tokens) for tokens in (tokens_train, tokens_val))
    ids = tuple(sorted(set(category_ids)))
    _, h, w, width = x_train.shape
    head: DenseDetector | DetectionTransformer
    with seeded(seed):
        if kind == "dense":
            head = DenseDetector(width, len(ids), (h, w), parts=parts, hidden=hidden or 32)
        else:
            head = DetectionTransformer(width, len(ids), layers=layers, hidden=hidden or 256, queries=queries)
    most = None if kind == "dense" else queries
    history = train(
        head,
        head.loss,
        (x_train, detection_targets(objects_train, ids, most)),
        (x_val, detection_targets(objects_val, ids, most)),
        seed=seed,
        device=device,
        **(_TRAINING | _TRAINING_OF[kind] | training),
    )
    return DetectionProbe(head, standardiser, ids, history, device)


def detection_targets(objects: Sequence[Objects], category_ids: Sequence[int], most: int | None = None) -> np.ndarray:
    """float32 [N, M, 6] of what is counted: box, class index, 1; the largest `most` of a picture, largest first."""
    index = {category: number for number, category in enumerate(category_ids)}
    counted = [of.counted for of in objects]
    slots = max(1, *(min(len(of), most or len(of)) for of in counted))
    table = np.zeros((len(objects), slots, 6), dtype=np.float32)
    for row, of in zip(table, counted, strict=True):
        chosen = np.argsort(-of.areas, kind="stable")[:slots]
        row[: len(chosen), :4] = of.boxes[chosen]
        row[: len(chosen), 4] = [index[int(category)] for category in of.category_ids[chosen]]
        row[: len(chosen), 5] = 1
    return table


def _places(height: int, width: int, like: torch.Tensor) -> torch.Tensor:
    """[height * width, 2]: (x, y) of the middle of each cell, in 0..1."""
    y, x = torch.meshgrid(cell_centres(height, like), cell_centres(width, like), indexing="ij")
    return torch.stack([x, y], -1).reshape(-1, 2)
