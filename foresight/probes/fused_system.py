"""A fused system, trained and frozen: what is done to two encoders' tokens before the net (`fusion`), and after it.

Both streams are first brought to one grid, and each to a given width, without gradient: what a stream has under one
cell of the coarser grid stands side by side and is projected by a PCA fitted on train. So of one width whatever plays
the two parts has the same shape, and what an arm with two streams gains over one that has a stream twice is the other
stream's and not its size's.
Latents have a linear map in closed form (`latents.CellRidge`) from both streams side by side, and the net for the rest.

The three heads are trained together with the fusion, by one loss, and stopped by one validation loss. A system is saved
as safetensors, whole: weights, projections, statistics, and what it was trained on as JSON; no pickle. What is loaded
reads the same to the last bit.

Streams a [N, h, w, A], b [N, h, w, B], both side by side [N, h, w, A + B], latents [N, H, W, Z]; K slots for boxes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as save_tensors

from foresight.data.objects import Objects, padded_boxes
from foresight.errors import StepFailed
from foresight.metrics.detection import Detections
from foresight.metrics.threads import single_thread
from foresight.probes.box_sets import half_side, objectness_of
from foresight.probes.detectors import detection_targets
from foresight.probes.fusion import FusionNet
from foresight.probes.latents import CellRidge, fit_cell_ridge, latent_statistics
from foresight.probes.linear import RidgeProbe, Standardiser
from foresight.probes.projection import Projection, fit_projection, group_tokens
from foresight.probes.strategies import CrossAttention
from foresight.probes.training import Training, TrainingHistory, parameter_count, seeded, train

_TRAINING: Training = {"epochs": 30, "patience": 8, "lr": 3e-3, "batch_size": 16, "weight_decay": 0.01}

BATCH = 64
_FORMAT = 2
_HEADER = "foresight_system"


@dataclass(frozen=True)
class Stream:
    """How one encoder's tokens are brought to the common grid and width; fitted on train."""

    size: int  # tokens each way under a cell of the grid
    projection: Projection
    scale: Standardiser

    @classmethod
    def fit(cls, tokens_train: np.ndarray, grid: Sequence[int], width: int) -> Stream:
        """Raises `ValueError` if the tokens do not divide into the cells of the grid, or have too few features."""
        size = tokens_train.shape[1] // grid[0]
        if size < 1 or tuple(cells * size for cells in grid) != tokens_train.shape[1:3]:
            raise ValueError(f"{tokens_train.shape[1]}x{tokens_train.shape[2]} tokens do not lie on a {grid} grid")
        grouped = group_tokens(tokens_train, size)
        projection = fit_projection(grouped, width)
        return cls(size, projection, Standardiser.fit(projection.apply(grouped).reshape(-1, width)))

    def apply(self, tokens_NhwD: np.ndarray) -> np.ndarray:
        """[N, *grid, C] float32."""
        starts = range(0, len(tokens_NhwD), BATCH)
        batches = [group_tokens(tokens_NhwD[start : start + BATCH], self.size) for start in starts]
        return np.concatenate([self.scale.apply32(self.projection.apply(batch)) for batch in batches])


@dataclass(frozen=True)
class Lesson:
    """Pictures to learn from: streams on one grid, and what is to be read."""

    a: np.ndarray
    b: np.ndarray
    latents: np.ndarray
    objects: Sequence[Objects]  # those that are counted


@dataclass(frozen=True)
class Reading:
    """What a system reads in N pictures."""

    latents: np.ndarray  # [N, H, W, Z], in the latents' own units
    boxes: list[np.ndarray]  # [n, 4] each
    objects: list[Detections]


