"""Where are the objects, when there are several? Sets of boxes from tokens (H5), and from their mean (H3, H4).

Every head has K slots, each a box and whether there is one; which slot finds which object is nobody's business: targets
are matched to slots by the Hungarian algorithm (Kuhn 1955) before the loss is taken, as in DETR (Carion et al. 2020),
and a slot that got no object learns that it has none.

H5 looks K times. Each token says, through learned queries, how much each of s x s parts of its cell belongs to an
object; that map is what is attended to. A glimpse starts where most of it is left, slides to the middle of what it
sees, reads a box from mean place, spread and mass there, and blots that box out for the next glimpse. The queries start
from a closed form (the ridge map from a token to the covered parts of its cell), as in `boxes`, and for the same
reason: 100 pictures are enough. Because the map is finer than the tokens, a point with four times the tokens can be
given the same map: then token count decides nothing.

Tokens [N, h, w, D] in raster order; targets [N, K, 5] are boxes [x0, y0, x1, y1] in 0..1 and 1 or 0, padded with
zeros; a head returns the same with a logit in the last place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Unpack

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from torch import nn
from torch.nn import functional as F
from torchvision.ops import generalized_box_iou_loss

from foresight.probes.boxes import cell_centres, corners
from foresight.probes.linear import Standardiser, fit_ridge
from foresight.probes.training import Training, TrainingHistory, parameter_count, predict, seeded, train

_TRAINING: Training = {"epochs": 60, "patience": 15, "batch_size": 32}

View = Literal["tokens", "pooled", "pooled_linear"]

_CORNER = 20.0  # how sharply a gate bends at 0 and 1
_SLIDES = 3  # times that a glimpse moves to the middle of what it sees


class GlimpseHead(nn.Module):
    """H5 for several objects: K glimpses at a map that learned queries make of the tokens.

    `objectness` [D + 1, s * s] is where the queries start: from a token to the covered part of each part of its cell.
    `reach` is how far a glimpse looks at first, in parts of the picture: about half an object's side.
    """

    def __init__(self, width: int, objectness: np.ndarray, slots: int, reach: float, *, hidden: int = 64) -> None:
        super().__init__()
        parts = objectness.shape[1]
        self.parts, self.slots = math.isqrt(parts), slots
        self.objectness: torch.Tensor
        self.register_buffer("objectness", torch.as_tensor(objectness, dtype=torch.float32))
        self.gain, self.threshold = nn.Parameter(torch.tensor(1.3)), nn.Parameter(torch.tensor(0.15))
        self.project = nn.Sequential(nn.Dropout(0.2), nn.Linear(width, hidden), nn.LayerNorm(hidden))
        self.queries = nn.Parameter(0.1 * torch.randn(hidden, parts) / hidden**0.5)
        self.log_reach = nn.Parameter(torch.tensor(math.log(reach)))
        self.read = nn.Linear(4, 4)
        self.correct = nn.Sequential(nn.Linear(6, hidden), nn.GELU(), last := nn.Linear(hidden, 4))
        self.present = nn.Sequential(nn.Linear(6, hidden), nn.GELU(), nn.Linear(hidden, 1))
        with torch.no_grad():  # a flat object of side s has a spread of s / sqrt(12), and the window takes some of it
            self.read.weight.copy_(torch.diag(torch.tensor([1.0, 1, 14**0.5, 14**0.5])))
            self.read.bias.zero_()
            last.weight.zero_()
            last.bias.zero_()

    def look(self, tokens_NhwD: torch.Tensor) -> torch.Tensor:
        """[N, h * s, w * s] in 0..1: how much each part of each cell belongs to an object."""
        n, h, w, _ = tokens_NhwD.shape
        covered = tokens_NhwD @ self.objectness[:-1] + self.objectness[-1]
        seen = self.gain * (covered - self.threshold) + self.project(tokens_NhwD) @ self.queries
        gate = (F.softplus(_CORNER * seen) - F.softplus(_CORNER * (seen - 1))) / _CORNER
        s = self.parts
        return gate.reshape(n, h, w, s, s).permute(0, 1, 3, 2, 4).reshape(n, h * s, w * s)

    def forward(self, tokens_NhwD: torch.Tensor) -> torch.Tensor:
        left_NHW = self.look(tokens_NhwD)
        slots = []
        for _ in range(self.slots):
            features = self._glimpse(left_NHW)
            box = self.read(features[:, :4]) + self.correct(features)
            box = corners(torch.cat([box[:, :2], F.softplus(20 * box[:, 2:]) / 20], 1))
            slots.append(torch.cat([box, self.present(features)], 1))
            left_NHW = left_NHW * (1 - _covered(box.detach(), *left_NHW.shape[1:]))
        return torch.stack(slots, 1)

    def _glimpse(self, left_NHW: torch.Tensor) -> torch.Tensor:
        """[N, 6] of the object where most is left: mean place (x, y), spread (x, y), root of its mass, its peak."""
        _, height, width = left_NHW.shape
        x_W, y_H = cell_centres(width, left_NHW), cell_centres(height, left_NHW)
        around = F.avg_pool2d(left_NHW[:, None], 3, 1, 1).flatten(1)
        peak, start = around.max(1, keepdim=True)
        middle_x, middle_y = x_W[start % width], y_H[start // width]
        with torch.no_grad():  # where to look is found, not learned; what is seen there is learned
            for _ in range(_SLIDES - 1):
                seen = self._window(left_NHW, middle_x, middle_y)
                middle_x, middle_y = _mean(seen.sum(1), x_W), _mean(seen.sum(2), y_H)
        seen = self._window(left_NHW, middle_x, middle_y)
        columns, rows = seen.sum(1), seen.sum(2)
        middle_x, middle_y = _mean(columns, x_W), _mean(rows, y_H)
        spread_x = (_mean(columns, (x_W - middle_x).square()) + 1e-6).sqrt()
        spread_y = (_mean(rows, (y_H - middle_y).square()) + 1e-6).sqrt()
        mass = rows.sum(1, keepdim=True) / (height * width)
        return torch.cat([middle_x, middle_y, spread_x, spread_y, mass.sqrt(), peak], 1)

    def _window(self, left_NHW: torch.Tensor, middle_x: torch.Tensor, middle_y: torch.Tensor) -> torch.Tensor:
        """What is left, seen through a Gaussian window of this reach."""
        along = [
            torch.exp(-(cell_centres(cells, left_NHW) - middle).square() / (2 * (2 * self.log_reach).exp()))
            for cells, middle in zip(left_NHW.shape[1:], (middle_y, middle_x), strict=True)
        ]
        return (left_NHW + 1e-6) * along[0][:, :, None] * along[1][:, None, :]


class PooledBoxSetHead(nn.Module):
    """H4 (`hidden` None: one linear map, as published) or H3 (an MLP) on the mean token. [N, h, w, D] -> [N, K, 5]."""

    def __init__(self, width: int, slots: int, hidden: int | None) -> None:
        super().__init__()
        wide = [nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()] if hidden else []
        self.layers = nn.Sequential(*wide, nn.Linear(hidden or width, slots * 5), nn.Unflatten(1, (slots, 5)))

    def forward(self, tokens_NhwD: torch.Tensor) -> torch.Tensor:
        made = self.layers(tokens_NhwD.mean((1, 2)))
        return torch.cat([corners(made[..., :4].sigmoid()), made[..., 4:]], -1)


@dataclass(frozen=True)
class BoxSetProbe:
    """A trained head with the standardisation that it was trained behind."""

    head: nn.Module
    standardiser: Standardiser
    history: TrainingHistory
    device: str

    def predict(self, tokens_NhwD: np.ndarray) -> list[np.ndarray]:
        """For each picture [n, 4]: the boxes of the slots that say there is one, at least the surest."""
        slots = predict(self.head, self.standardiser.apply32(tokens_NhwD), device=self.device)
        return [boxes[(boxes[:, 4] > 0) | (boxes[:, 4] == boxes[:, 4].max())][:, :4] for boxes in slots]

    @property
    def parameters(self) -> int:
        return parameter_count(self.head)


def fit_box_set_probe(
    tokens_train: np.ndarray,
    targets_train: np.ndarray,
    tokens_val: np.ndarray,
    targets_val: np.ndarray,
    *,
    seed: int,
    view: View = "tokens",
    parts: int = 4,
    hidden: int | None = None,
    device: str = "cpu",
    **training: Unpack[Training],
) -> BoxSetProbe:
    """H5 on the token grid (`tokens`, a map of `parts` x `parts` a token), H3 (`pooled`) or H4 (`pooled_linear`).

    `targets` [N, K, 5] as in `foresight.data.objects.padded_boxes`. Standardised with train's statistics; validation
    stops the training; the same seed gives the same probe on the CPU.
    """
    standardiser = Standardiser.fit(tokens_train.reshape(-1, tokens_train.shape[-1]))
    x_train, x_val = (standardiser.apply32(tokens) for tokens in (tokens_train, tokens_val))
    width, slots = x_train.shape[-1], targets_train.shape[1]
    with seeded(seed):
        head: nn.Module
        if view == "tokens":
            start = objectness_of(x_train, targets_train, x_val, targets_val, parts)
            head = GlimpseHead(width, start, slots, half_side(targets_train), hidden=hidden or 64)
        else:
            head = PooledBoxSetHead(width, slots, None if view == "pooled_linear" else hidden or 512)
    history = train(
        head,
        box_set_loss,
        (x_train, targets_train),
        (x_val, targets_val),
        seed=seed,
        device=device,
        **(_TRAINING | {"lr": 5e-3 if view == "tokens" else 1e-3} | training),
    )
    return BoxSetProbe(head, standardiser, history, device)


def box_set_loss(predicted_NK5: torch.Tensor, true_NK5: torch.Tensor) -> torch.Tensor:
    """Smooth-L1 plus GIoU of matched slots, mean over objects, and whether each slot has one, mean over slots."""
    there = true_NK5[..., 4] > 0
    picture, slot, target = match(predicted_NK5[..., :4], true_NK5[..., :4], there)
    mine, theirs = predicted_NK5[picture, slot, :4], true_NK5[picture, target, :4]
    wanted = torch.zeros_like(predicted_NK5[..., 4])
    wanted[picture, slot] = 1
    near = F.smooth_l1_loss(mine, theirs, beta=0.05)
    overlap = generalized_box_iou_loss(mine, theirs, reduction="mean")
    return 1.25 * near + overlap + 0.5 * F.binary_cross_entropy_with_logits(predicted_NK5[..., 4], wanted)


@torch.no_grad()
def match(
    predicted_NK4: torch.Tensor, true_NM4: torch.Tensor, there_NM: torch.Tensor, cost_NKM: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(picture, slot, object) of every matched pair, each [pairs]; the cost is 5 L1 - 2 GIoU, plus `cost_NKM` if given.

    Raises `ValueError` where a picture has more objects than there are slots.
    """
    slots, pairs = predicted_NK4.shape[1], []
    cost = 5 * torch.cdist(predicted_NK4, true_NM4, p=1) - 2 * _overlap(predicted_NK4, true_NM4)
    table = (cost if cost_NKM is None else cost + cost_NKM).cpu().numpy()
    for picture, here in enumerate(there_NM.cpu().numpy()):
        objects = np.flatnonzero(here)
        if len(objects) > slots:
            raise ValueError(f"{len(objects)} objects cannot be matched to {slots} slots")
        chosen, to = linear_sum_assignment(table[picture][:, objects])
        pairs += [(picture, a, objects[b]) for a, b in zip(chosen, to, strict=True)]
    index = torch.as_tensor(np.array(pairs).reshape(-1, 3), device=predicted_NK4.device)
    return index[:, 0], index[:, 1], index[:, 2]


