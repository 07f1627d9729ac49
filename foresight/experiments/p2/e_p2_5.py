"""e_p2_5, ablations: what do the strategy of the fusion, its size, the VLM's layer and DINOv2's share contribute?

One base, the fused system of e_p2_3 (smaller where the profile says so), and one thing changed at a time; arms that are
equal are one, trained once. All of them have the split, the seed and the heads of the base. No system has e_p2_3's head
for objects, from which nothing is read here. Validation stops each training, and test is read once.

    strategy   how two streams become one (`probes.strategies`); weights are in the table, for they match nearly
    layers     of the base's strategy; weights grow with them
    queries    of the perceiver, since the other strategies ask once for each cell of the grid
    vlm_layer  every point of the language model that the profile extracts, in the place of X4.last
    share      how much of all channels, as many in every arm, DINOv2 has. A stream gets as many principal axes of its
               own as it has channels: what a weight of a stream did would be undone by the next linear layer, and what
               an axis has said that is not there cannot be brought back

The size of DINOv2 is no axis, since no profile has more than one. Each arm is compared with the base picture by
picture, in LPIPS and in box IoU, and the finding says which differ, and of layers and queries the fewest that are not
behind. One training's interval knows which pictures were tested and not the luck of that training, by which scores of
equal systems differ too: so in a finding an arm differs only where all of its interval lies beyond a margin that such
luck seldom passes. The report's intervals, of all seeds, know both. Neither is corrected for the number of comparisons,
which is said beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.util import img_as_float32

from foresight.experiments.axes import metric_on, require_values
from foresight.experiments.p2.fusing import DINO, VLM, Fusing
from foresight.experiments.reading import difference, name_of
from foresight.metrics.statistics import Insufficient, Interval
from foresight.plots.charts import bars
from foresight.plots.style import Estimate
from foresight.probes.pixels import image_baselines
from foresight.probes.strategies import STRATEGIES
from foresight.probes.training import TrainingHistory, note_untrained

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner

SCORES = {"lpips": ("LPIPS", -1.0), "spatial_iou": ("box IoU", 1.0)}  # in words, and which way is better
MARGIN = {"lpips": 0.01, "spatial_iou": 0.05}


@dataclass(frozen=True)
class Arm:
    """One system. Equal arms are one."""

    strategy: str
    layers: int
    queries: int | None  # of a perceiver
    vlm: str  # the need of its other stream
    widths: tuple[int, int]  # of DINOv2's stream and of the VLM's


Axes = Mapping[str, Mapping[Any, Arm]]
Difference = Interval | Insufficient


@dataclass(frozen=True)
class Score:
    """What one system is worth on the held-out pictures."""

    of: Mapping[str, np.ndarray]  # [N] by name of `SCORES`
    boxes: list[np.ndarray]
    weights: Mapping[str, int]
    history: TrainingHistory | None


def run(runner: ExperimentRunner) -> dict[str, Any]:
    fusing = Fusing(runner)
    painting, groups = fusing.painting, fusing.groups
    base, axes = _axes(runner, fusing)
    called = {base: "base"}  # and of an arm on two axes, its name on the first
    for axis, value, arm in _changed(axes, base):
        called.setdefault(arm, f"{axis} {value}")

    # Systems, each arm once
    score: dict[Arm, Score] = {}
    for done, (arm, words) in enumerate(called.items()):
        part = 0.9 / len(called)
        score[arm] = _tried(fusing, arm, words, progress=(part * done, part * (done + 0.8)))

    # Scores, beside what needs no features and beside the base
    runner.progress(0.92, "scores")
    train = img_as_float32(fusing.dataset.images[fusing.split.train])
    nothing = {
        "lpips": {
            "mean_latent": painting.originals.lpips(np.clip(fusing.decode(fusing.mean_latent[None]), 0, 1)),
            "mean_image": painting.originals.lpips(image_baselines(train, fusing.grid)["mean_image"]),
        },
        "spatial_iou": fusing.box_baselines(score[base].boxes),
    }
    against: dict[Arm, dict[str, Difference]] = {arm: {} for arm in called if arm != base}
    for name, (_, sign) in SCORES.items():
        beside: dict[str, Any] = {"groups": groups, "higher_is_better": sign > 0}
        runner.log_samples(name, score[base].of[name], baselines=nothing[name], **beside)
        for arm, found in against.items():
            found[name] = difference(sign * score[arm].of[name], sign * score[base].of[name], groups)
        for axis, value, arm in _changed(axes, base):
            baselines = {"base": score[base].of[name], **nothing[name]}
            runner.log_samples(metric_on(axis, value, name), score[arm].of[name], baselines=baselines, **beside)

    # Artifacts
    runner.progress(0.95, "pictures")
    runner.results.save_artifact("ablations.png", _chart(fusing, base, called, score, against))
    runner.results.save_json_artifact(
        "ablations.json",
        {
            "base": _row(base, score[base]),
            **{
                axis: [
                    {"value": value, **_row(arm, score[arm]), "better_than_base_by": _intervals(against.get(arm, {}))}
                    for value, arm in values.items()
                ]
                for axis, values in axes.items()
            },
        },
    )
    fusing.note_stand_ins()
    runner.note("The size of DINOv2 was not varied: the profile has one.")
    untrained = {words: of for arm, words in called.items() if (of := score[arm].history) is not None}
    note_untrained(runner.note, untrained, runner.seed)

    # Finding
    return {
        "finding": _sentence(axes, base, against),
        "metrics": {
            **{f"{of}_{name}": np.mean(values) for name, by in nothing.items() for of, values in by.items()},
            "weights": sum(score[base].weights.values()),
            "channels": sum(base.widths),
        },
    }


def _axes(runner: ExperimentRunner, fusing: Fusing) -> tuple[Arm, Axes]:
    """The base, and the arms of each axis by their value on it. Raises `UserError` where values are too few."""
    config = runner.config
    system, shares = config.get("system", {}), sorted({0.5, *config["shares"]})
    layers = [need for need in runner.needs if need.startswith("vlm:")]
    room = fusing.reading.room([DINO, *layers], fusing.grid)
    channels = 2 * min(config.get("width", room), int(room / (2 * shares[-1])))
    base = Arm("cross_attention", system.get("layers", 1), None, VLM, (channels // 2, channels // 2))
    queries = sorted(config["queries"])
    perceiver = replace(base, strategy="perceiver", queries=queries[len(queries) // 2])

    def shared(share: float) -> tuple[int, int]:
        of_dino = round(share * channels)
        return of_dino, channels - of_dino

    axes: dict[str, dict[Any, Arm]] = {
        "strategy": {of: perceiver if of == "perceiver" else replace(base, strategy=of) for of in STRATEGIES},
        "layers": {n: replace(base, layers=n) for n in sorted({base.layers, *config["layers"]})},
        "queries": {n: replace(perceiver, queries=n) for n in queries},
        "vlm_layer": {name_of(need): replace(base, vlm=need) for need in layers},
        "share": {share: replace(base, widths=shared(share)) for share in shares},
    }
    require_values("e_p2_5", axes)
    return base, axes


def _tried(fusing: Fusing, arm: Arm, words: str, *, progress: tuple[float, float]) -> Score:
    """Train a system, and score what it reads and paints."""
    needs = (DINO, arm.vlm)
    system = fusing.fit(
        words.replace(" ", "_"),
        needs,
        progress=progress,
        widths=arm.widths,
        strategy=arm.strategy,
        layers=arm.layers,
        options={} if arm.queries is None else {"queries": arm.queries},
        detector={"kind": "none"},
    )
    read = system.read(*fusing.held_out(system, needs))
    painted = np.clip(fusing.decode(read.latents), 0, 1)
    of = {"lpips": fusing.painting.originals.lpips(painted), "spatial_iou": fusing.iou(read.boxes)}
    return Score(of, read.boxes, system.parameters, system.history)


def _changed(axes: Axes, base: Arm) -> list[tuple[str, Any, Arm]]:
    """Axis, value and arm wherever something is changed."""
    return [(axis, value, arm) for axis, values in axes.items() for value, arm in values.items() if arm != base]


def _row(arm: Arm, score: Score) -> dict[str, Any]:
    means = {name: float(values.mean()) for name, values in score.of.items()}
    best = None if score.history is None else score.history.best_epoch
    return {**asdict(arm), **means, "weights": sum(score.weights.values()), "by_part": score.weights, "epoch": best}


def _intervals(found: Mapping[str, Difference]) -> dict[str, Any]:
    """By how much an arm is better than the base in each score; a reason where there is no interval."""
    return {name: asdict(of) for name, of in found.items()}


def _chart(
    fusing: Fusing,
    base: Arm,
    called: Mapping[Arm, str],
    score: Mapping[Arm, Score],
    against: Mapping[Arm, Mapping[str, Difference]],
) -> bytes:
    """Every arm's mean. Its whisker is the interval of the difference to the base, set off from the base's line."""
    bars_of: dict[str, dict[str, Estimate | float]] = {}
    lines = {}
    for name, (words, sign) in SCORES.items():
        lines[f"base, {words}"] = middle = float(score[base].of[name].mean())
        drawn = bars_of[f"{words}, {'more' if sign > 0 else 'less'} is better"] = {}
        for arm, label in called.items():
            found = against[arm][name] if arm in against else None
            ends = (found.low, found.high) if isinstance(found, Interval) else ()
            mean = float(score[arm].of[name].mean())
            drawn[label.replace("_", " ")] = Estimate(mean, *sorted(middle + sign * end for end in ends))
    groups = fusing.groups
    note = "whiskers: 95 % interval of the difference to the base, over sources"
    return bars(
        bars_of,
        title="Systems in which one thing is changed",
        caption=fusing.runner.caption(len(groups), sources=len(set(groups)), note=note),
        y_label="mean over pictures",
        baselines=lines,
    )


def _sentence(axes: Axes, base: Arm, against: Mapping[Arm, Mapping[str, Difference]]) -> str:
    said = (
        f"The base ({base.strategy}, layers {base.layers}, {name_of(base.vlm)}, half of {sum(base.widths)} channels "
        "each) paints at LPIPS {lpips:.3f} and finds boxes at IoU {spatial_iou:.3f}"
    )
    if any(isinstance(of, Insufficient) for found in against.values() for of in found.values()):
        return f"{said}; too few sources are held out to tell another system from it."
    stand = {arm: {name: _stand(name, of) for name, of in found.items()} for arm, found in against.items()}
    parts = []
    for axis in axes:
        words = [
            f"{value} {stand[arm][name]} in {SCORES[name][0]} ({{{metric_on(axis, value, name)}:.3f}})"
            for of, value, arm in _changed(axes, base)
            for name in SCORES
            if of == axis and stand[arm][name]
        ]
        parts.append(f"{axis}: {', '.join(words) or 'none'}")
    fewest = ", ".join(f"{axis} {_fewest(axes[axis], stand)}" for axis in ("layers", "queries"))
    return (
        f"{said}. What differs from it by more than {MARGIN['lpips']} in LPIPS or {MARGIN['spatial_iou']} in IoU: "
        f"{'; '.join(parts)}. Fewest that are not so far behind: {fewest}. "
        f"{len(against) * len(SCORES)} comparisons at 95 %."
    )


def _stand(name: str, found: Difference) -> str:
    """`ahead`, `behind`, or nothing where it may be neither."""
    if not isinstance(found, Interval):
        return ""
    return "ahead" if found.low > MARGIN[name] else "behind" if found.high < -MARGIN[name] else ""


def _fewest(values: Mapping[Any, Arm], stand: Mapping[Arm, Mapping[str, str]]) -> object:
    """The smallest value that is not behind the base; values ascend, and the base is not behind itself."""
    return next((n for n, arm in values.items() if "behind" not in stand.get(arm, {}).values()), "none")
