"""How an adapter to latents is trained: a recipe, whole, and what comes of it.

A *recipe* is all that training depends on beside data, architecture and seed. Its loss is a weighted sum:

    latent   squared error of standardised latents
    lpips    LPIPS of the decoded picture against the original: gradients pass through the frozen decoder
    pixels   squared error of the decoded picture, in units of 0..1
    ssim     1 - SSIM of the decoded picture

What weighs nothing is not computed, so `latent` alone never decodes. Nothing is augmented by moving pictures: features
are computed once from the pictures as they are, and those of a flipped or shifted picture are other features (no
flip of the tokens of a vision transformer gives them). What can be done to features honestly is noise on them.

The learning rate is chosen: each of the recipe's `rates` trains an adapter from the same start, and validation keeps
one. The chosen one is trained as far as any, so nothing is trained twice. Tokens [N, h, w, D], latents [N, H, W, C].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from foresight.metrics.perceptual import lpips_between, ssim_between
from foresight.probes.latents import latent_statistics
from foresight.probes.training import (
    Diverged,
    Loss,
    Rate,
    TrainingHistory,
    Watch,
    parameter_count,
    predict,
    train,
)

Decode = Callable[[torch.Tensor], torch.Tensor]  # latents [N, t, H, W, C] -> clips [N, 3, T, rows, columns]
Schedule = Literal["constant", "cosine", "warm_up_cosine", "step"]
LOSSES = ("latent", "lpips", "pixels", "ssim")
WARM_UP = 0.1
SETTLED = 1.1  # times the lowest validation loss
SCHEDULES: Mapping[str, Rate] = {
    "constant": lambda done: 1.0,
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    "warm_up_cosine": lambda done: (
        (done + 1e-3) / (WARM_UP + 1e-3)
        if done < WARM_UP
        else 0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP)))
    ),
    "step": lambda done: 0.1 ** math.floor(3 * done),
}


@dataclass(frozen=True)
class Recipe:
    """All of it is the identity of a trial."""

    rates: Sequence[float]
    loss: Mapping[str, float] = field(default_factory=lambda: {"latent": 1.0})
    schedule: Schedule = "constant"
    dropout: float = 0.1
    noise: float = 0.0  # deviation of what is added to tokens in training, which are standardised
    weight_decay: float = 0.0
    epochs: int = 60
    patience: int = 10
    batch_size: int = 16
    largest_gradient: float | None = 1.0

    def __post_init__(self) -> None:
        if unknown := set(self.loss) - set(LOSSES):
            raise ValueError(f"a loss is made of {', '.join(LOSSES)}, not of {', '.join(sorted(unknown))}")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"a schedule is one of {', '.join(SCHEDULES)}, not {self.schedule!r}")
        if not self.rates or not any(self.loss.values()):
            raise ValueError("a recipe needs a learning rate to try, and a loss that weighs something")

    @property
    def decodes(self) -> bool:
        """Whether its loss looks at pictures."""
        return any(weight for name, weight in self.loss.items() if name != "latent")


@dataclass(frozen=True)
class Lessons:
    """Train and validation: tokens, latents, and the pictures [N, rows, columns, 3] in 0..1."""

    tokens: tuple[np.ndarray, np.ndarray]
    latents: tuple[np.ndarray, np.ndarray]
    images: tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Tuned:
    """How an adapter was trained, at the learning rate that validation chose."""

    history: TrainingHistory
    rate: float  # that validation chose
    tried: Mapping[float, float]  # learning rate -> best validation loss; infinite where it diverged

    @property
    def at_the_edge(self) -> bool:
        """Whether a learning rate beyond those tried might have been better."""
        return len(self.tried) > 1 and self.rate in (min(self.tried), max(self.tried))

    @property
    def unsteadiness(self) -> float:
        """Variance of the validation loss over the last ten epochs, or over all that there were."""
        return float(np.var(self.history.validation_loss[1:][-10:] or self.history.validation_loss))

    @property
    def settled(self) -> int:
        """The first epoch whose validation loss is within a tenth of the best."""
        enough = SETTLED * self.history.best_validation_loss
        return next(epoch for epoch, loss in enumerate(self.history.validation_loss) if loss <= enough)

    def to_json(self) -> dict[str, Any]:
        return {
            **vars(self.history),
            "rate": self.rate,
            "tried": [[rate, loss if math.isfinite(loss) else None] for rate, loss in self.tried.items()],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Tuned:
        history = TrainingHistory(**{each.name: content[each.name] for each in fields(TrainingHistory)})
        tried = {rate: math.inf if loss is None else loss for rate, loss in content["tried"]}
        return cls(history, content["rate"], tried)


@dataclass(frozen=True)
class Bridge:
    """A trained adapter, with what its predictions rest on."""

    net: nn.Module
    mean: np.ndarray  # [H, W, C]: train's mean latent
    scale: np.ndarray  # [C]
    training: Tuned
    device: str

    def predict(self, tokens_NhwD: np.ndarray) -> np.ndarray:
        """[N, H, W, C] float32, in the latents' own units."""
        return predict(self.net, tokens_NhwD, device=self.device) * self.scale + self.mean

    @property
    def weights(self) -> int:
        return parameter_count(self.net)

    def tensors(self) -> dict[str, torch.Tensor]:
        """All that `predict` rests on, by name, for a checkpoint."""
        kept = {"mean": torch.from_numpy(self.mean), "scale": torch.from_numpy(self.scale)}
        return kept | {f"net.{name}": of.contiguous().cpu() for name, of in self.net.state_dict().items()}


