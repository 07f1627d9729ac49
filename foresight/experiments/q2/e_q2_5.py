"""e_q2_5, fine detail: do edges and textures survive?

A decoder on the token grid (ridge from a token to the pixels under it, and a small network that also sees the eight
tokens around) paints each held-out picture from X3 and, beside it, from the other points that the profile names. The
pictures are compared by what the words say: LPIPS of AlexNet, SSIM of scikit-image in colour, edges of Canny(50, 150)
within 2 px, Gram matrices for textures. Beside them the mean picture, the mean patch, one colour, and a picture of
train chosen at random, whose edges are somewhere near those of any texture.

Q2's criteria `lpips` and `edge_f1` are read here: X3, mean over pictures. IRS (M14) sums up a point from its own boxes,
looks and edges, all on these pictures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.util import img_as_float32

from foresight.experiments.reading import Reading, estimate, metric_of, name_of
from foresight.metrics.detail import GramReference, edge_f1, edges, information_retention
from foresight.metrics.reconstruction import Originals, log_scores, one_of_each
from foresight.plots.charts import bars, learning_curve
from foresight.plots.pictures import image_grid
from foresight.probes.decoder import fit_decoder
from foresight.probes.pixels import image_baselines
from foresight.probes.training import note_untrained

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner

DESIGNATED = "vlm:X3"
LPIPS_KEPT, EDGES_KEPT, TEXTURE_KEPT = 0.3, 0.6, 0.1
EDGES_BY_CHANCE = 0.5  # from here on a score of edges is said to be mostly chance
BANDS = ((0.8, "nearly all"), (0.6, "most"), (0.4, "part"))


def run(runner: ExperimentRunner) -> dict[str, Any]:
    reading = Reading(runner)
    dataset, split = reading.dataset, reading.split
    pictures = {part: img_as_float32(dataset.images[index]) for part, index in split.parts.items()}
    groups = [dataset.groups[i] for i in split.test]

    # Decoders, and boxes from the same points
    painted, histories, iou = {}, {}, {}
    for done, need in enumerate(runner.needs):
        tokens = reading.tokens(need)
        runner.progress(0.7 * done / len(runner.needs), f"decoder on {name_of(need)}")
        probe = fit_decoder(
            tokens["train"],
            pictures["train"],
            tokens["validation"],
            pictures["validation"],
            seed=runner.seed,
            device=runner.device,
            watch=runner.loss_curve(f"decoder_{metric_of(need)}"),
            **runner.config.get("decoder", {}),
        )
        painted[need], histories[name_of(need)] = probe.predict(tokens["test"]), probe.history
        runner.progress(0.7 * (done + 0.6) / len(runner.needs), f"boxes from {name_of(need)}")
        iou[need] = reading.iou(reading.fit_boxes(f"boxes_{metric_of(need)}", tokens).predict(tokens["test"]))

    # Scores, beside what needs no features
    runner.progress(0.75, "scores")
    judge = _Judge(pictures["test"], runner.device)
    _, h, w, _ = runner.features(DESIGNATED).shape
    trivial = dict(image_baselines(pictures["train"], (h, w)))
    trivial["random_picture"] = pictures["train"][runner.rng.integers(len(split.train), size=len(split.test))]
    baselines = {name: judge.scores(images) for name, images in trivial.items()}
    scores = {need: judge.scores(images) for need, images in painted.items()}
    irs = {}
    for need, of in scores.items():
        suffix = "" if need == DESIGNATED else f"_{metric_of(need)}"
        judge.log(runner, of, baselines, groups, suffix)
        if judge.has_edges.any():
            f1 = float(np.mean(of["edge_f1"][judge.has_edges]))
            irs[need] = information_retention(float(iou[need].mean()), float(of["lpips"].mean()), f1)
        constant = reading.box_baselines([reading.boxes["train"][0]] * len(split.test))
        constant.pop("permuted_boxes")
        runner.log_samples(
            f"bbox_iou{suffix}", iou[need], groups=reading.box_groups, baselines=constant, higher_is_better=True
        )
    if not judge.has_edges.all():
        runner.note(f"{int((~judge.has_edges).sum())} held-out pictures have no edges, so no score of them.")
    by_chance = baselines["random_picture"]["edge_f1"][judge.has_edges]
    if by_chance.size and np.mean(by_chance) > EDGES_BY_CHANCE:
        runner.note(
            f"Edge F1: any other picture of these data already scores over {EDGES_BY_CHANCE:g}, close to the "
            f"acceptable {EDGES_KEPT:g}; what counts is how far ahead of it the score is."
        )

    # Pictures
    runner.progress(0.9, "pictures")
    _save_pictures(runner, judge, painted, scores, baselines, groups)
    note_untrained(runner.note, histories, runner.seed, decides={name_of(DESIGNATED): ["lpips", "edge_f1"]})
    drawn = learning_curve(
        histories,
        title="Training of the decoders",
        caption=runner.caption(len(split.val), "validation pictures"),
        y_label="L1 at four scales, loss",
    )
    runner.results.save_artifact("learning_curve.png", drawn)
    runner.results.save_json_artifact(
        "fine_detail.json",
        {
            "items": [dataset.manifest.items[i].id for i in split.test],
            "scores": {name_of(need): _plain(of) for need, of in scores.items()},
            "baselines": {name: _plain(of) for name, of in baselines.items()},
            "information_retention": {name_of(need): value for need, value in irs.items()},
        },
    )

    # Finding
    return {
        "finding": _sentence(scores[DESIGNATED], judge.has_edges, irs.get(DESIGNATED)),
        "metrics": {
            **{f"{name}_lpips": np.mean(of["lpips"]) for name, of in baselines.items()},
            **(
                {f"{name}_edge_f1": np.mean(of["edge_f1"][judge.has_edges]) for name, of in baselines.items()}
                if judge.has_edges.any()
                else {}
            ),
            **{
                "information_retention" + ("" if need == DESIGNATED else f"_{metric_of(need)}"): value
                for need, value in irs.items()
            },
        },
    }


class _Judge:
    """The held-out pictures, and what any other pictures are worth beside them."""

    def __init__(self, originals_NHWC: np.ndarray, device: str) -> None:
        self.images = originals_NHWC
        self.edges = edges(originals_NHWC)
        self.has_edges = np.array(
            [one.any() for one in self.edges]
        )  # [N]: where there are none an edge score does not exist
        self._originals, self._textures = Originals(originals_NHWC, device=device), GramReference(originals_NHWC)

    def scores(self, images_NHWC: np.ndarray) -> dict[str, np.ndarray]:
        """[N] each. `edge_f1` is NaN where there is no edge to be found."""
        return {
            **self._originals.scores(images_NHWC),
            "edge_f1": edge_f1(edges(images_NHWC), self.edges),
            "gram_distance": self._textures.distances(images_NHWC),
        }

    def log(
        self,
        runner: ExperimentRunner,
        scores: dict[str, np.ndarray],
        baselines: dict[str, dict[str, np.ndarray]],
        groups: list[str],
        suffix: str,
    ) -> None:
        """Hand over one point's scores; those of edges only of pictures that have some."""
        own = ("edge_f1", "gram_distance")
        plain = {name: values for name, values in scores.items() if name not in own}
        log_scores(runner.log_samples, plain, baselines, groups=groups, suffix=suffix)
        for name, kept in zip(own, (self.has_edges, np.ones_like(self.has_edges)), strict=True):
            if kept.any():
                runner.log_samples(
                    name + suffix,
                    scores[name][kept],
                    groups=[group for group, there in zip(groups, kept, strict=True) if there],
                    baselines={baseline: of[name][kept] for baseline, of in baselines.items()},
                    higher_is_better=name == "edge_f1",
                )


