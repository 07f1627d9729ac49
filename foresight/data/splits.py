"""Splits: train, validation and test, by whole sources, with nothing shared between them.

The unit is the source (research-program.md section 7): all crops of a photograph, all frames of a clip go to one part.
What the stand-in models were trained on always goes to train. Where a dataset has an official split, that decides
what is test. `split_by_source` arranges this; `assert_disjoint` does not trust it and looks at the pictures too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from foresight.data.dataset import Dataset
from foresight.data.duplicates import near_duplicates
from foresight.data.manifest import Manifest
from foresight.data.recipes import OFFICIAL_SPLIT
from foresight.errors import DataLeak, UserError

FRACTIONS = (0.6, 0.15, 0.25)
LEAST_TEST_SOURCES = 10
"""Below this an interval is "insufficient", so that many sources go to test before any other part grows."""


@dataclass(frozen=True)
class Split:
    """Indices of items, ascending, each in one part at most."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray

    @property
    def parts(self) -> dict[str, np.ndarray]:
        return {"train": self.train, "validation": self.val, "test": self.test}


def split_by_source(manifest: Manifest, seed: int, sizes: Sequence[float] = FRACTIONS) -> Split:
    """Deal whole sources to train, validation and test; `seed` decides which of the free ones go where.

    `sizes` are three fractions of the sources that add up to 1, or three whole numbers of sources (then some may stay
    unused). Test gets more than its fraction, up to ten sources, as long as train keeps as many as test has.

    Raises `UserError` if the sizes make no sense or there are too few sources.
    """
    forced = sorted(name for name, source in manifest.sources.items() if source.stand_in_training)
    official_test = sorted(_official_validation(manifest) - set(forced))
    free = sorted(manifest.sources.keys() - set(forced) - set(official_test))
    rng = np.random.default_rng(seed)
    rng.shuffle(free)
    rng.shuffle(official_test)
    if all(size >= 1 and size == int(size) for size in sizes):
        n_train, n_val, n_test = (int(size) for size in sizes)
    else:
        n_train, n_val, n_test = _counts(sizes, len(forced), len(free), len(official_test))

    test, rest = (official_test[:n_test], free) if official_test else (free[:n_test], free[n_test:])
    val, train = rest[:n_val], forced + rest[n_val:][: max(n_train - len(forced), 0)]
    if min(n_train, n_val, n_test) < 1 or (len(train), len(val), len(test)) != (n_train, n_val, n_test):
        raise UserError(
            f"{manifest.spec.name} has {len(manifest.sources)} sources ({len(forced)} only train may have, "
            f"{len(official_test)} only test), which cannot be split into {list(sizes)}. "
            "Make the dataset larger, or ask for another split."
        )
    groups = np.array(manifest.groups)
    return Split(*(np.flatnonzero(np.isin(groups, part)) for part in (train, val, test)))


def assert_disjoint(dataset: Dataset, split: Split) -> None:
    """Raise `DataLeak`, naming two items, if two parts share a source, a content hash, or what looks like one picture.

    See `duplicates` for what that last test can and cannot see. It takes 0.5 s for 400 pictures.
    """
    items, sources = dataset.manifest.items, dataset.manifest.sources
    for part, indices in (("validation", split.val), ("test", split.test)):
        for i in indices:
            if sources[items[i].source].stand_in_training:
                raise DataLeak(
                    f"{dataset.manifest.spec.name}: {items[i].id} is in {part}, but the stand-in models were trained "
                    f"on its source {items[i].source}. Such a source may only be in train. Use `split_by_source`."
                )
    for what, key in (("come from one source", "source"), ("hold the same pixels", "sha256")):
        for (first_part, first), (second_part, second) in combinations(split.parts.items(), 2):
            seen = {getattr(items[i], key): i for i in first}
            for j in second:
                if (i := seen.get(getattr(items[j], key))) is not None:
                    raise DataLeak(_message(dataset, i, first_part, j, second_part, what))
    for match in near_duplicates(dataset, list(split.parts.values())):
        parts = [name for i in (match.first, match.second) for name, part in split.parts.items() if i in part]
        how = f"look like one picture ({match.variant}{', shifted' if match.shifted else ''})"
        raise DataLeak(_message(dataset, match.first, parts[0], match.second, parts[1], how))


def _message(dataset: Dataset, i: int, first_part: str, j: int, second_part: str, what: str) -> str:
    manifest = dataset.manifest
    some, other = manifest.items[i], manifest.items[j]
    exclude = "List one of the two sources under `exclude` in the dataset's parameters."
    another = "Give both items one source, or the dataset another seed."
    return (
        f"{manifest.spec.name}: {some.id} (source {some.source}) in {first_part} and "
        f"{other.id} (source {other.source}) in {second_part} {what}. "
        f"A score on such a test is a score on training data. "
        f"{exclude if 'exclude' in manifest.spec.parameters else another}"
    )


def _official_validation(manifest: Manifest) -> set[str]:
    """Sources of the official validation split, which is our test: official test sets have no labels."""
    return {item.source for item in manifest.items if item.labels.get(OFFICIAL_SPLIT) == "validation"}


def _counts(fractions: Sequence[float], n_forced: int, n_free: int, n_official: int) -> tuple[int, int, int]:
    """Sources a part. Forced ones are in train; official ones are test, and then no other source is."""
    if min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise UserError(
            f"A split of {list(fractions)} makes no sense. Give three fractions above 0 that add up to 1, "
            "or three whole numbers of sources."
        )
    train, val, test = fractions
    if n_official:
        n_val = max(round(val / (train + val) * (n_forced + n_free)), 1)
        return n_forced + n_free - n_val, n_val, n_official
    total = n_forced + n_free
    n_val = max(round(val * total), 1)
    fair = (total - n_val) // 2  # as many for test as for train
    n_test = max(round(test * total), min(LEAST_TEST_SOURCES, fair), 1)
    n_test = min(n_test, n_free - n_val)  # the forced sources may be more than train's fraction
    return total - n_val - n_test, n_val, n_test
