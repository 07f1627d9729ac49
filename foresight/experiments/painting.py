"""Painting pictures from tokens: an adapter to the video model's latents, and that model's own frozen decoder.

An adapter takes a picture's tokens to its LTX-VAE latents, cell by cell (see `probes.latents`), and the decoder paints
them. Beside it, with the same decoder: the oracle, which decodes the picture's own latents and bounds what any adapter
could reach; the mean latent of train; and the adapter with each picture's tokens in shuffled places, which keeps what
was seen and loses where. And the pictures that need no model at all: the mean image and a blank one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.torch import save
from skimage.util import img_as_float32

from foresight.metrics.detail import edge_f1, edges
from foresight.metrics.reconstruction import Originals, log_scores
from foresight.metrics.spatial import crop_to_boxes
from foresight.plots.charts import learning_curve
from foresight.probes.latents import LatentProbe, fit_latent_probe
from foresight.probes.pixels import image_baselines
from foresight.probes.training import TrainingHistory

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner

LATENTS = "vae:X6"
BASELINES = ("mean_latent", "shuffled_tokens", "mean_image", "blank_image")

Scores = dict[str, np.ndarray]  # [N] by metric


class Painting:
    """The held-out pictures of a handler's data, and how well they are painted from the tokens of one point."""

    def __init__(self, runner: ExperimentRunner, need: str) -> None:
        self.runner, self.dataset, self.split = runner, runner.dataset(), runner.split()
        self.tokens, self.latents = runner.features(need), runner.features(LATENTS)
        self.images = img_as_float32(self.dataset.images[self.split.test])
        self.groups = [self.dataset.groups[index] for index in self.split.test]

    def fit(self, name: str, settings: Mapping[str, Any], *, progress: tuple[float, float]) -> LatentProbe:
        """An adapter, stopped by validation. `name` is that of its loss curve; `progress` from where to where."""
        split = self.split
        return fit_latent_probe(
            self.tokens[split.train],
            self.latents[split.train],
            self.tokens[split.val],
            self.latents[split.val],
            seed=self.runner.seed,
            device=self.runner.device,
            watch=self.runner.loss_curve(name, progress),
            **settings,
        )

    def save(self, probe: LatentProbe, histories: Mapping[str, TrainingHistory]) -> None:
        """Leave the adapter that decides, and the curves of all that were trained."""
        drawn = learning_curve(
            histories,
            title=f"Training of the adapter{'s' if len(histories) > 1 else ''}",
            caption=self.runner.caption(len(self.split.val), "validation pictures"),
            y_label="squared error of standardised latents",
        )
        self.runner.results.save_artifact("learning_curve.png", drawn)
        self.runner.results.save_artifact("adapter.safetensors", save(probe.tensors()))

    def paint(self, probe: LatentProbe) -> np.ndarray:
        """[N, H, W, 3]: what the decoder makes of the adapter's latents."""
        return self._decode(probe.predict(self.tokens[self.split.test]))

    def arms(self, probe: LatentProbe) -> dict[str, np.ndarray]:
        """`ours`, `oracle` and all of `BASELINES`, each [N, H, W, 3], or one picture for all."""
        shuffled = _in_shuffled_places(self.tokens[self.split.test], self.runner.rng)
        _, h, w, _ = self.tokens.shape
        trivial = image_baselines(img_as_float32(self.dataset.images[self.split.train]), (h, w))
        return {
            "ours": self.paint(probe),
            "oracle": self._decode(self.latents[self.split.test]),
            "mean_latent": self._decode(probe.mean[None]),
            "shuffled_tokens": self._decode(probe.predict(shuffled)),
            **{name: trivial[name] for name in BASELINES if name in trivial},
        }

    def log(self, painted: Mapping[str, np.ndarray]) -> dict[str, dict[str, Scores]]:
        """Hand over the scores of ours and of the oracle beside the baselines: region -> arm -> metric.

        The region "" is the whole picture, which decides; "_foreground" is reported where it is known.
        """
        regions = {"": {name: self.originals.scores(np.clip(images, 0, 1)) for name, images in painted.items()}}
        if self.knows_boxes:
            regions["_foreground"] = self._foreground(painted)
        else:
            self.runner.note("The foreground was not scored: these data do not say where it is.")
        for region, by_arm in regions.items():
            baselines = {name: by_arm[name] for name in BASELINES}
            for arm, suffix in (("ours", region), ("oracle", f"_oracle{region}")):
                log_scores(self.runner.log_samples, by_arm[arm], baselines, groups=self.groups, suffix=suffix)
        if self.runner.is_stand_in("vae"):
            self.runner.note(
                "The decoder is a stand-in: what it can paint bounds every score here, and the oracle shows the bound."
            )
        return regions

    def log_edges(self, painted: Mapping[str, np.ndarray]) -> Scores:
        """Hand over `edge_f1` of ours and of the oracle, of the pictures that have edges; [N] by arm, NaN without any.

        Beside the baselines stands a picture of train chosen at random, whose edges are somewhere near any other's.
        """
        train = self.split.train
        chosen = train[self.runner.rng.integers(len(train), size=len(self.images))]
        beside = {name: painted[name] for name in BASELINES}
        beside["random_picture"] = img_as_float32(self.dataset.images[chosen])
        scores = {
            name: edge_f1(edges(np.clip(images, 0, 1)), self._edges)
            for name, images in {"ours": painted["ours"], "oracle": painted["oracle"], **beside}.items()
        }
        kept = self.has_edges
        if not kept.all():
            lacking = f"{int((~kept).sum())} held-out pictures have no edges, so no score of them."
            self.runner.note(f"Seed {self.runner.seed}: {lacking}")
        if kept.any():
            groups = [group for group, there in zip(self.groups, kept, strict=True) if there]
            baselines = {name: scores[name][kept] for name in beside}
            for arm, metric in (("ours", "edge_f1"), ("oracle", "edge_f1_oracle")):
                of = scores[arm][kept]
                self.runner.log_samples(metric, of, groups=groups, baselines=baselines, higher_is_better=True)
        return scores

    @cached_property
    def knows_boxes(self) -> bool:
        """Whether each picture has one object whose box is known."""
        return all("box" in item.labels for item in self.dataset.manifest.items)

    @cached_property
    def has_edges(self) -> np.ndarray:
        """[N]: where there are none an edge score does not exist."""
        return np.array([one.any() for one in self._edges])

    @cached_property
    def _edges(self) -> np.ndarray:
        return edges(self.images)

    @cached_property
    def originals(self) -> Originals:
        return Originals(self.images, device=self.runner.device)

    def _foreground(self, painted: Mapping[str, np.ndarray]) -> dict[str, Scores]:
        boxes, side = self.dataset.labels("box")[self.split.test], max(32, self.images.shape[1] // 2)
        originals = Originals(_crops(self.images, boxes, side), device=self.runner.device)
        return {name: originals.scores(np.clip(_crops(images, boxes, side), 0, 1)) for name, images in painted.items()}

    @cached_property
    def _decode(self) -> Any:
        return self.runner.model("vae").decode


def _in_shuffled_places(tokens_NhwD: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every picture's own tokens, each picture in another order."""
    n, h, w, d = tokens_NhwD.shape
    order = rng.permuted(np.tile(np.arange(h * w), (n, 1)), axis=1)
    return np.take_along_axis(tokens_NhwD.reshape(n, h * w, d), order[..., None], axis=1).reshape(n, h, w, d)


def _crops(images_NHWC: np.ndarray, boxes_N4: np.ndarray, side: int) -> np.ndarray:
    """The foreground of each picture; of one picture for all, its crops at every box."""
    return crop_to_boxes(np.broadcast_to(images_NHWC, (len(boxes_N4), *images_NHWC.shape[1:])), boxes_N4, side)