def _save_pictures(
    runner: ExperimentRunner,
    judge: _Judge,
    painted: dict[str, np.ndarray],
    scores: dict[str, dict[str, np.ndarray]],
    baselines: dict[str, dict[str, np.ndarray]],
    groups: list[str],
) -> None:
    shown = runner.caption(len(groups), sources=len(set(groups)))
    some = one_of_each(groups)[:6]
    found = {"original": judge.edges, **{need: edges(images) for need, images in painted.items()}}
    as_picture = {name: np.repeat(1.0 - of[some, :, :, None], 3, -1) for name, of in found.items()}
    rows = {"original": judge.images[some], "its edges": as_picture["original"]}
    written = {}
    for need, images in painted.items():
        rows |= {f"from {name_of(need)}": images[some], f"edges, {name_of(need)}": as_picture[need]}
        written[f"edges, {name_of(need)}"] = scores[need]["edge_f1"][some]
    drawn = image_grid(
        rows, title="Pictures and edges painted from tokens", caption=shown, scores=written, score_name="F1", columns=6
    )
    runner.results.save_artifact("edges.png", drawn)
    words = {"lpips": "LPIPS (less is better)", "edge_f1": "edge F1", "ssim": "SSIM", "gram_distance": "Gram distance"}
    series: dict[str, dict[str, Any]] = {name_of(need): {} for need in painted}
    series |= {name.replace("_", " "): {} for name in ("mean_image", "random_picture")}
    for metric, text in words.items():
        kept = judge.has_edges if metric == "edge_f1" else np.ones_like(judge.has_edges)
        if not kept.any():
            continue
        of_group = [group for group, there in zip(groups, kept, strict=True) if there]
        for need, of in scores.items():
            series[name_of(need)][text] = estimate(of[metric][kept], of_group)
        for name in ("mean_image", "random_picture"):
            series[name.replace("_", " ")][text] = estimate(baselines[name][metric][kept], of_group)
    drawn = bars(
        series,
        title="How much detail is left",
        caption=f"{shown} · 95 % intervals over sources",
        y_label="score",
        thresholds={"LPIPS acceptable": LPIPS_KEPT, "edge F1 acceptable": EDGES_KEPT},
    )
    runner.results.save_artifact("detail.png", drawn)


