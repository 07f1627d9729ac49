"""e_p2_4, end to end: what is the one frozen system worth that e_p2_3 trained?

Nothing is trained here. The system of the same seed is read from the file that e_p2_3 left, whole as its record says,
with the statistics that it was trained behind; the run stops if it has seen a source that is held out here, or another
data set. Pictures are painted by the video model's frozen decoder, boxes and objects are read by the system's own
heads, and all of it is scored beside the oracle and what needs no features. A table tells how the scores go with the
number of objects in a picture; with one object they are what was published.

P2's criteria `spatial_iou`, `lpips` and `mAP` are read here, all from this one system: box IoU (mean over the objects
of a picture, then over pictures), LPIPS of whole pictures, COCO's AP at .5 with an interval by the jackknife.

Not asked here: how LPIPS varies over the frames of a clip, for which no profile has clips with objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from foresight.experiments.detecting import Detecting
from foresight.experiments.p2.fusing import IOU_LEVEL, LPIPS_LEVEL, SYSTEM, Fusing, require_unseen
from foresight.experiments.painting import BASELINES
from foresight.experiments.reading import estimate
from foresight.metrics.detection import AveragePrecision
from foresight.metrics.reconstruction import one_of_each
from foresight.plots.charts import bars
from foresight.plots.pictures import image_grid
from foresight.probes.fused_system import FusionSystem, Reading

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner

TRAINED_IN = "e_p2_3"
AP_LEVEL = 0.40
ACCEPTABLE = {"spatial_iou": IOU_LEVEL, "lpips": LPIPS_LEVEL, "mAP": AP_LEVEL}
AIM = {"spatial_iou": 0.70, "lpips": 0.25, "mAP": 0.50}
MANY = 4  # objects from which on pictures are put together

Table = dict[str, dict[str, float | int | None]]


def run(runner: ExperimentRunner) -> dict[str, Any]:
    fusing = Fusing(runner)
    runner.progress(0.0, f"the system of {TRAINED_IN}")
    system, about = FusionSystem.load(runner.artifact(TRAINED_IN, SYSTEM), runner.device)
    require_unseen(about, fusing)
    first, second = about["streams"]
    alike = fusing.held_out(system, (first, second))
    read = system.read(*alike)

    # Pictures, boxes, objects
    runner.progress(0.2, "decoding")
    painted = fusing.painted(system, alike, read)
    runner.progress(0.4, "scores")
    whole = fusing.painting.log(painted)[""]
    iou, baselines = fusing.iou(read.boxes), fusing.box_baselines(read.boxes)
    groups = fusing.groups
    runner.log_samples("spatial_iou", iou, groups=groups, baselines=baselines, higher_is_better=True)
    runner.progress(0.7, "average precision")
    detecting = Detecting(fusing.reading)
    detecting.found["mAP"] = read.objects
    precision = detecting.score("mAP")
    fusing.note_stand_ins()

    # By how much there is in a picture
    table = _by_complexity(fusing, detecting, read, whole["ours"]["lpips"], iou)
    alone = fusing.complexity == 1
    if alone.any():
        of_one = [group for group, one in zip(groups, alone, strict=True) if one]
        beside = {name: values[alone] for name, values in baselines.items()}
        name = "spatial_iou_one_object"
        runner.log_samples(name, iou[alone], groups=of_one, baselines=beside, higher_is_better=True)

    # Artifacts
    runner.progress(0.9, "pictures")
    _save_pictures(runner, fusing, detecting, painted, whole)
    runner.results.save_artifact("by_complexity.png", _chart(fusing, whole["ours"]["lpips"], iou, table))
    value = precision.summaries["mAP"]["ap_50"]
    reached: dict[str, float | None] = {
        "spatial_iou": float(np.mean(iou)),
        "lpips": float(np.mean(whole["ours"]["lpips"])),
        "mAP": value,
    }
    runner.results.save_artifact("gate_table.md", _gate_table(reached))
    runner.results.save_json_artifact(
        "end_to_end.json",
        {
            **detecting.table(precision),
            "system": {**about, "weights": system.parameters},
            "scores": whole["ours"],
            "oracle": whole["oracle"],
            "spatial_iou": {"ours": iou, **baselines},
            "objects_in_picture": fusing.complexity,
            "by_complexity": table,
            "gate": {
                name: {"value": one, "acceptable": ACCEPTABLE[name], "aim": AIM[name]} for name, one in reached.items()
            },
        },
    )

    # Finding
    return {
        "finding": _sentence(reached),
        "metrics": {
            **{f"{name}_lpips": np.mean(whole[name]["lpips"]) for name in BASELINES},
            **{f"{name}_iou": np.mean(values) for name, values in baselines.items()},
            **precision.metrics(["mAP"]),
            "weights": sum(system.parameters.values()),
        },
    }


def _by_complexity(fusing: Fusing, detecting: Detecting, read: Reading, lpips: np.ndarray, iou: np.ndarray) -> Table:
    """Number of objects -> how many pictures, and their scores."""
    precision = AveragePrecision(read.objects, detecting.true, list(detecting.names))
    table: Table = {}
    for name, index in _kinds(fusing.complexity).items():
        table[name] = {
            "pictures": len(index),
            "lpips": float(np.mean(lpips[index])),
            "spatial_iou": float(np.mean(iou[index])),
            "ap_50": precision.at_half(index),
        }
    return table


def _kinds(complexity_N: np.ndarray) -> dict[str, np.ndarray]:
    """Pictures by how many objects they show, from `MANY` on together; those that occur."""
    kinds = {f"{n} object{'s' if n > 1 else ''}": np.flatnonzero(complexity_N == n) for n in range(1, MANY)}
    kinds[f"{MANY} or more"] = np.flatnonzero(complexity_N >= MANY)
    return {name: index for name, index in kinds.items() if len(index)}


def _chart(fusing: Fusing, lpips: np.ndarray, iou: np.ndarray, table: Table) -> bytes:
    kinds = _kinds(fusing.complexity)

    def of(scores: np.ndarray) -> dict[str, Any]:
        return {name: estimate(scores[i], [fusing.groups[k] for k in i]) for name, i in kinds.items()}

    return bars(
        {
            "box IoU": of(iou),
            "AP at .5": {name: row["ap_50"] for name, row in table.items()},
            "LPIPS (less is better)": of(lpips),
        },
        title="How scores go with the number of objects in a picture",
        caption=fusing.runner.caption(
            len(fusing.groups),
            sources=len(set(fusing.groups)),
            note=", ".join(f"{row['pictures']} with {name}" for name, row in table.items()),
        ),
        y_label="score",
    )


def _save_pictures(
    runner: ExperimentRunner,
    fusing: Fusing,
    detecting: Detecting,
    painted: Mapping[str, np.ndarray],
    whole: Mapping[str, Mapping[str, np.ndarray]],
) -> None:
    some = one_of_each(fusing.groups)
    drawn = image_grid(
        {
            "original": fusing.painting.images[some],
            "oracle": painted["oracle"][some],
            "ours": painted["ours"][some],
            "shuffled tokens": painted["shuffled_tokens"][some],
            "mean latent": painted["mean_latent"],
        },
        title="Painted by the video model's decoder from what the frozen system reads",
        caption=runner.caption(len(fusing.groups), sources=len(set(fusing.groups))),
        scores={name: whole[name]["lpips"][some] for name in ("oracle", "ours")},
    )
    runner.results.save_artifact("reconstruction_grid.png", drawn)
    drawn = detecting.picture("mAP", "frozen system", "Objects found by the frozen system")
    runner.results.save_artifact("detections.png", drawn)


def _reaches(name: str, value: float | None) -> bool:
    if value is None:
        return False
    return value <= ACCEPTABLE[name] if name == "lpips" else value >= ACCEPTABLE[name]


def _gate_table(reached: Mapping[str, float | None]) -> str:
    """One seed beside the levels; the verdict, which knows intervals and baselines, is made of all seeds."""
    rows = ["| criterion | value | acceptable | aim | |", "|---|---|---|---|---|"]
    for name, value in reached.items():
        sign = "≤" if name == "lpips" else "≥"
        shown = "not measured" if value is None else f"{value:.3f}"
        word = "reached" if _reaches(name, value) else "not reached"
        rows.append(f"| {name} | {shown} | {sign} {ACCEPTABLE[name]:g} | {sign} {AIM[name]:g} | {word} |")
    note = "One seed. The verdict is made of all seeds, with intervals and beside baselines; latency is e_p2_6's."
    return "\n".join([*rows, "", note, ""])


def _sentence(reached: Mapping[str, float | None]) -> str:
    objects = "no object was held out" if reached["mAP"] is None else "finds objects at an AP at .5 of {mAP:.3f}"
    missed = [name for name, value in reached.items() if not _reaches(name, value)]
    level = f"not acceptable: {', '.join(missed)}" if missed else "all three are acceptable"
    return (
        f"The frozen system of {TRAINED_IN} paints held-out pictures at LPIPS {{lpips:.3f}} (the decoder itself "
        "{lpips_oracle:.3f}), places boxes at IoU {spatial_iou:.3f} (typical boxes {typical_boxes_iou:.3f}) and "
        f"{objects}; {level}."
    )
