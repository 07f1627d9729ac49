"""e_p2_3, fusion: does a fusion of DINOv2's tokens (X7) with the VLM's (X4.last) mend what either of them lacks?

One system (H12, see `probes.fusion`) reads latents for the video model's frozen decoder, a set of boxes and objects of
every class from both streams. Beside it the same system with the VLM's tokens in both places, and with DINOv2's: the
same grid, width, heads and decoder and as many weights to the last one, so that a fused system that is ahead has gained
it from the other stream. Validation stops each training. Every arm is scored on the same held-out pictures: how they
are painted, beside the oracle and the controls that `painting` lists, and where their objects are. The fused system is
left as it is, frozen, for e_p2_4, which P2's criteria are read from, and with the VLM-only arm for e_p2_6.

Not asked here: whether captions of the painted pictures stay the same, which takes a language model that writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from foresight.experiments.p2.fusing import DINO, IOU_LEVEL, LPIPS_LEVEL, SYSTEM, VLM, VLM_ONLY, Fusing, Streams
from foresight.experiments.painting import BASELINES
from foresight.experiments.reading import estimate, standing
from foresight.metrics.reconstruction import log_scores, one_of_each
from foresight.plots.charts import bars, learning_curve
from foresight.plots.pictures import box_overlay, image_grid
from foresight.probes.training import note_untrained

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner

FUSED = "fused"
ARMS: dict[str, Streams] = {FUSED: (DINO, VLM), "vlm_only": (VLM, VLM), "dino_only": (DINO, DINO)}
WORDS = {FUSED: "fused", "vlm_only": "VLM only", "dino_only": "DINOv2 only"}


def run(runner: ExperimentRunner) -> dict[str, Any]:
    fusing = Fusing(runner)
    painting, test, groups = fusing.painting, fusing.split.test, fusing.groups

    # One system an arm
    systems = {
        arm: fusing.fit(arm, needs, progress=(0.25 * done, 0.25 * (done + 1)))
        for done, (arm, needs) in enumerate(ARMS.items())
    }
    alike = {arm: fusing.held_out(system, ARMS[arm]) for arm, system in systems.items()}
    read = {arm: system.read(*alike[arm]) for arm, system in systems.items()}

    # Pictures, all by the same frozen decoder
    runner.progress(0.76, "decoding")
    painted = fusing.painted(systems[FUSED], alike[FUSED], read[FUSED])
    others = {arm: np.clip(fusing.decode(read[arm].latents), 0, 1) for arm in ARMS if arm != FUSED}

    # Scores
    runner.progress(0.84, "scores")
    whole = painting.log(painted)[""]
    scores = {FUSED: whole["ours"], **{arm: painting.originals.scores(images) for arm, images in others.items()}}
    for arm in others:
        beside = {name: whole[name] for name in BASELINES}
        log_scores(runner.log_samples, scores[arm], beside, groups=groups, suffix=f"_{arm}")
    iou = {arm: fusing.iou(of.boxes) for arm, of in read.items()}
    baselines = fusing.box_baselines(read[FUSED].boxes)
    for arm, values in iou.items():
        name = "spatial_iou" + ("" if arm == FUSED else f"_{arm}")
        runner.log_samples(name, values, groups=groups, baselines=baselines, higher_is_better=True)
    fusing.note_stand_ins()

    # Artifacts
    runner.progress(0.93, "pictures")
    shown, some = runner.caption(len(test), sources=len(set(groups))), one_of_each(groups)
    drawn = image_grid(
        {
            "original": painting.images[some],
            "oracle": painted["oracle"][some],
            **{WORDS[arm]: images[some] for arm, images in {FUSED: painted["ours"], **others}.items()},
        },
        title="Painted by the video model's decoder from one stream and from both",
        caption=shown,
        scores={
            "oracle": whole["oracle"]["lpips"][some],
            **{WORDS[arm]: of["lpips"][some] for arm, of in scores.items()},
        },
    )
    runner.results.save_artifact("reconstruction_grid.png", drawn)
    drawn = box_overlay(
        painting.images[:12],
        fusing.reading.boxes["test"][:12],
        {WORDS[arm]: of.boxes[:12] for arm, of in read.items()},
        title="Boxes read by each arm",
        caption=shown,
        columns=4,
    )
    runner.results.save_artifact("boxes.png", drawn)
    shares = systems[FUSED].attention(*alike[FUSED])
    if shares is not None:
        runner.results.save_artifact("attention_by_stream.png", _attention(shares, groups, shown))
    histories = {WORDS[arm]: system.history for arm, system in systems.items() if system.history is not None}
    note_untrained(runner.note, histories, runner.seed)
    drawn = learning_curve(
        histories,
        title="Training of the systems",
        caption=runner.caption(len(fusing.split.val), "validation pictures"),
        y_label="latents + boxes + objects, loss",
    )
    runner.results.save_artifact("learning_curve.png", drawn)
    for arm, name in ((FUSED, SYSTEM), ("vlm_only", VLM_ONLY)):
        runner.results.save_artifact(name, systems[arm].save(fusing.about(ARMS[arm])))
    stands = {
        arm: {
            "lpips": standing(-scores[FUSED]["lpips"], -scores[arm]["lpips"], groups),
            "spatial_iou": standing(iou[FUSED], iou[arm], groups),
        }
        for arm in others
    }
    weights = {arm: system.parameters for arm, system in systems.items()}
    runner.results.save_json_artifact(
        "fusion.json",
        {
            "items": [fusing.dataset.manifest.items[i].id for i in test],
            "scores": {"oracle": whole["oracle"], **scores},
            "baselines": {name: whole[name] for name in BASELINES},
            "spatial_iou": {**iou, **baselines},
            "fused_stands_to": stands,
            "weights": weights,
            "attention_to_dino": None if shares is None else shares.mean(0),
            "common_width": fusing.width,
        },
    )

    # Finding
    reached = [
        float(np.mean(scores[FUSED]["lpips"])) < LPIPS_LEVEL,
        float(np.mean(iou[FUSED])) > IOU_LEVEL,
    ]
    return {
        "finding": _sentence(reached, stands),
        "metrics": {
            **{f"{name}_lpips": np.mean(whole[name]["lpips"]) for name in BASELINES},
            **{f"{name}_iou": np.mean(values) for name, values in baselines.items()},
            **({} if shares is None else {"attention_to_dino": np.mean(shares)}),
            "weights": sum(weights[FUSED].values()),
            "common_width": fusing.width,
        },
    }


def _attention(shares_NL: np.ndarray, groups: list[str], caption: str) -> bytes:
    """How much of the attention of each layer goes to which stream."""
    layers = [f"layer {number + 1}" for number in range(shares_NL.shape[1])]
    return bars(
        {
            words: {name: estimate(of, groups) for name, of in zip(layers, values.T, strict=True)}
            for words, values in (("DINOv2", shares_NL), ("VLM", 1 - shares_NL))
        },
        title="Which stream the fusion attends to",
        caption=f"{caption} · mean over cells and heads",
        y_label="share of the attention",
        baselines={"neither preferred": 0.5},
    )


def _sentence(reached: list[bool], stands: Mapping[str, Mapping[str, str]]) -> str:
    levels = ("both levels are reached", "one of two levels is reached", "neither level is reached")[2 - sum(reached)]
    said = "; ".join(
        f"in LPIPS it is {of['lpips']} {WORDS[arm]} and in boxes {of['spatial_iou']} it" for arm, of in stands.items()
    )
    return (
        "The fused system paints held-out pictures at LPIPS {lpips:.3f} (VLM only {lpips_vlm_only:.3f}, DINOv2 only "
        "{lpips_dino_only:.3f}, the decoder itself {lpips_oracle:.3f}) and finds their boxes at IoU {spatial_iou:.3f} "
        f"({{spatial_iou_vlm_only:.3f}} and {{spatial_iou_dino_only:.3f}}): {levels}; {said}."
    )
