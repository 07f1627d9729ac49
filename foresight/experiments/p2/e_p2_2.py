"""e_p2_2, reconstruction from DINOv2 alone: is fusing it with the vision-language model needed at all?

As in e1_5, but from DINOv2's patch tokens (X7): an adapter takes a picture's tokens to its LTX-VAE latents (X6), and
the frozen LTX-VAE decoder paints them, beside the oracle and the controls that `painting` lists. Edges are compared
too, beside those of a picture of train chosen at random. And where the data say where the one object is, its box is
read from the same tokens by the head of e1_4 (H5); no mask is known in any of the data, so none is scored.

The decision was fixed in advance: fusion is not needed if DINOv2 alone reaches a box IoU over .7 and an LPIPS under .3,
both ahead of what needs no features. `ours` is the adapter that the profile names; where it names other `sizes`, each
of them is trained alike and its LPIPS stands on a curve, and none of them decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from foresight.experiments.one_box import OneBox
from foresight.experiments.painting import BASELINES, Painting
from foresight.experiments.reading import estimate, standing
from foresight.metrics.detail import edges
from foresight.metrics.reconstruction import one_of_each
from foresight.metrics.spatial import box_iou
from foresight.plots.charts import curve
from foresight.plots.pictures import box_overlay, image_grid
from foresight.plots.style import Estimate
from foresight.probes.training import TrainingHistory, note_untrained

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner

TOKENS = "dino:X7"
DECODER = "LTX-VAE"
ENOUGH_IOU, ENOUGH_LPIPS = 0.7, 0.3


def run(runner: ExperimentRunner) -> dict[str, Any]:
    painting = Painting(runner, TOKENS)
    dataset, split, groups = painting.dataset, painting.split, painting.groups

    # Adapters: the one that decides, and those of other sizes
    settings, sizes = runner.config.get("adapter", {}), runner.config.get("sizes", {})
    share = 0.5 / (1 + len(sizes))
    probe = painting.fit("adapter", settings, progress=(0.0, share))
    histories = {"adapter": probe.history}
    others: dict[str, tuple[int, np.ndarray]] = {}  # weights, and LPIPS of each picture
    for done, (name, size) in enumerate(sizes.items(), start=1):
        other = painting.fit(f"adapter_{name}", {**settings, **size}, progress=(share * done, share * (done + 1)))
        others[name] = other.parameters, painting.originals.lpips(np.clip(painting.paint(other), 0, 1))
        histories[f"adapter of {name}"] = other.history

    # Pictures of every arm, by the same frozen decoder
    runner.progress(0.5, "decoding")
    painted = painting.arms(probe)
    runner.progress(0.6, "scores")
    scores = painting.log(painted)
    edge_f1 = painting.log_edges(painted)
    baselines = {name: scores[""][name]["lpips"] for name in BASELINES}
    for name, (_, lpips) in others.items():
        runner.log_samples(f"lpips_{name}", lpips, groups=groups, baselines=baselines, higher_is_better=False)

    # Boxes from the same tokens
    runner.progress(0.7, "box head")
    boxes = _read_boxes(runner, painting)
    if runner.is_stand_in("dino"):
        runner.note(
            "DINOv2 is a stand-in that learned to paint pixels, which the real one did not: what is painted and read "
            "from it says nothing of the real one."
        )

    # Artifacts
    runner.progress(0.92, "pictures")
    _save_pictures(runner, painting, painted, scores[""], edge_f1)
    if others:
        mine = probe.parameters, scores[""]["ours"]["lpips"]
        runner.results.save_artifact("sizes.png", _sizes(runner, [mine, *others.values()], groups, baselines))
    if boxes is not None:
        histories["box head"] = boxes.history
    note_untrained(runner.note, histories, runner.seed)
    painting.save(probe, {name: of for name, of in histories.items() if name != "box head"})
    runner.results.save_json_artifact(
        "reconstruction_metrics.json",
        {
            "items": [dataset.manifest.items[index].id for index in split.test],
            "decoder": {"name": DECODER, "stand_in": runner.is_stand_in("vae")},
            "scores": {region.strip("_") or "whole": by_arm for region, by_arm in scores.items()},
            "edge_f1": {arm: [float(v) if np.isfinite(v) else None for v in of] for arm, of in edge_f1.items()},
            "boxes": None if boxes is None else {"true": boxes.true, "predicted": boxes.predicted, "iou": boxes.iou},
            "weights": {"adapter": probe.parameters, **{name: weights for name, (weights, _) in others.items()}},
            "grid": {"tokens": painting.tokens.shape[1:], "latents": painting.latents.shape[1:]},
        },
    )

    # Finding
    lpips = scores[""]["ours"]["lpips"]
    best = min(baselines.values(), key=lambda values: float(np.mean(values)))
    looks = float(np.mean(lpips)) < ENOUGH_LPIPS and standing(-lpips, -best, groups) == "ahead of"
    places = boxes is not None and boxes.enough
    return {
        "finding": _sentence(looks, places, boxes is not None, bool(painting.has_edges.any())),
        "metrics": {
            **{f"{name}_lpips": np.mean(values) for name, values in baselines.items()},
            **({f"{name}_iou": np.mean(values) for name, values in boxes.baselines.items()} if boxes else {}),
            **({"fusion_needed": 0.0 if looks and places else 1.0} if boxes else {}),
            "weights": probe.parameters,
            **{f"weights_{name}": weights for name, (weights, _) in others.items()},
        },
    }


@dataclass(frozen=True)
class _Boxes:
    """What the head read from the tokens of the held-out pictures."""

    true: np.ndarray  # [N, 4]
    predicted: np.ndarray  # [N, 4]
    iou: np.ndarray  # [N]
    baselines: Mapping[str, np.ndarray]  # [N] each
    enough: bool
    history: TrainingHistory


def _read_boxes(runner: ExperimentRunner, painting: Painting) -> _Boxes | None:
    """`box_iou` is handed over. None where the data do not say where the one object is."""
    if not painting.knows_boxes:
        runner.note("box_iou was not measured: these data do not say where one object is. Nothing is decided.")
        return None
    one = OneBox(runner)
    head = one.fit("box_head", TOKENS)
    predicted = head.predict(painting.tokens[painting.split.test])
    runner.progress(0.8, "the box head on boxes dealt out anew")
    guesses = one.guesses(TOKENS)
    iou, baselines = box_iou(predicted, one.true), one.beside(guesses, box_iou)
    runner.log_samples("box_iou", iou, groups=painting.groups, baselines=baselines, higher_is_better=True)
    drawn = box_overlay(
        painting.images[:18],
        one.true,
        {"X7 tokens": predicted, "mean box": one.all(guesses["mean_box"][0])},
        title="Boxes read from DINOv2's tokens",
        caption=runner.caption(len(one.true), sources=len(set(painting.groups))),
        scores={"X7 tokens": iou, "mean box": baselines["mean_box"]},
    )
    runner.results.save_artifact("boxes.png", drawn)
    trivial = max(baselines.values(), key=lambda values: float(np.mean(values)))
    enough = float(np.mean(iou)) > ENOUGH_IOU and standing(iou, trivial, painting.groups) == "ahead of"
    return _Boxes(one.true, predicted, iou, baselines, enough, head.history)


def _save_pictures(
    runner: ExperimentRunner,
    painting: Painting,
    painted: Mapping[str, np.ndarray],
    scores: Mapping[str, Mapping[str, np.ndarray]],
    edge_f1: Mapping[str, np.ndarray],
) -> None:
    shown = runner.caption(len(painting.groups), sources=len(set(painting.groups)))
    some = one_of_each(painting.groups)[:8]
    rows = {"original": painting.images[some], "oracle": painted["oracle"][some], "ours": painted["ours"][some]}
    drawn = image_grid(
        {**rows, "shuffled tokens": painted["shuffled_tokens"][some], "mean latent": painted["mean_latent"]},
        title="Painted by the video model's decoder from DINOv2's tokens",
        caption=shown,
        scores={name: scores[name]["lpips"][some] for name in ("oracle", "ours")},
    )
    runner.results.save_artifact("reconstruction_grid.png", drawn)
    lines = {f"edges, {name}": np.repeat(1.0 - edges(of)[..., None], 3, -1) for name, of in rows.items()}
    drawn = image_grid(
        {"original": rows["original"], **lines},
        title="Edges of what is painted from DINOv2's tokens",
        caption=shown,
        scores={f"edges, {name}": edge_f1[name][some] for name in ("oracle", "ours")},
        score_name="F1",
    )
    runner.results.save_artifact("edges.png", drawn)


def _sizes(
    runner: ExperimentRunner,
    arms: list[tuple[int, np.ndarray]],
    groups: list[str],
    baselines: Mapping[str, np.ndarray],
) -> bytes:
    """PNG: LPIPS over the number of weights."""
    arms = sorted(arms, key=lambda arm: arm[0])
    points: list[Estimate | float] = [estimate(lpips, groups) for _, lpips in arms]
    return curve(
        [weights / 1e6 for weights, _ in arms],
        {"LPIPS": points},
        title="What a larger adapter paints from DINOv2's tokens",
        caption=runner.caption(len(groups), sources=len(set(groups)), note="band: 95 % intervals over sources"),
        x_label="weights of the adapter, millions",
        y_label="LPIPS (less is better)",
        baselines={"mean latent": float(np.mean(baselines["mean_latent"]))},
        thresholds={"enough": ENOUGH_LPIPS},
        log_x=True,
    )


def _sentence(looks: bool, places: bool, measured: bool, has_edges: bool) -> str:
    levels = f"(asked: IoU over {ENOUGH_IOU:g} and LPIPS under {ENOUGH_LPIPS:g}, both ahead of what needs no features)"
    if not measured:
        said = "Whether fusion is needed is not decided, since no box is known"
    elif looks and places:
        said = f"Fusion is not needed {levels}"
    else:
        lacks = "neither is reached" if not looks and not places else "looks suffer" if places else "places are lost"
        said = f"DINOv2 alone does not do, {lacks} {levels}"
    said += f": pictures painted by the {DECODER} decoder from its tokens (X7) have LPIPS {{lpips:.3f}} (oracle "
    said += "{lpips_oracle:.3f}, mean latent {mean_latent_lpips:.3f}), SSIM {ssim:.3f}, PSNR {psnr:.1f} dB"
    said += ", edge F1 {edge_f1:.3f}" if has_edges else ", and no edge to be found"
    if measured:
        said += "; boxes read from the same tokens overlap the true ones by {box_iou:.3f} (mean box {mean_box_iou:.3f})"
    return said + "."
