"""What e_p2_3 and e_p2_5 train and e_p2_4 scores: the streams of a system, what it leaves, what it is compared with.

One data set of several objects a picture serves all that a system reads. Its boxes are scored as e_p2_1's are, matched
object by object, and averaged within each picture first: `spatial_iou` is a mean over pictures. Beside it the mean box,
as many typical boxes as a head has slots, and the system's own boxes dealt out to other pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.util import img_as_float32

from foresight.data.objects import padded_boxes
from foresight.errors import StepFailed
from foresight.experiments.detecting import elsewhere
from foresight.experiments.painting import BASELINES, LATENTS, Painting
from foresight.experiments.reading import CELLS_FOR_PCA, MAP, Reading
from foresight.metrics.box_sets import matched_iou
from foresight.probes.box_sets import constant_boxes
from foresight.probes.fused_system import FusionSystem, Lesson, Stream, fit_fusion
from foresight.probes.fused_system import Reading as Read
from foresight.probes.latents import CellRidge, latent_statistics
from foresight.probes.pixels import image_baselines

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner

DINO, VLM = "dino:X7", "vlm:X4.last"
SYSTEM, VLM_ONLY = "system.safetensors", "vlm_only.safetensors"
LPIPS_LEVEL, IOU_LEVEL = 0.35, 0.60

Streams = tuple[str, str]
Widths = tuple[int, int]


class Fusing:
    """The pictures of a handler's data, what systems read in them, and how well."""

    def __init__(self, runner: ExperimentRunner) -> None:
        self.runner = runner
        self.reading, self.painting = Reading(runner), Painting(runner, VLM)
        self.dataset, self.split = self.reading.dataset, self.reading.split
        self.groups = self.painting.groups

    # ------------------------------------------------------------------ training

    def fit(
        self, arm: str, needs: Streams, *, progress: tuple[float, float], widths: Widths | None = None, **changed: Any
    ) -> FusionSystem:
        """A system whose streams are `needs`, which may be one need twice. `arm` is the name of its loss curve.

        `widths`: of its streams, instead of the common one. `changed`: instead of what the profile says of `system`.
        """
        settings = {**self.runner.config.get("system", {}), **changed}
        widths = widths or (self.width, self.width)
        if (needs, widths) in self._linear:
            settings["linear"] = self._linear[needs, widths]
        system = fit_fusion(
            (self._stream(needs[0], widths[0]), self._stream(needs[1], widths[1])),
            self._lesson("train", needs, widths),
            self._lesson("validation", needs, widths),
            category_ids=sorted({int(i) for of in self.reading.objects for i in of.category_ids}),
            slots=self.reading.slots,
            parts=max(1, round(self.runner.config.get("map", MAP) / self.grid[0])),
            seed=self.runner.seed,
            device=self.runner.device,
            watch=self.runner.loss_curve(arm, progress),
            **settings,
        )
        if system.linear is not None:
            self._linear[needs, widths] = system.linear
        return system

    def about(self, needs: Streams) -> dict[str, Any]:
        """What a system was trained on, to be kept in its file."""
        seen = np.concatenate([self.split.train, self.split.val])
        return {
            "streams": list(needs),
            "data_sha256": self.dataset.manifest.sha256,
            "sources": sorted({self.dataset.groups[i] for i in seen}),
            "seed": self.runner.seed,
        }

    @cached_property
    def grid(self) -> tuple[int, int]:
        """Of the VLM's tokens, which are the fewer: DINOv2's lie on it two by two."""
        h, w = self.runner.features(VLM).shape[1:3]
        return h, w

    @cached_property
    def width(self) -> int:
        """How many numbers each cell has of either stream."""
        return self.reading.common_width([DINO, VLM], self.grid)

    @cached_property
    def _streams(self) -> dict[tuple[str, int], Stream]:
        return {}

    @cached_property
    def _linear(self) -> dict[tuple[Streams, Widths], CellRidge]:
        """The closed form of the latents is the same for whatever net is put behind the same streams."""
        return {}

    def _stream(self, need: str, width: int) -> Stream:
        if (need, width) not in self._streams:
            enough = self.split.train[: max(1, CELLS_FOR_PCA // (self.grid[0] * self.grid[1]))]
            self._streams[need, width] = Stream.fit(self.runner.features(need)[enough], self.grid, width)
        return self._streams[need, width]

    def _lesson(self, part: str, needs: Streams, widths: Widths) -> Lesson:
        index = self.split.parts[part]
        a, b = (
            self._stream(need, width).apply(self.runner.features(need)[index])
            for need, width in zip(needs, widths, strict=True)
        )
        objects = [self.reading.objects[i] for i in index]
        return Lesson(a, b, self.runner.features(LATENTS)[index], objects)

    # ------------------------------------------------------------------ what a system is worth

    def held_out(self, system: FusionSystem, needs: Streams) -> tuple[np.ndarray, np.ndarray]:
        """The streams of the held-out pictures, as the system takes them."""
        a, b = (self.runner.features(need)[self.split.test] for need in needs)
        return system.alike(a, b)

    @cached_property
    def decode(self) -> Any:
        """Latents -> pictures, by the video model's frozen decoder."""
        return self.runner.model("vae").decode

    @property
    def mean_latent(self) -> np.ndarray:
        """[H, W, Z]: of train."""
        return latent_statistics(self.painting.latents[self.split.train])[0]

    def painted(self, system: FusionSystem, alike: tuple[np.ndarray, np.ndarray], read: Read) -> dict:
        """`ours`, `oracle` and the baselines of `painting`, each [N, H, W, 3], or one picture for all."""
        a, b = alike
        n, h, w, _ = a.shape
        order = self.runner.rng.permuted(np.tile(np.arange(h * w), (n, 1)), axis=1)[..., None]
        shuffled = [np.take_along_axis(x.reshape(n, h * w, -1), order, 1).reshape(x.shape) for x in (a, b)]
        trivial = image_baselines(img_as_float32(self.dataset.images[self.split.train]), (h, w))
        return {
            "ours": self.decode(read.latents),
            "oracle": self.decode(self.painting.latents[self.split.test]),
            "mean_latent": self.decode(self.mean_latent[None]),
            "shuffled_tokens": self.decode(system.read(shuffled[0], shuffled[1]).latents),
            **{name: trivial[name] for name in BASELINES if name in trivial},
        }

    def iou(self, boxes: Sequence[np.ndarray]) -> np.ndarray:
        """[N]: how well the objects of each held-out picture are overlapped, mean over its objects."""
        return np.array([np.mean(of) for of in matched_iou(boxes, self.reading.boxes["test"])])

    def box_baselines(self, boxes: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """The same of what does not look, and of `boxes` dealt out to pictures of other sources."""
        train = padded_boxes([self.reading.objects[i] for i in self.split.train], self.reading.slots)
        constant = constant_boxes(train, self.runner.seed)
        guesses = {name: [of] * len(self.split.test) for name, of in constant.items()}
        guesses["other_pictures"] = elsewhere(boxes, self.groups, self.runner.rng)
        return {name: self.iou(guess) for name, guess in guesses.items()}

    @cached_property
    def complexity(self) -> np.ndarray:
        """[N]: how many objects each held-out picture shows."""
        return np.array([len(boxes) for boxes in self.reading.boxes["test"]])

    def note_stand_ins(self) -> None:
        for role, words in (("dino", "DINOv2"), ("vlm", "The VLM")):
            if self.runner.is_stand_in(role):
                self.runner.note(
                    f"{words} is a stand-in: what a system reads in its tokens says nothing of the real one."
                )


def require_unseen(about: Mapping[str, Any], fusing: Fusing) -> None:
    """Raises `StepFailed` if the system saw a held-out source, or data among which nothing was compared with these."""
    if about["data_sha256"] != fusing.dataset.manifest.sha256:
        raise StepFailed(
            "The system was trained on another data set than the one it is to be scored on, and nobody has looked for "
            "the same pictures in both. Give both sub-experiments the same `data` in the profile.",
            cause="needs",
            retryable=False,
        )
    if seen := sorted(set(about["sources"]) & set(fusing.groups)):
        raise StepFailed(
            f"The system was trained on {len(seen)} of the sources that it is to be scored on ({', '.join(seen[:3])}, "
            "…): that would be a score on training data. Give both sub-experiments the same `split` in the profile.",
            cause="needs",
            retryable=False,
        )