@dataclass(frozen=True)
class FusionSystem:
    """A trained system, with all that its numbers pass through."""

    net: FusionNet
    streams: tuple[Stream, Stream]
    mean: np.ndarray  # [H, W, Z]: train's mean latent
    scale: np.ndarray  # [Z]
    linear: CellRidge | None  # from both streams side by side to standardised latents
    device: str
    history: TrainingHistory | None = None  # None: it was loaded

    def alike(self, tokens_a: np.ndarray, tokens_b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both streams' tokens [N, ., ., D], each at its own size, as the net takes them."""
        return self.streams[0].apply(tokens_a), self.streams[1].apply(tokens_b)

    @torch.inference_mode()
    def read(self, a_NhwA: np.ndarray, b_NhwB: np.ndarray) -> Reading:
        """Of streams as `alike` gives them."""
        self.net.eval()
        ids, both = np.array(self.net.shape["category_ids"]), np.concatenate([a_NhwA, b_NhwB], -1)
        latents, boxes, objects = [], [], []
        with single_thread():
            for start in range(0, len(both), BATCH):
                part = torch.from_numpy(both[start : start + BATCH]).to(self.device)
                made = [each.cpu().numpy() for each in self.net(part)]
                latents.append(made[0])
                boxes += [of[(of[:, 4] > 0) | (of[:, 4] == of[:, 4].max())][:, :4] for of in made[1]]
                for one in made[2]:
                    corners, names, scores = self.net.objects.found(one)
                    sound = np.concatenate([corners[:, :2], np.maximum(corners[:, 2:], corners[:, :2])], 1)
                    objects.append(Detections(sound, ids[names], scores))
        z = np.concatenate(latents)
        if self.linear is not None:
            z = z + self.linear.predict(both)
        return Reading((z * self.scale + self.mean).astype(np.float32), boxes, objects)

    @torch.inference_mode()
    def attention(self, a_NhwA: np.ndarray, b_NhwB: np.ndarray) -> np.ndarray | None:
        """[N, layers]: the share of attention that goes to stream a. None for a strategy that does not attend."""
        self.net.eval()
        strategy = self.net.encoder.strategy
        if not isinstance(strategy, CrossAttention):
            return None
        with single_thread():
            found = [
                strategy.shares(*(torch.from_numpy(x[start : start + BATCH]).to(self.device) for x in (a_NhwA, b_NhwB)))
                for start in range(0, len(a_NhwA), BATCH)
            ]
        return torch.cat(found).cpu().numpy()

    @property
    def parameters(self) -> dict[str, int]:
        """How many numbers were fitted, by part."""
        parts = {name: parameter_count(part) for name, part in self.net.named_children()}
        return {**parts, "linear": self.linear.parameters if self.linear else 0}

    def save(self, about: Mapping[str, Any]) -> bytes:
        """Everything as safetensors; `about` is JSON that `load` gives back, such as what it was trained on."""
        tensors = {f"net.{name}": value.contiguous() for name, value in self.net.cpu().state_dict().items()}
        self.net.to(self.device)
        arrays: dict[str, np.ndarray] = {"latents.mean": self.mean, "latents.scale": self.scale}
        for name, stream in zip("ab", self.streams, strict=True):
            projection = stream.projection
            arrays |= _arrays(f"stream.{name}.first", projection.standardiser) | {
                f"stream.{name}.axes": projection.axes,
                **_arrays(f"stream.{name}.then", stream.scale),
            }
        for (r, c), ridge in (self.linear.ridges if self.linear else {}).items():
            arrays |= _arrays(f"linear.{r}.{c}", ridge.standardiser)
            arrays |= {f"linear.{r}.{c}.weights": ridge.weights, f"linear.{r}.{c}.intercept": ridge.intercept}
        tensors |= {name: torch.from_numpy(np.array(value, order="C")) for name, value in arrays.items()}
        system = {
            "format": _FORMAT,
            "about": about,
            "shape": self.net.shape,
            "sizes": [stream.size for stream in self.streams],
            "linear": list(self.linear.ridges) if self.linear else None,
        }
        return save_tensors(tensors, {_HEADER: json.dumps(system)})  # one entry: of several the order is not fixed

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> tuple[FusionSystem, dict[str, Any]]:
        """The system that `save` wrote, and its `about`. Raises `StepFailed` if the file is none of ours."""
        try:
            with safe_open(path, "numpy") as file:
                header = file.metadata() or {}
            tensors = load_file(path)
        except SafetensorError as error:
            raise StepFailed(f"{path} is no safetensors file: {error}", cause="needs", retryable=False) from error
        system = json.loads(header.get(_HEADER, "{}"))
        if system.get("format") != _FORMAT:
            raise StepFailed(f"{path} is not a system of format {_FORMAT}", cause="needs", retryable=False)
        net = FusionNet(system["shape"])
        net.load_state_dict({n.removeprefix("net."): value for n, value in tensors.items() if n.startswith("net.")})
        arrays = {name: value.numpy() for name, value in tensors.items() if not name.startswith("net.")}

        def stream(name: str, size: int) -> Stream:
            key = f"stream.{name}"
            projection = Projection(_standardiser(arrays, f"{key}.first"), arrays[f"{key}.axes"], math.nan)
            return Stream(size, projection, _standardiser(arrays, f"{key}.then"))

        ridges = {
            (r, c): RidgeProbe(
                _standardiser(arrays, f"linear.{r}.{c}"),
                arrays[f"linear.{r}.{c}.weights"],
                arrays[f"linear.{r}.{c}.intercept"],
                math.nan,
                {},
            )
            for r, c in system["linear"] or ()
        }
        made = cls(
            net=net.to(device),
            streams=(stream("a", system["sizes"][0]), stream("b", system["sizes"][1])),
            mean=arrays["latents.mean"],
            scale=arrays["latents.scale"],
            linear=CellRidge(ridges, tuple(system["shape"]["latents"][:2])) if ridges else None,
            device=device,
        )
        return made, system["about"]


def fit_fusion(
    streams: tuple[Stream, Stream],
    learn: Lesson,
    validation: Lesson,
    *,
    category_ids: Sequence[int],
    slots: int,
    seed: int,
    strategy: str = "cross_attention",
    hidden: int = 64,
    layers: int = 1,
    options: Mapping[str, int] | None = None,
    parts: int = 4,
    linear: bool | CellRidge = True,
    adapter: Mapping[str, Any] | None = None,
    detector: Mapping[str, Any] | None = None,
    loss: Sequence[float] = (1.0, 1.0, 1.0),
    device: str = "cpu",
    **training: Unpack[Training],
) -> FusionSystem:
    """Train the fusion and its three heads together; `validation` stops it. `streams` made both lessons' a and b.

    `options`: what the strategy alone knows. `adapter`: width and depth of the latents' head. `detector`: kind and
    sizes of the objects' head. `loss`: weights of latents, boxes, objects. `linear`: False leaves out the closed form
    of the latents, and one that was fitted on the same lessons need not be fitted again.
    """
    both, both_val = (np.concatenate([part.a, part.b], -1) for part in (learn, validation))
    mean, scale = latent_statistics(learn.latents)
    z, z_val = (((part.latents - mean) / scale).astype(np.float32) for part in (learn, validation))
    base = linear if isinstance(linear, CellRidge) else fit_cell_ridge(both, z, both_val, z_val) if linear else None
    if base is not None:
        z, z_val = z - base.predict(both), z_val - base.predict(both_val)
    boxes, boxes_val = (padded_boxes(part.objects, slots) for part in (learn, validation))
    ids, head = sorted(set(category_ids)), {"kind": "dense", **(detector or {})}
    most = None if head["kind"] == "dense" else head.get("queries", 20)
    objects = detection_targets([*learn.objects, *validation.objects], ids, most)
    shape = {
        "grid": both.shape[1:3],
        "widths": [learn.a.shape[-1], learn.b.shape[-1]],
        "latents": learn.latents.shape[1:],
        "encoder": {"strategy": strategy, "hidden": hidden, "layers": layers, **(options or {})},
        "adapter": {"width": 64, "depth": 1, **(adapter or {})},
        "slots": slots,
        "parts": parts,
        "reach": half_side(boxes),
        "detector": head,
        "category_ids": ids,
        "loss": list(loss),
    }
    with seeded(seed):
        net = FusionNet(shape, objectness_of(both, boxes, both_val, boxes_val, parts))
    rows = {}
    for part, inputs, *targets in (
        ("train", both, z, boxes, objects[: len(z)]),
        ("validation", both_val, z_val, boxes_val, objects[len(z) :]),
    ):
        rows[part] = (inputs, np.concatenate([of.reshape(len(of), -1) for of in targets], 1))
    history = train(
        net,
        net.loss,  # type: ignore[arg-type]  # the trainer hands on whatever the net makes
        rows["train"],
        rows["validation"],
        seed=seed,
        device=device,
        **(_TRAINING | training),
    )
    return FusionSystem(net, streams, mean, scale, base, device, history)


def _arrays(name: str, standardiser: Standardiser) -> dict[str, np.ndarray]:
    return {f"{name}.mean": standardiser.mean, f"{name}.scale": standardiser.scale}


def _standardiser(arrays: Mapping[str, np.ndarray], name: str) -> Standardiser:
    return Standardiser(arrays[f"{name}.mean"], arrays[f"{name}.scale"])
