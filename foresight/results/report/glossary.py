"""The words of a report for who reads one for the first time: where features are taken from, and what terms mean.

Only terms that a page uses are on it. The drawing is made once wide and once for a phone, as those of `scale`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

from foresight.results.report.facts import ExperimentFacts, Metric

POINTS = {
    "X1": "inside the vision encoder, after one of its blocks",
    "X2": "the vision encoder's last output, one token for each patch of the picture, before the merger",
    "X3": "behind the merger, which joins 2 x 2 tokens into one: what the language model is given",
    "X4": "inside the language model, at one of its layers (X4.last: the last), tokens of the picture only",
    "X6": "the video model's own code of a picture (its latents), from which its decoder paints",
    "X7": "the patch tokens of DINOv2, another vision model, one for each patch of the picture",
}
WORDS = "An extraction point is a place where numbers are taken out of a model:"
TERMS: tuple[tuple[str, str, str], ...] = (
    ("source", "", "What a picture or clip comes from: a photograph, a clip, a draw of a generator. Training, "
     "validation and test never share one. n counts the sources of all seeds together, since each seed draws a test "
     "part of its own."),
    ("seed", "", "A repetition with another split of the sources and other initial weights."),
    ("±", "", "The standard deviation over seeds."),
    ("95 % interval", "", "Where the mean may lie with other sources and seeds; under ten sources there is none. Two "
     "parts, whose squares add up. Sources: those that were tested are drawn again and again with replacement, and the "
     "mean moves. Seeds: what their means differ by beyond that, their standard error times 4.3 where there are three "
     "(12.7 for two), since so few tell little of how much seeds differ. So a score whose three seeds happen to lie "
     "close has an interval several times narrower than another of the same kind; both are right, and where most of "
     "one comes from the seeds, it is said beside it."),
    ("baseline", "", "A guess that needs no features, on the same samples. A result counts for as much as it is "
     "ahead of the best of them: ahead or behind where the interval of the paired difference excludes zero, level "
     "otherwise."),
    ("oracle", r"oracle|true latents", "What the same decoder makes of the true latents: the best it could do."),
    ("shuffled tokens", r"shuffled", "The same with each picture's tokens in shuffled places: what was seen is kept, "
     "where it was is lost."),
    ("permuted", r"permuted", "Labels or boxes dealt out anew among the pictures before a head is trained, so that "
     "it can learn nothing but what is common."),
    ("class prior", r"class.prior", "Every class at its typical boxes, as sure as it is common, whatever is shown."),
    ("typical boxes", r"typical.boxes", "The same few boxes for every picture, chosen from the training part."),
    ("fused", r"\bfused\b", "Both encoders' tokens of a picture, brought together by a part that is trained. VLM only, "
     "DINOv2 only: the same system with one encoder's tokens in both places, and as many weights."),
    ("base", r"\bbase\b", "Of an ablation: the system that all others are compared with, each of which differs from it "
     "in one thing. Share: how much of all channels is DINOv2's. Queries: how many a perceiver has."),
    ("frozen system", r"frozen system", "One that was trained elsewhere and is only scored: nothing in it changes."),
    ("second VLM", r"second.vlm", "A second pass of the VLM in DINOv2's place: what a second encoder costs that is as "
     "large as the first."),
    ("VLM path", r"VLM path", "From a picture to the painted one by the VLM alone; the hybrid path has DINOv2 "
     "as well."),
    ("other pictures", r"other.pictures", "What was found in one picture, given for another: the habits of a head "
     "without what it saw."),
    ("frozen", r"frozen(?! system)", "The same head on clips in which one frame is held: what can be read with "
     "nothing moving."),
    ("mean image", r"mean.image", "The average of the training pictures, given for every picture."),
    ("mean latent", r"mean.latent|mean one", "What the decoder paints from the average latents."),
    ("at one width", r"one width", "Points are reduced to the same number of features a place, so that width alone "
     "gives none an advantage."),
    ("linear probe, head", r"probe|head", "A small model trained on the features while the big one stays as it is."),
    ("LPIPS", r"lpips", "How different two pictures look to a trained network; 0 is equal."),
    ("SSIM", r"ssim", "How alike the structure of two pictures is; 1 is equal."),
    ("PSNR", r"psnr", "Closeness pixel by pixel in decibels; more is closer."),
    ("IoU", r"iou", "Overlap of two boxes, as a share of what both cover; 1 is equal."),
    ("AP, mAP", r"\bmap\b|\bap\b", "Average precision of a detector, by COCO's own code; 1 is perfect."),
    ("edge F1", r"edge.f1", "How well edges are found where they are, within two pixels; 1 is perfect."),
    ("Gram distance", r"gram.distance", "How different textures are; 0 is equal."),
    ("IRS", r"\birs\b|information.retention", "Information retention: 0.4 of IoU / 0.85, 0.3 of (1 - LPIPS) / 0.7 and "
     "0.3 of edge F1 / 0.8, from one point."),
    ("go, no go", r"\bno go\b|\bgo:", "Whether a level fixed in advance is reached, ahead of what needs no features."),
    ("silhouette", r"silhouette", "Whether a picture lies nearer to its own kind than to the next: 1 clearly, 0 not."),
    ("nearest neighbours, kNN", r"knn|nearest neigh", "Whether the nearest other pictures are of the same kind."),
    ("R2", r"\br2\b|r²", "The share of the variance that is predicted: 1 all, 0 no more than the mean."),
    ("Spearman", r"spearman", "Whether distances rank alike in two spaces: 1 the same, 0 unrelated."),
    ("CKA", r"\bcka\b", "Whether two spaces have the same structure, up to rotation; debiased: 0 for unrelated ones."),
    ("recall at 10", r"recall", "The share of the ten nearest pictures that two spaces have in common."),
)  # fmt: skip

CHAIN = (("picture", ""), ("vision encoder", "X1"), ("", "X2"), ("merger", ""), ("", "X3"), ("language model", "X4"))
CONTROL = (("picture", ""), ("DINOv2", ""), ("", "X7"))
PAINT = (("X3 tokens", ""), ("adapter", ""), ("", "X6"), ("video decoder", ""), ("picture", ""))


def terms(facts: Iterable[ExperimentFacts]) -> list[tuple[str, str]]:
    """Those that are always needed, and those whose word occurs."""
    text = " ".join(_words(facts)).lower()
    return [(name, said) for name, pattern, said in TERMS if not pattern or re.search(pattern, text)]


def points(facts: Iterable[ExperimentFacts]) -> list[tuple[str, str]]:
    """The extraction points that occur."""
    text = " ".join(_words(facts))
    return [(name, said) for name, said in POINTS.items() if re.search(rf"\b{name}\b", text, re.IGNORECASE)]


def _words(facts: Iterable[ExperimentFacts]) -> Iterable[str]:
    for one in facts:
        for criterion in one.criteria:
            yield from (criterion.row["name"], criterion.row["arm"])
        for sub in one.subs:
            yield from (sub.entry["finding"], *sub.entry["notes"])
            yield from (name.replace("_", " ") for metric in (*sub.metrics, *sub.others) for name in _names(metric))


def _names(metric: Metric) -> list[str]:
    return [metric.name, *metric.baselines]


def diagram(facts: Iterable[ExperimentFacts]) -> str:
    """From a picture to what is painted of it, with the extraction points; a row for each part, narrow downwards.

    DINOv2 is among them where it occurs; then what is painted may come from its tokens, too.
    """
    second = any(name == "X7" for name, _ in points(facts))
    said = "X3 or X7 tokens" if second else "X3 tokens"
    rows = [CONTROL] * second + [((said, ""), *PAINT[1:])]
    label = escape(
        "picture, vision encoder with X1 inside, X2, merger, X3, language model with X4 inside; "
        + "picture, DINOv2, X7; " * second
        + f"{said}, adapter, X6, video decoder, picture"
    )
    return "".join(
        f'<svg class="scale {name}" role="img" aria-label="{label}" '
        f'viewBox="0 0 {width} {2 + pitch * len(parts)}">{_rows(parts, width, pitch)}</svg>'
        for name, width, pitch, parts in (
            ("wide", 680, 58, [CHAIN, *rows]),
            ("narrow", 330, 52, [CHAIN[:4], CHAIN[4:], *rows]),
        )
    )


def _rows(rows: Sequence[Sequence[tuple[str, str]]], width: int, pitch: int) -> str:
    return "".join(_row(parts, width, 8 + pitch * number) for number, parts in enumerate(rows))


def _row(parts: Iterable[tuple[str, str]], width: int, y: int) -> str:
    """Boxes for what computes, plain letters for what is taken out, arrows between."""
    parts = list(parts)
    letters = sum(len(text or point) + (2 if text else 0) for text, point in parts)
    arrow = 22.0
    unit = min(8.0, (width - 8 - arrow * (len(parts) - 1)) / letters)
    x, drawn = 4.0, []
    for index, (text, point) in enumerate(parts):
        room = unit * (len(text or point) + (2 if text else 0))
        if index:
            drawn.append(f'<path class="flow" d="M{x + 3:.1f} {y + 18}h{arrow - 8:g}m-4 -3.5l4 3.5l-4 3.5"/>')
            x += arrow
        middle = x + room / 2
        if text:
            drawn.append(f'<rect class="box" x="{x:.1f}" y="{y + 4}" width="{room:.1f}" height="28" rx="4"/>')
            drawn.append(f'<text class="part" text-anchor="middle" x="{middle:.1f}" y="{y + 22}">{escape(text)}</text>')
            if point:
                drawn.append(f'<text class="value" text-anchor="middle" x="{middle:.1f}" y="{y + 46}">{point}</text>')
        else:
            drawn.append(f'<text class="value" text-anchor="middle" x="{middle:.1f}" y="{y + 22}">{point}</text>')
        x += room
    return "".join(drawn)
