"""e1_6, ablations: what do depth, merging, capacity, data and resolution each contribute?

One probe for all (tokens on one grid, projected to one width by a PCA fitted on train, ridge to the pixels under each
token), and one thing changed at a time from the base: X3, all training pictures, the common width, the data's own
resolution. An arm that lies on several axes is measured once.

    layer       every point that the profile extracts, its tokens side by side on the grid of X3
    merge       X2 tokens side by side in blocks of k x k, projected to the width of one token
    capacity    the width of the bottleneck between token and pixels; the number of weights grows with it
    pictures    the first n training pictures, source by source, in an order that the seed draws
    resolution  X3 of the picture at another side, scored at the data's own

The best value of an axis, and the smallest that is good enough, are chosen on validation; the scores are test's. A
choice is one seed's, so it stands in the finding and not among the metrics, which are averaged over seeds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.util import img_as_float32

from foresight.experiments.axes import metric_on, require_values
from foresight.metrics.reconstruction import ACCEPTABLE_LPIPS, Originals
from foresight.plots.charts import curve
from foresight.probes.latents import resample
from foresight.probes.pixels import fit_pixel_probe, image_baselines
from foresight.probes.projection import fit_projection, group_tokens

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner

BASE = "vlm:X3"
TOKENS_FOR_PCA, BATCH = 50_000, 64  # tokens that a projection is fitted on, at most; pictures read at once
X_LABELS = {
    "layer": "extraction point",
    "merge": "tokens joined",
    "capacity": "width of the bottleneck",
    "pictures": "training pictures",
    "resolution": "picture side, px",
}


@dataclass(frozen=True)
class Arm:
    """One probe. Equal arms are one."""

    need: str
    block: int  # tokens side by side, each way
    width: int  # features a token after the projection
    pictures: int  # to train on


@dataclass(frozen=True)
class Score:
    validation: float  # mean LPIPS
    test: np.ndarray  # [N] LPIPS
    weights: int

    @property
    def good_enough(self) -> bool:
        """By validation: the smallest of several that pass on test would be chosen on test."""
        return self.validation < ACCEPTABLE_LPIPS


def run(runner: ExperimentRunner) -> dict[str, Any]:
    dataset, split = runner.dataset(), runner.split()
    pictures = {name: img_as_float32(dataset.images[part]) for name, part in split.parts.items()}
    groups = [dataset.groups[index] for index in split.test]
    axes = _axes(runner, len(split.train), pictures["test"].shape[1])
    base = axes["resolution"][pictures["test"].shape[1]]

    # Probes, each arm once
    validation, test = (Originals(pictures[name], device=runner.device) for name in ("validation", "test"))
    order = _by_source(np.array(dataset.groups)[split.train], runner.rng)
    arms = list(dict.fromkeys(arm for values in axes.values() for arm in values.values()))
    score: dict[Arm, Score] = {}
    for arm in arms:
        runner.progress(len(score) / (len(arms) + 1), f"{arm.need}, {arm.width} wide, {arm.pictures} pictures")
        made, weights = _reconstruct(runner, arm, pictures, order[: arm.pictures])
        score[arm] = Score(float(validation.lpips(made["validation"]).mean()), test.lpips(made["test"]), weights)
        runner.log_metrics({"lpips_validation": score[arm].validation}, step=len(score))

    # Scores and pictures, beside what needs no features
    _, h, w, _ = runner.features(BASE).shape
    trivial = image_baselines(pictures["train"], (h, w))
    baselines = {name: test.lpips(picture) for name, picture in trivial.items()}
    beside: dict[str, Any] = {"groups": groups, "baselines": baselines, "higher_is_better": False}
    runner.log_samples("lpips", score[base].test, **beside)
    for axis, values in axes.items():
        for value, arm in values.items():
            of = "all" if axis == "pictures" and arm == base else value  # how many all are differs from seed to seed
            runner.log_samples(metric_on(axis, of), score[arm].test, **beside)
        drawn = curve(
            list(values),
            {
                "test": [float(score[arm].test.mean()) for arm in values.values()],
                "validation": [score[arm].validation for arm in values.values()],
            },
            title=f"LPIPS by {axis}",
            caption=runner.caption(len(groups), sources=len(set(groups)), note=f"{len(split.val)} of validation"),
            x_label=X_LABELS[axis],
            y_label="LPIPS, lower is better",
            baselines={"mean image": float(baselines["mean_image"].mean())},
            thresholds={"acceptable": ACCEPTABLE_LPIPS},
        )
        runner.results.save_artifact(f"{axis}.png", drawn)
    table = {axis: [{"value": v, **vars(arm), **vars(score[arm])} for v, arm in axes[axis].items()] for axis in axes}
    runner.results.save_json_artifact("ablations.json", table)
    if runner.is_stand_in("vlm"):
        runner.note("X4 comes from a stand-in whose language model is random: its depths say nothing of Qwen2.5-VL's.")
    runner.note(
        f"Resolution resizes pictures of {pictures['test'].shape[1]} px: it varies the tokens a picture gets and adds "
        "no detail. X4.last is behind the final norm, the other layers are not."
    )

    # Finding
    best = {axis: min(values, key=lambda value: score[values[value]].validation) for axis, values in axes.items()}
    chosen = [
        f"{axis} {best[axis]} ({{{metric_on(axis, best[axis])}:.3f}})" for axis in ("layer", "merge", "resolution")
    ]
    narrowest, fewest = (  # both axes ascend
        next((one for one in axes[axis].values() if score[one].good_enough), None) for axis in ("capacity", "pictures")
    )
    enough = f"{score[narrowest].weights:,}" if narrowest else "none tried"
    training = f"{fewest.pictures:,}" if fewest else "none tried"
    return {
        "finding": f"Best by validation, with test LPIPS: {', '.join(chosen)}. Fewest that reach an LPIPS "
        f"below {ACCEPTABLE_LPIPS} on validation: of weights {enough}; of training pictures {training}.",
        "metrics": {},
    }


def _axes(runner: ExperimentRunner, n_train: int, side: int) -> dict[str, dict[Any, Arm]]:
    """The arms of each axis by their value on it. Raises `UserError` if the profile gives an axis too few values."""
    config, shape = runner.config, {need: runner.features(need).shape for need in runner.needs}
    needs = [need for need in shape if "@" not in need]
    sides = {side: BASE} | {int(need.split("@")[1]): need for need in shape if need.startswith(f"{BASE}@")}
    counts = sorted({n for n in config["pictures"] if n < n_train} | {n_train})
    base = Arm(BASE, 1, config["width"], n_train)
    axes: dict[str, dict[Any, Arm]] = {
        "layer": {
            need.split(":")[1]: replace(base, need=need, block=shape[need][1] // shape[BASE][1]) for need in needs
        },
        "merge": {"none" if k == 1 else f"{k}x{k}": replace(base, need="vlm:X2", block=k) for k in config["merge"]},
        "pictures": {n: replace(base, pictures=n) for n in counts},
        "resolution": {s: replace(base, need=sides[s]) for s in sorted(sides)},
    }

    def room(arm: Arm) -> int:
        """The widest projection that an arm's training tokens allow."""
        _, h, w, d = shape[arm.need]
        return min(d * arm.block**2, arm.pictures * h * w // arm.block**2)

    width = min(base.width, *(room(arm) for values in axes.values() for arm in values.values()))
    axes = {axis: {key: replace(arm, width=width) for key, arm in values.items()} for axis, values in axes.items()}
    widths = sorted({c for c in config["capacity"] if c <= room(base)} | {width})
    axes["capacity"] = {c: replace(base, width=c) for c in widths}
    require_values("e1_6", axes)
    return axes


def _reconstruct(
    runner: ExperimentRunner, arm: Arm, pictures: dict[str, np.ndarray], order: np.ndarray
) -> tuple[dict[str, np.ndarray], int]:
    """Validation and test pictures, [N, H, W, 3], as one arm's probe makes them, and its number of weights."""
    split, features = runner.split(), runner.features(arm.need)
    _, h, w, _ = features.shape
    enough = order[: max(1, TOKENS_FOR_PCA * arm.block**2 // (h * w))]
    project = fit_projection(group_tokens(features[split.train[enough]], arm.block), arm.width).apply

    def tokens(part: np.ndarray) -> np.ndarray:
        batches = [part[start : start + BATCH] for start in range(0, len(part), BATCH)]
        return np.concatenate([project(group_tokens(features[batch], arm.block)) for batch in batches])

    size = pictures["test"].shape[1:3]
    own = size  # what the tokens are decoded at: the data's size, or what the model saw of a picture at another side
    if "@" in arm.need:
        _, base_h, base_w, _ = runner.features(BASE).shape
        own = (h * size[0] // base_h, w * size[1] // base_w)
    probe = fit_pixel_probe(
        tokens(split.train[order]),
        resample(pictures["train"][order], own),
        tokens(split.val),
        resample(pictures["validation"], own),
    )
    made = {name: probe.predict(tokens(part)) for name, part in split.parts.items() if name != "train"}
    return {name: resample(images, size).clip(0, 1) for name, images in made.items()}, probe.ridge.parameters


def _by_source(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An order of the training pictures in which sources come one after another, drawn by the seed."""
    place = {source: rank for rank, source in enumerate(rng.permutation(np.unique(groups)))}
    return np.argsort([place[source] for source in groups], kind="stable")