def constant_boxes(targets_train: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Boxes that look at nothing, the same for every picture: `mean_box` [1, 4], and `typical_boxes` [K, 4].

    The latter are the centres of K clusters of train's boxes, as many as a head has slots, all of them claimed: of
    what knows nothing of a picture, this is what overlaps its objects well.
    """
    boxes = targets_train[targets_train[..., 4] > 0][:, :4]
    slots = min(targets_train.shape[1], len(np.unique(boxes, axis=0)))
    clusters = KMeans(slots, n_init=4, random_state=seed).fit(boxes)
    return {"mean_box": boxes.mean(0, keepdims=True), "typical_boxes": clusters.cluster_centers_}


def covered_parts(targets_NK5: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """[N, *grid] in 0..1: the part of each cell that any object's box covers."""
    boxes, there = torch.as_tensor(targets_NK5[..., :4]), targets_NK5[..., 4]
    covered = _covered(boxes.flatten(0, 1), *grid).unflatten(0, there.shape).numpy()
    return (covered * there[..., None, None]).sum(1).clip(0, 1)


def objectness_of(
    x_train: np.ndarray, targets_train: np.ndarray, x_val: np.ndarray, targets_val: np.ndarray, parts: int
) -> np.ndarray:
    """[D + 1, s * s]: ridge from a token to the covered part of each part of its cell, as plain weights and biases."""
    _, h, w, width = x_train.shape

    def parts_of(targets: np.ndarray) -> np.ndarray:
        fine = covered_parts(targets, (h * parts, w * parts)).reshape(-1, h, parts, w, parts)
        return fine.transpose(0, 1, 3, 2, 4).reshape(-1, parts * parts)

    y_train, y_val = parts_of(targets_train), parts_of(targets_val)
    return fit_ridge(x_train.reshape(-1, width), y_train, x_val.reshape(-1, width), y_val).affine()


def half_side(targets: np.ndarray) -> float:
    """Half of the mean side of the boxes in `targets` [N, K, 5]: how far a glimpse looks at first."""
    boxes = targets[targets[..., 4] > 0]
    return float(np.mean(boxes[:, 2:4] - boxes[:, :2])) / 2


def _covered(boxes_N4: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """[N, height, width] in 0..1: the part of each cell that the box covers."""

    def along(low: torch.Tensor, high: torch.Tensor, cells: int) -> torch.Tensor:
        edges = torch.arange(cells + 1, device=low.device, dtype=low.dtype) / cells
        overlap = torch.minimum(edges[1:], high[:, None]) - torch.maximum(edges[:-1], low[:, None])
        return overlap.clamp(min=0) * cells

    x0, y0, x1, y1 = boxes_N4.unbind(1)
    return along(y0, y1, height)[:, :, None] * along(x0, x1, width)[:, None, :]


def _overlap(a_NK4: torch.Tensor, b_NM4: torch.Tensor) -> torch.Tensor:
    """[N, K, M]: GIoU of every a with every b of the same picture."""
    a, b = a_NK4[:, :, None], b_NM4[:, None]
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    area_a, area_b = ((box[..., 2:] - box[..., :2]).clamp(min=0).prod(-1) for box in (a, b))
    union = area_a + area_b - shared
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).prod(-1)
    return shared / (union + 1e-9) - (hull - union) / (hull + 1e-9)


def _mean(weights_NT: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """[N, 1]: weighted mean of values [T] or [N, T]."""
    return (weights_NT * values).sum(1, keepdim=True) / weights_NT.sum(1, keepdim=True)
