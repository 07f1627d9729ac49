"""What tokens say of objects beside their boxes: where one lies as seen from another, and what a token is of.

Where two objects lie to each other is asked of what the tokens under each say, not of where those tokens are; the class
of a single token, background among them. Each beside the most common answer, and beside the same classifier trained on
labels dealt out anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from foresight.data.objects import objects_of
from foresight.experiments.reading import Reading, Tokens
from foresight.metrics.box_sets import relation
from foresight.metrics.statistics import Interval, paired_difference_interval
from foresight.metrics.structure import permute_labels
from foresight.probes.classes import ClassFeatures, balanced_tokens, pooled_over_boxes, token_classes

TOKENS_TO_CLASSIFY = 10_000


@dataclass(frozen=True)
class Scores:
    """One score a sample, with the source of each and what needs no features on the same samples."""

    values: np.ndarray
    groups: list[str]
    baselines: dict[str, np.ndarray]


def relative_position(reading: Reading, tokens: Tokens) -> Scores | None:
    """Whether each ordered pair of objects of test is told right, 1 or 0. None if a part has no pair."""

    def pairs(part: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
        x, y, groups = [], [], []
        for picture, index in zip(tokens[part], reading.split.parts[part], strict=True):
            boxes = reading.objects[index].boxes
            pooled = pooled_over_boxes(picture, boxes)
            for a in range(len(boxes)):
                for b in set(range(len(boxes))) - {a}:
                    x.append(np.concatenate([pooled[a], pooled[b]]))
                    y.append(relation(boxes[a], boxes[b]))
                    groups.append(reading.dataset.groups[index])
        return np.array(x), np.array(y), groups

    return _classified({part: pairs(part) for part in ("train", "validation", "test")}, reading.runner.rng)


def token_class(reading: Reading, tokens: Tokens) -> Scores | None:
    """Whether each token of test is told right, 1 or 0: on objects, and as many on background."""
    rng, objects = reading.runner.rng, objects_of(reading.dataset)  # with crowds, which are no background

    def chosen(part: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
        index = reading.split.parts[part]
        labels = token_classes([objects[i] for i in index], tokens[part].shape[1:3])
        places = tuple(balanced_tokens(labels, rng, TOKENS_TO_CLASSIFY).T)
        return tokens[part][places], labels[places], [reading.dataset.groups[index[i]] for i in places[0]]

    return _classified({part: chosen(part) for part in ("train", "validation", "test")}, reading.runner.rng)


def _classified(
    parts: Mapping[str, tuple[np.ndarray, np.ndarray, list[str]]], rng: np.random.Generator
) -> Scores | None:
    if not all(len(groups) for _, _, groups in parts.values()):
        return None
    (x, y, of), (x_val, y_val, of_val), (x_test, y_test, groups) = parts.values()
    dealt, dealt_val = permute_labels(y, of, rng), permute_labels(y_val, of_val, rng)
    classes, counts = np.unique(y, return_counts=True)
    features = ClassFeatures.of(x, x_val)
    right = features.fit(y, y_val).predict(x_test)
    blind = features.fit(dealt, dealt_val).predict(x_test)
    return Scores(
        (right == y_test).astype(float),
        groups,
        {
            "most_common": (classes[counts.argmax()] == y_test).astype(float),
            "permuted_labels": (blind == y_test).astype(float),
        },
    )


def log_content(reading: Reading, tokens: Tokens) -> dict[str, Scores]:
    """`position_accuracy` and `patch_accuracy` of a point, where the data have what they ask for, by metric."""
    studies: dict[str, tuple[Callable[[Reading, Tokens], Scores | None], str]] = {
        "position_accuracy": (relative_position, "two objects in one picture"),
        "patch_accuracy": (token_class, "token that lies on an object"),
    }
    found = {}
    for metric, (study, lacking) in studies.items():
        scores = study(reading, tokens)
        if scores is None:
            reading.runner.note(f"{metric} was not measured: some part of the data has no {lacking}.")
            continue
        found[metric] = scores
        reading.runner.log_samples(
            metric, scores.values, groups=scores.groups, baselines=scores.baselines, higher_is_better=True
        )
    return found


CONTENT = {"position_accuracy": "relative position", "patch_accuracy": "class of a token"}
"""What `log_content` measures, in words."""


def told(content: Mapping[str, Scores]) -> str:
    """The same as part of a finding, beside what dealt-out labels give: what can be told, and what cannot."""
    known = [metric for metric, of in content.items() if _ahead(of)]
    said = [
        "the tokens tell "
        + " and ".join(
            f"{CONTENT[metric]} in {{{metric}:.0%}} of cases ({{permuted_{metric}:.0%}} with permuted labels)"
            for metric in known
        )
    ] * bool(known)
    said += [
        f"{CONTENT[metric]} cannot be told from them ({{{metric}:.0%}}, {{permuted_{metric}:.0%}} with permuted labels)"
        for metric in content
        if metric not in known
    ]
    return "; ".join(said)


def _ahead(scores: Scores) -> bool:
    """Better than with dealt-out labels, by the paired difference over sources; by the means where sources are few."""
    blind = scores.baselines["permuted_labels"]
    ahead = paired_difference_interval([(scores.values.tolist(), blind.tolist(), scores.groups)], higher_is_better=True)
    return ahead.low > 0 if isinstance(ahead, Interval) else bool(np.mean(scores.values) > np.mean(blind))


def content_metrics(content: Mapping[str, Scores]) -> dict[str, float]:
    """The metrics that `told` refers to beside the scores themselves."""
    return {f"permuted_{metric}": float(np.mean(of.baselines["permuted_labels"])) for metric, of in content.items()}