def _plain(scores: dict[str, np.ndarray]) -> dict[str, list[float | None]]:
    """For JSON, which has no NaN."""
    return {name: [float(v) if np.isfinite(v) else None for v in values] for name, values in scores.items()}


def _sentence(scores: dict[str, np.ndarray], has_edges: np.ndarray, irs: float | None) -> str:
    looks = float(np.mean(scores["lpips"])) < LPIPS_KEPT
    if not has_edges.any():
        return "No held-out picture has an edge, so edges were not scored; LPIPS from X3 tokens is {lpips:.3f}."
    outlines = float(np.mean(scores["edge_f1"][has_edges])) > EDGES_KEPT
    word = (
        "Fine detail survives"
        if looks and outlines
        else "Looks survive and edges do not"
        if looks
        else "Edges survive and looks do not"
        if outlines
        else "Fine detail does not survive"
    )
    band = next((text for level, text in BANDS if irs is not None and irs > level), "little")
    levels = ", ".join(f"{text}: over {level:g}" for level, text in reversed(BANDS))
    texture = "" if float(np.mean(scores["gram_distance"])) < TEXTURE_KEPT else "not "
    return (
        f"{word} in X3 tokens (looks: LPIPS under {LPIPS_KEPT:g}, edges: F1 over {EDGES_KEPT:g}): LPIPS {{lpips:.3f}} "
        "(mean image {mean_image_lpips:.3f}), edge F1 {edge_f1:.3f} (a random picture {random_picture_edge_f1:.3f}); "
        f"textures are {texture}kept (Gram distance {{gram_distance:.3f}}, kept: under {TEXTURE_KEPT:g}); {band} of "
        f"the information is retained (IRS {{information_retention:.2f}}; {levels})."
    )