def fit_bridge(
    make: Callable[[], nn.Module],
    lessons: Lessons,
    recipe: Recipe,
    *,
    decode: Decode,
    seed: int,
    device: str = "cpu",
    watch: Callable[[float], Watch] | None = None,
) -> Bridge:
    """Train what `make` makes, once for each learning rate, and keep the best on validation.

    `watch(rate)` is the trainer's for that rate. Raises `Diverged` if all rates do.
    """
    mean, scale = latent_statistics(lessons.latents[0])
    rows = [
        _targets(((latents - mean) / scale).astype(np.float32), images, pictures=recipe.decodes)
        for latents, images in zip(lessons.latents, lessons.images, strict=True)
    ]
    loss = _loss(recipe, mean, scale, lessons.images[0].shape[1:], decode, device)
    schedule = SCHEDULES[recipe.schedule]
    tried, best = {}, None
    for rate in recipe.rates:
        net = nn.Sequential(_Noise(recipe.noise), make())
        try:
            history = train(
                net,
                loss,
                (lessons.tokens[0], rows[0]),
                (lessons.tokens[1], rows[1]),
                seed=seed,
                epochs=recipe.epochs,
                patience=recipe.patience,
                lr=rate,
                batch_size=recipe.batch_size,
                weight_decay=recipe.weight_decay,
                largest_gradient=recipe.largest_gradient,
                rate=schedule,
                device=device,
                watch=watch(rate) if watch else None,
            )
        except Diverged:
            tried[rate] = math.inf
            if best is None and rate == recipe.rates[-1]:
                raise
            continue
        tried[rate] = history.best_validation_loss
        if best is None or history.best_validation_loss < best[2].best_validation_loss:
            best = net, rate, history
    assert best is not None  # the last rate raises where none is left
    net, rate, history = best
    return Bridge(net, mean, scale, Tuned(history, rate, tried), device)


class _Noise(nn.Module):
    """In training only."""

    def __init__(self, deviation: float) -> None:
        super().__init__()
        self.deviation = deviation

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        if not self.training or not self.deviation:
            return tokens
        return tokens + self.deviation * torch.randn_like(tokens)


def _targets(latents_NHWC: np.ndarray, images: np.ndarray, *, pictures: bool) -> np.ndarray:
    """[N, F]: the trainer takes one array, so pictures stand behind the latents in each row."""
    flat = latents_NHWC.reshape(len(latents_NHWC), -1)
    if not pictures:
        return flat
    return np.concatenate([flat, images.transpose(0, 3, 1, 2).reshape(len(images), -1)], 1, dtype=np.float32)


def _loss(
    recipe: Recipe, mean: np.ndarray, scale: np.ndarray, image: tuple[int, ...], decode: Decode, device: str
) -> Loss:
    mean_HWC, scale_C = (torch.from_numpy(np.asarray(of, np.float32)).to(device) for of in (mean, scale))
    cells, (rows, columns, channels) = mean_HWC.numel(), image
    weights = {name: weight for name, weight in recipe.loss.items() if weight}

    def loss(made_NHWC: torch.Tensor, targets_NF: torch.Tensor) -> torch.Tensor:
        parts = {}
        if "latent" in weights:
            parts["latent"] = F.mse_loss(made_NHWC.flatten(1), targets_NF[:, :cells])
        if recipe.decodes:
            latents = made_NHWC * scale_C + mean_HWC
            painted = decode(latents[:, None])[:, :, 0]  # not cut off, where no gradient would be left
            originals = targets_NF[:, cells:].unflatten(1, (channels, rows, columns))
            if "lpips" in weights:
                parts["lpips"] = lpips_between(painted, originals).mean()
            if "pixels" in weights:
                parts["pixels"] = F.mse_loss(painted, originals)
            if "ssim" in weights:
                parts["ssim"] = (1 - ssim_between(painted, originals)).mean()
        return torch.stack([weights[name] * value for name, value in parts.items()]).sum()

    return loss
