"""What the studies of adapter bridging share: tokens of both encoders, adapters of a counted size, and their scores.

A picture's VLM tokens (X4.last) and DINOv2's (X7) are brought to one grid and width as in P2 (`fused_system.Stream`)
and stand side by side. An adapter takes them to latents of the video model (X6), cell by cell, and its frozen decoder
paints them. Every score is of the painted picture against the original: LPIPS and SSIM, beside the oracle, which
decodes the picture's own latents, and beside what needs no features.

Box overlap, which the published study read off grey levels, is not scored: an adapter to latents finds no boxes. Nor
are seconds: they differ from machine to machine and would make a record that no other repeats; what an adapter costs is
given in operations a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import ttest_1samp
from skimage.util import img_as_float32
from torch import nn

from foresight.experiments.painting import BASELINES, Painting
from foresight.metrics.efficiency import efficiency_scores, why_void
from foresight.metrics.perceptual import ssim_scores
from foresight.metrics.reconstruction import HIGHER_IS_BETTER
from foresight.metrics.statistics import holm
from foresight.probes.bridge_training import Bridge, Lessons, Recipe, Tuned, fit_bridge
from foresight.probes.bridges import Shape, build, in_words, operations
from foresight.probes.fused_system import Stream
from foresight.probes.latents import latent_statistics
from foresight.probes.pixels import image_baselines
from foresight.probes.training import note_unconverged, note_untrained

if TYPE_CHECKING:
    from foresight.probes.training import Watch
    from foresight.runner import ExperimentRunner

DINO, VLM = "dino:X7", "vlm:X4.last"
DECODER = "LTX-VAE"
CELLS_FOR_PCA = 50_000
SCORES = ("lpips", "ssim")
SIGNIFICANT = 0.05

Scores = Mapping[str, np.ndarray]  # [N] by metric


class Bridging:
    """The pictures of a handler's data, adapters from their tokens, and what the decoder paints."""

    def __init__(self, runner: ExperimentRunner) -> None:
        self.runner = runner
        self.painting = Painting(runner, VLM)
        self.dataset, self.split, self.groups = self.painting.dataset, self.painting.split, self.painting.groups
        self.vae = runner.model("vae")

    # ------------------------------------------------------------------ what an adapter is given

    @cached_property
    def tokens(self) -> dict[str, np.ndarray]:
        """[N, h, w, 2 C] of train, validation and test."""
        parts: dict[str, list[np.ndarray]] = {name: [] for name in self.split.parts}
        h, w = self.runner.features(VLM).shape[1:3]
        enough = self.split.train[: max(1, CELLS_FOR_PCA // (h * w))]
        width = min(self.runner.config.get("width", 2**20), len(enough) * h * w)
        for need in (DINO, VLM):
            _, rows, columns, own = self.runner.features(need).shape
            width = min(width, own * (rows * columns // (h * w)))
        for need in (DINO, VLM):
            features = self.runner.features(need)
            stream = Stream.fit(features[enough], (h, w), width)
            for name, index in self.split.parts.items():
                parts[name].append(stream.apply(features[index]))
        return {name: np.concatenate(both, -1) for name, both in parts.items()}

    @cached_property
    def lessons(self) -> Lessons:
        index = self.split.train, self.split.val
        latents, images = self.painting.latents, self.dataset.images
        return Lessons(
            (self.tokens["train"], self.tokens["validation"]),
            (latents[index[0]], latents[index[1]]),
            (img_as_float32(images[index[0]]), img_as_float32(images[index[1]])),
        )

    @property
    def shapes(self) -> tuple[Shape, Shape]:
        """Of a picture's tokens and of its latents."""
        (h, w, d), (rows, columns, c) = self.tokens["train"].shape[1:], self.painting.latents.shape[1:]
        return (h, w, d), (rows, columns, c)

    # ------------------------------------------------------------------ adapters

    def sized(self, weights: int, recipe: Recipe) -> Callable[[], nn.Module]:
        """What makes an untrained adapter of the profile's architecture of so many weights."""
        config, (tokens, latents) = self.runner.config, self.shapes
        architecture, depth = config.get("architecture", "query"), config.get("depth", 1)
        seed = self.runner.seed
        return lambda: build(architecture, weights, tokens, latents, seed=seed, depth=depth, dropout=recipe.dropout)

    def fit(self, name: str, make: Callable[[], nn.Module], recipe: Recipe, *, progress: tuple[float, float]) -> Bridge:
        """One learning rate after another; `name` begins the names of their loss curves."""
        (begin, end), rates = progress, list(recipe.rates)

        def watch(rate: float) -> Watch:
            label = f"{name}, rate {rate:g}" if len(rates) > 1 else name
            ends = np.linspace(begin, end, len(rates) + 1)[rates.index(rate) :]
            return self.runner.loss_curve(label, (float(ends[0]), float(ends[1])))

        return fit_bridge(
            make,
            self.lessons,
            recipe,
            decode=self.vae.paint,
            seed=self.runner.seed,
            device=self.runner.device,
            watch=watch,
        )

    def operations(self, bridge: Bridge) -> int:
        return operations(bridge.net, self.shapes[0])

    def note_training(self, trained: Mapping[str, Tuned], decides: Mapping[str, list[str]] | None = None) -> None:
        """What of the training a reader must know."""
        seed, histories = self.runner.seed, {name: training.history for name, training in trained.items()}
        note_untrained(self.runner.note, histories, seed, decides=decides)
        note_unconverged(self.runner.note, histories, seed)
        if any(len(training.tried) == 1 for training in trained.values()):
            self.runner.note("One learning rate for all: one that suits some of them better was not looked for.")
        if edge := [f"{name} ({training.rate:g})" for name, training in trained.items() if training.at_the_edge]:
            self.runner.note(
                f"Seed {seed}: the learning rate that validation chose is the smallest or the largest that was tried, "
                f"so that a better one may lie beyond: {', '.join(edge)}."
            )

    def note_stand_ins(self) -> None:
        played = {"vlm": "the VLM", "dino": "DINOv2", "vae": "the decoder"}
        if names := [words for role, words in played.items() if self.runner.is_stand_in(role)]:
            self.runner.note(
                f"Stand-ins play {', '.join(names)}: how many weights suffice between them says nothing of the real."
            )

    # ------------------------------------------------------------------ what they are worth

    def paint(self, bridge: Bridge, tokens: np.ndarray | None = None) -> np.ndarray:
        """[N, H, W, 3] in 0..1: the held-out pictures."""
        return self.vae.decode(bridge.predict(self.tokens["test"] if tokens is None else tokens))

    def score(self, images: np.ndarray) -> Scores:
        originals = self.painting.originals
        return {"lpips": originals.lpips(images), "ssim": ssim_scores(originals.images, images)}

    def beside(self, bridge: Bridge | None) -> tuple[dict[str, np.ndarray], dict[str, Scores]]:
        """Pictures and scores of the oracle, of what needs no features, and of `bridge` where tokens are shuffled."""
        tokens = self.tokens["test"]
        n, h, w, d = tokens.shape
        order = self.runner.rng.permuted(np.tile(np.arange(h * w), (n, 1)), axis=1)[..., None]
        shuffled = np.take_along_axis(tokens.reshape(n, h * w, d), order, 1).reshape(tokens.shape)
        trivial = image_baselines(self.lessons.images[0], (h, w))
        painted = {
            "oracle": self.vae.decode(self.painting.latents[self.split.test]),
            "mean_latent": self.vae.decode(latent_statistics(self.lessons.latents[0])[0][None]),
            **({"shuffled_tokens": self.paint(bridge, shuffled)} if bridge else {}),
            **{name: trivial[name] for name in BASELINES if name in trivial},
        }
        return painted, {name: self.score(images) for name, images in painted.items()}

    def log(self, suffix: str, scores: Scores, beside: Mapping[str, Scores]) -> None:
        """Hand over an arm's scores as `lpips<suffix>` and `ssim<suffix>`."""
        for metric in SCORES:
            self.runner.log_samples(
                metric + suffix,
                scores[metric],
                groups=self.groups,
                baselines={name: beside[name][metric] for name in BASELINES if name in beside},
                higher_is_better=HIGHER_IS_BETTER[metric],
            )

    def log_efficiency(self, metric: str, small: Scores, large: Scores, beside: Mapping[str, Scores]) -> str:
        """Hand over the efficiency of the small one in LPIPS, or say why there is none; returns why, or nothing.

        Beside it is that of what needs no features, as if it were an adapter of no weights.
        """
        trivial = {name: beside[name]["lpips"] for name in BASELINES}
        why = why_void(small["lpips"], large["lpips"], trivial, beside["oracle"]["lpips"], self.groups)
        if why:
            self.runner.not_measured(metric, why)
            return why
        scores, sources = efficiency_scores(small["lpips"], large["lpips"], self.groups)
        self.runner.log_samples(
            metric,
            scores,
            groups=sources,
            baselines={name: efficiency_scores(of, large["lpips"], self.groups)[0] for name, of in trivial.items()},
            higher_is_better=True,
        )
        return ""

    def caption(self, note: str = "") -> str:
        return self.runner.caption(len(self.groups), sources=len(set(self.groups)), note=note)


def compare(errors: Mapping[str, np.ndarray], reference: str, groups: Sequence[str]) -> dict[str, str]:
    """How `reference` stands to each of the others on the same pictures, all comparisons together at 5 % (Holm).

    A t test of the mean difference of each source; less error is better.
    """
    names = [name for name in errors if name != reference]
    _, source = np.unique(groups, return_inverse=True)
    p_values, differences = [], []
    for name in names:
        behind_S = np.bincount(source, errors[name] - errors[reference]) / np.bincount(source)
        differences.append(behind_S.mean())
        p_values.append(1.0 if np.ptp(behind_S) == 0 else float(ttest_1samp(behind_S, 0.0).pvalue))
    return {
        name: "level with" if p >= SIGNIFICANT else ("ahead of" if difference > 0 else "behind")
        for name, p, difference in zip(names, holm(p_values), differences, strict=True)
    }


def listing(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def recipe_of(settings: Mapping[str, Any]) -> Recipe:
    """Of the profile. Raises `TypeError` or `ValueError` for what is no part of a recipe."""
    return Recipe(**settings)


def label(weights: int) -> str:
    """How a size ends the name of a metric: `1_7k`, `99_8m`."""
    return in_words(weights).lower().replace(".", "_")
