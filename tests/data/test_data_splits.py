"""Splits share nothing, and a planted leak of every kind is caught."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import dataset_of, jpeg

from foresight.data.crops import make
from foresight.data.dataset import DataSpec, prepare
from foresight.data.recipes import OFFICIAL_SPLIT, PhotographsParameters
from foresight.data.splits import Split, assert_disjoint, split_by_source
from foresight.errors import DataLeak, UserError
from foresight.home import Home


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size=(n, 32, 32, 3), dtype=np.uint8)


def planned(n_free: int, n_stand_in: int = 0, per_source: int = 2):
    """A manifest with so many sources."""
    names = [f"free-{i}" for i in range(n_free)] + [f"seen-{i}" for i in range(n_stand_in)]
    sources = [name for name in names for _ in range(per_source)]
    return dataset_of(noise(len(sources)), sources, stand_in=names[n_free:]).manifest


def sources_of(manifest, indices) -> set[str]:
    return {manifest.items[i].source for i in indices}


@given(n_free=st.integers(3, 60), n_stand_in=st.integers(0, 10), seed=st.integers(0, 5))
@settings(max_examples=40)
def test_whole_sources_and_all_of_them_and_stand_in_sources_in_train(n_free, n_stand_in, seed):
    manifest = planned(n_free, n_stand_in)
    split = split_by_source(manifest, seed)
    everything = np.concatenate([split.train, split.val, split.test])
    assert sorted(everything) == list(range(len(manifest.items)))
    train, val, test = (sources_of(manifest, part) for part in split.parts.values())
    assert not train & val
    assert not train & test
    assert not val & test
    assert train
    assert val
    assert test
    assert all(name.startswith("free") for name in val | test)
    if n_free + n_stand_in >= 24 and n_free >= 14:
        assert len(test) >= 10


def test_ten_test_sources_of_the_packaged_photographs(tmp_path):
    dataset = prepare(DataSpec("photographs", "photographs", {"side": 112, "per_source": 2}), Home(tmp_path))
    tests = []
    for seed in range(3):
        split = split_by_source(dataset.manifest, seed)
        assert_disjoint(dataset, split)
        tests.append(sources_of(dataset.manifest, split.test))
        assert len(tests[-1]) == 10
        assert len(sources_of(dataset.manifest, split.val)) == 4
    assert tests[0] != tests[1] != tests[2]


def test_a_large_dataset_is_split_by_its_fractions():
    manifest = planned(200, per_source=1)
    split = split_by_source(manifest, 0, (0.6, 0.15, 0.25))
    assert [len(part) for part in split.parts.values()] == [120, 30, 50]


def test_the_same_seed_gives_the_same_split_and_another_another():
    manifest = planned(40)
    one, again, other = (split_by_source(manifest, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.test, again.test)
    assert not np.array_equal(one.test, other.test)


def test_the_split_depends_on_sources_and_not_on_the_order_of_items():
    names = [f"s{i}" for i in range(30)]
    forward, backward = dataset_of(noise(30), names).manifest, dataset_of(noise(30), names[::-1]).manifest
    for part in ("train", "val", "test"):
        some = sources_of(forward, getattr(split_by_source(forward, 3), part))
        assert some == sources_of(backward, getattr(split_by_source(backward, 3), part))


@pytest.mark.parametrize("counts", [(20, 5, 10), (20.0, 5.0, 10.0)])
def test_whole_numbers_are_numbers_of_sources(counts):
    manifest = planned(40, per_source=3)
    split = split_by_source(manifest, 0, counts)
    assert [len(sources_of(manifest, part)) for part in split.parts.values()] == [20, 5, 10]


def test_counts_include_the_forced_sources_in_train():
    manifest = planned(20, 6)
    split = split_by_source(manifest, 0, (8, 4, 10))
    train = sources_of(manifest, split.train)
    assert len(train) == 8
    assert sum(name.startswith("seen") for name in train) == 6


@pytest.mark.parametrize(
    ("n_free", "n_stand_in", "sizes"),
    [
        (2, 0, (0.6, 0.15, 0.25)),
        (0, 9, (0.6, 0.15, 0.25)),
        (10, 0, (8, 2, 1)),
        (10, 6, (5, 1, 1)),
        (10, 0, (0.5, 0.4, 0.4)),
        (10, 0, (1.0, 0.0, 0.0)),
    ],
)
def test_an_impossible_split_is_refused(n_free, n_stand_in, sizes):
    with pytest.raises(UserError, match=r"cannot be split into|makes no sense"):
        split_by_source(planned(n_free, n_stand_in), 0, sizes)


def test_an_official_split_decides_what_is_test():
    labels = [{OFFICIAL_SPLIT: "validation" if i >= 30 else "train"} for i in range(42)]
    manifest = dataset_of(noise(42), labels=labels).manifest
    for seed in (0, 1):
        split = split_by_source(manifest, seed)
        assert split.test.tolist() == list(range(30, 42))
        assert (len(split.train), len(split.val)) == (24, 6)
    assert not np.array_equal(split_by_source(manifest, 0).val, split_by_source(manifest, 1).val)
    counted = split_by_source(manifest, 0, (20, 5, 7))
    assert [len(part) for part in counted.parts.values()] == [20, 5, 7]
    assert counted.test.min() >= 30


@pytest.fixture(scope="module")
def photographs() -> tuple[np.ndarray, list[str]]:
    """One crop of each packaged source but the flattest."""
    samples = [s for s in make(PhotographsParameters(side=112, per_source=1)) if s.source_id != "clock"]
    return np.stack([s.pixels for s in samples]), [s.source_id for s in samples]


PARTS = Split(train=np.arange(0, 14), val=np.arange(14, 18), test=np.arange(18, 26))


def test_different_sources_pass(photographs):
    images, sources = photographs
    assert_disjoint(dataset_of(images, sources), PARTS)


@pytest.mark.parametrize(("first", "second"), [(3, 15), (3, 20), (16, 20)], ids=["train-val", "train-test", "val-test"])
@pytest.mark.parametrize(
    ("plant", "how"),
    [
        (lambda image: image, "hold the same pixels"),
        (lambda image: jpeg(image, 80), r"look like one picture \(as is"),
        (lambda image: np.clip(image * 1.06 + 5, 0, 255).astype(np.uint8), r"look like one picture \(as is"),
        (lambda image: image[:, ::-1], r"look like one picture \(mirrored\)"),
        (lambda image: image[::-1], r"look like one picture \(flipped\)"),
        (lambda image: np.roll(image, (3, 3), axis=(0, 1)), "look like one picture .*shifted"),
    ],
    ids=["copy", "re-encoded", "brighter", "mirrored", "flipped", "shifted"],
)
def test_a_planted_leak_is_caught_and_named(photographs, plant, how, first, second):
    images, sources = photographs[0].copy(), photographs[1]
    images[second] = plant(images[first])
    with pytest.raises(DataLeak, match=how) as caught:
        assert_disjoint(dataset_of(images, sources), PARTS)
    assert f"item-{first:03d} (source {sources[first]})" in str(caught.value)
    assert f"item-{second:03d} (source {sources[second]})" in str(caught.value)


def test_a_leak_inside_one_part_is_none(photographs):
    images, sources = photographs[0].copy(), photographs[1]
    images[5] = images[3][:, ::-1]
    assert_disjoint(dataset_of(images, sources), PARTS)


def test_a_shared_source_is_caught_though_the_pictures_differ(photographs):
    images, sources = photographs[0], list(photographs[1])
    sources[20] = sources[3]
    with pytest.raises(DataLeak, match=r"item-003 .* in train and item-020 .* in test come from one source"):
        assert_disjoint(dataset_of(images, sources), PARTS)


def test_what_the_stand_ins_have_seen_may_not_be_tested_on(photographs):
    images, sources = photographs
    with pytest.raises(DataLeak, match=r"item-020 is in test, but the stand-in models were trained on its source"):
        assert_disjoint(dataset_of(images, sources, stand_in=[sources[20]]), PARTS)


def test_a_mirrored_frame_of_a_clip_is_caught(photographs):
    clips = np.stack([np.stack([image] * 3) for image in photographs[0]])
    clips[20, 2] = clips[3, 0][:, ::-1]
    with pytest.raises(DataLeak, match=r"item-003 .* item-020 .*mirrored"):
        assert_disjoint(dataset_of(clips, photographs[1]), PARTS)
