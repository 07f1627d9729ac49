"""e1_6, ablations: what do depth, merging, capacity, data and resolution each contribute?

One probe for all (tokens on one grid, projected to one width by a PCA fitted on train, ridge to the pixels under each
token), and one thing changed at a time from the base: X3, all training pictures, the common width, the data's own
resolution. An arm that lies on several axes is measured once.

    layer       every point that the profile extracts, its tokens side by side on the grid of X3
    merge       X2 tokens side by side in blocks of k x k, projected to the width of one token
    capacity    the width of the bottleneck between token and pixels; the number of weights grows with it
    pictures    the first n training pictures, source by source, in an order that the seed draws
    resolution  X3 of the picture at another side, scored at the data's own

The best value of an axis is chosen on validation and reported on test.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.util import img_as_float32

from foresight.errors import UserError
from foresight.metrics.reconstruction import ACCEPTABLE_LPIPS, Originals
from foresight.plots.charts import curve
from foresight.probes.latents import resample
from foresight.probes.pixels import fit_pixel_probe, image_baselines
from foresight.probes.projection import fit_projection, group_tokens

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner

BASE = "vlm:X3"
LEAST_VALUES = 3  # on each axis, in every profile
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


def run(runner: ExperimentRunner) -> dict[str, Any]:
    dataset, split = runner.dataset(), runner.split()
    train_NHWC, val_NHWC, test_NHWC = (img_as_float32(dataset.images[p]) for p in (split.train, split.val, split.test))
    size = test_NHWC.shape[1:3]
    _, h, w, _ = runner.features(BASE).shape
    groups = [dataset.groups[index] for index in split.test]
    axes = _axes(runner, len(split.train), size[0])
    arms = list(dict.fromkeys(arm for values in axes.values() for arm in values.values()))

    # Probes, each arm once
    validation, test = Originals(val_NHWC, device=runner.device), Originals(test_NHWC, device=runner.device)
    order = _by_source(np.array(dataset.groups)[split.train], runner.rng)
    score: dict[Arm, Score] = {}
    for arm in arms:
        runner.progress(len(score) / (len(arms) + 1), f"{arm.need}, {arm.width} wide, {arm.pictures} pictures")
        features, some = runner.features(arm.need), np.sort(order[: arm.pictures])
        x_train, x_val, x_test = (
            group_tokens(features[part], arm.block) for part in (split.train[some], split.val, split.test)
        )
        project = fit_projection(x_train, arm.width).apply
        own = _own_size(arm, x_train.shape[1:3], (h, w), size)
        probe = fit_pixel_probe(
            project(x_train), resample(train_NHWC[some], own), project(x_val), resample(val_NHWC, own)
        )
        seen = {
            part: resample(probe.predict(project(x)), size).clip(0, 1) for part, x in (("val", x_val), ("test", x_test))
        }
        score[arm] = Score(
            float(validation.lpips(seen["val"]).mean()), test.lpips(seen["test"]), probe.ridge.parameters
        )
        runner.log_metrics({"lpips_validation": score[arm].validation}, step=len(score))

    # Scores, beside what needs no features
    trivial = image_baselines(train_NHWC, (h, w))
    baselines = {name: test.lpips(picture) for name, picture in trivial.items()}
    names = {axis: {value: f"lpips_{axis}_{value}".lower().replace(".", "_") for value in axes[axis]} for axis in axes}
    runner.log_samples(
        "lpips", score[axes["resolution"][size[0]]].test, groups=groups, baselines=baselines, higher_is_better=False
    )
    for axis, values in axes.items():
        for value, arm in values.items():
            runner.log_samples(
                names[axis][value], score[arm].test, groups=groups, baselines=baselines, higher_is_better=False
            )

    if runner.is_stand_in("vlm"):
        runner.note("X4 comes from a stand-in whose language model is random: its depths say nothing of Qwen2.5-VL's.")

    # Pictures
    shown = runner.caption(len(split.test))
    for axis, values in axes.items():
        drawn = curve(
            list(values),
            {
                "test": [float(score[arm].test.mean()) for arm in values.values()],
                "validation": [score[arm].validation for arm in values.values()],
            },
            title=f"LPIPS by {axis}",
            caption=shown,
            x_label=X_LABELS[axis],
            y_label="LPIPS, lower is better",
            baselines={"mean image": float(baselines["mean_image"].mean())},
            thresholds={"acceptable": ACCEPTABLE_LPIPS},
        )
        runner.results.save_artifact(f"{axis}.png", drawn)
    table = {
        axis: [
            {"value": value, "lpips": score[arm].test, "lpips_validation": score[arm].validation, **vars(arm)}
            for value, arm in values.items()
        ]
        for axis, values in axes.items()
    }
    runner.results.save_json_artifact("ablations.json", table)

    # Finding
    best = {axis: min(values, key=lambda value: score[values[value]].validation) for axis, values in axes.items()}
    chosen = ", ".join(f"{axis} {best[axis]} ({{{names[axis][best[axis]]}:.3f}})" for axis in axes)
    metrics = {}
    enough = []
    for axis, unit in (("capacity", "weights"), ("pictures", "training pictures")):
        reached = [arm for arm in axes[axis].values() if score[arm].test.mean() < ACCEPTABLE_LPIPS]
        if reached:
            smallest = min(score[arm].weights if axis == "capacity" else arm.pictures for arm in reached)
            metrics[f"smallest_{axis}"] = float(smallest)
            enough.append(f"{{smallest_{axis}:,.0f}} {unit}")
        else:
            enough.append(f"none of the numbers of {unit} tried")
    return {
        "finding": f"Best by validation, with test LPIPS: {chosen}. Below {ACCEPTABLE_LPIPS} come {enough[0]} and "
        f"{enough[1]}.",
        "metrics": metrics,
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
    for axis, values in axes.items():
        if len(values) < LEAST_VALUES:
            raise UserError(
                f"e1_6 needs {LEAST_VALUES} values of {axis} and the profile gives {list(values)}. "
                "Add needs (layer, resolution) or parameters (merge, capacity, pictures) to it."
            )
    return axes


def _own_size(arm: Arm, grid: tuple[int, int], base: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """The size that an arm's tokens are decoded at: the data's, or what the model saw of a picture at another side."""
    if "@" not in arm.need:
        return size
    return grid[0] * (size[0] // base[0]), grid[1] * (size[1] // base[1])


def _by_source(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An order of the training pictures in which sources come one after another, drawn by the seed."""
    place = {source: rank for rank, source in enumerate(rng.permutation(np.unique(groups)))}
    return np.argsort([place[source] for source in groups], kind="stable")
