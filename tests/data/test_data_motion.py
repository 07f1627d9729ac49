"""Clips that move: what is drawn moves as its labels say, and no frame by itself tells how."""

from __future__ import annotations

import numpy as np
import pytest
from raw_folders import fake_ssv2

from foresight.data.dataset import DataSpec, prepare
from foresight.data.motion import FRICTION, OPPOSITE, SPEEDS, make
from foresight.data.recipes import STAND_IN_SEEDS_FROM, MotionParameters
from foresight.data.splits import assert_disjoint, split_by_source
from foresight.errors import UserError
from foresight.home import Home

VIEWS = ["forward", "reversed", "still"]


def drawn(n: int = 12, **parameters):
    return list(make(MotionParameters(n=n, **{"side": 56, "background": "white", **parameters})))


def place(frame: np.ndarray) -> np.ndarray:
    """(x, y) of what is not white on a picture whose opposite edges are joined, as two numbers on the unit circle."""
    ink = (255.0 - frame).sum(axis=2)
    waves = np.array([np.fft.fft(ink.sum(axis=axis))[1] for axis in (0, 1)])
    return waves.conj() / np.abs(waves)


def shift(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """(x, y) in px by which it moved."""
    return np.angle(place(after) / place(before)) * len(before) / (2 * np.pi)


def test_the_object_moves_as_its_labels_say():
    directions = set()
    for item in drawn(20, side=112):
        if item.labels["order"] == "still":
            assert len({frame.tobytes() for frame in item.pixels}) == 1
            continue
        x, y = np.mean([shift(a, b) for a, b in zip(item.pixels[:-1], item.pixels[1:], strict=True)], axis=0)
        seen = {(True, True): "right", (True, False): "left", (False, True): "down", (False, False): "up"}
        assert item.labels["direction"] == seen[abs(x) > abs(y), (x if abs(x) > abs(y) else y) > 0]
        assert min(abs(x), abs(y)) < 0.1
        first, last = (np.hypot(*shift(item.pixels[k], item.pixels[k + 1])) for k in (0, -2))
        assert (first > 1.5 * last) == (item.labels["order"] == "forward")  # it slows down, reversed it speeds up
        faster = max(first, last) * 224 / 112
        assert faster == pytest.approx(SPEEDS[item.labels["speed"]], rel=0.17)
        assert last / first == pytest.approx(FRICTION ** (6 if item.labels["order"] == "forward" else -6), rel=0.15)
        directions.add(item.labels["direction"])
    assert directions == set(OPPOSITE)


def test_a_clip_is_there_forward_reversed_and_frozen_as_one_source():
    items = drawn(5, background="textured")
    for k in range(5):
        forward, backward, still = items[3 * k : 3 * k + 3]
        assert [item.labels["order"] for item in (forward, backward, still)] == VIEWS
        assert forward.source_id == backward.source_id == still.source_id == f"D7-seed0-{k:06d}"
        np.testing.assert_array_equal(backward.pixels, forward.pixels[::-1])
        np.testing.assert_array_equal(still.pixels, forward.pixels[[4] * 8])
        assert backward.labels["direction"] == OPPOSITE[forward.labels["direction"]]
        assert still.labels["direction"] == forward.labels["direction"]


def test_no_clip_is_there_twice_nothing_stands_still_and_nothing_counts_the_frames():
    items = [item for seed in (0, 1) for item in drawn(40, seed=seed)]
    assert len({item.pixels.tobytes() for item in items}) == len(items)
    for item in items[::3]:
        assert len({frame.tobytes() for frame in item.pixels}) == 8
        coverage = (255 - item.pixels.astype(int)).sum(axis=(1, 2, 3))
        assert np.ptp(coverage) / coverage.mean() < 0.05  # every frame shows the one object, whole


def test_where_the_object_is_does_not_tell_where_it_goes():
    """In every frame, of every direction: the place is spread evenly over the picture."""
    items = [item for item in drawn(400, side=28) if item.labels["order"] == "forward"]
    for direction in OPPOSITE:
        clips = [item.pixels for item in items if item.labels["direction"] == direction]
        for frame in (0, 7):
            mean = np.mean([place(clip[frame]) for clip in clips], axis=0)
            assert (np.abs(mean) < 3 / np.sqrt(len(clips))).all(), (direction, frame)


def test_a_clip_does_not_depend_on_how_many_there_are():
    for one, other in zip(drawn(3), drawn(6), strict=False):
        assert (one.id, one.labels) == (other.id, other.labels)
        np.testing.assert_array_equal(one.pixels, other.pixels)


@pytest.mark.parametrize(("frames", "fps"), [(2, 2.0), (6, 12.0)])
def test_frames_and_rate_are_what_is_asked(tmp_path, frames, fps):
    spec = DataSpec("motion", "motion", {"n": 3, "side": 28, "frames": frames, "fps": fps})
    dataset = prepare(spec, Home(tmp_path))
    assert dataset.images.shape == (9, frames, 28, 28, 3)
    assert dataset.fps == fps


def test_the_rate_bears_identity(tmp_path):
    slow, fast = (
        prepare(DataSpec("motion", "motion", {"n": 2, "side": 28, "fps": fps}), Home(tmp_path)) for fps in (2.0, 4.0)
    )
    np.testing.assert_array_equal(slow.images, fast.images)
    assert slow.manifest.sha256 != fast.manifest.sha256


def test_a_split_keeps_the_views_of_a_clip_together(tmp_path):
    dataset = prepare(DataSpec("motion", "motion", {"n": 40, "side": 112}), Home(tmp_path))
    split = split_by_source(dataset.manifest, 0)
    assert_disjoint(dataset, split)
    for part in split.parts.values():
        _, counts = np.unique(np.array(dataset.groups)[part], return_counts=True)
        assert set(counts) == {3}


def test_what_stand_ins_might_be_trained_on_counts_as_train():
    assert [drawn(1, seed=seed)[0].source.stand_in_training for seed in (0, STAND_IN_SEEDS_FROM)] == [False, True]


# ---------------------------------------------------------------- clips of Something-Something v2


def ssv2(n: int = 8, **parameters) -> DataSpec:
    return DataSpec("ssv2", "ssv2_motion", {"n": n, "side": 56, "frames": 6, **parameters})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return fake_ssv2(tmp_path_factory.mktemp("raw") / "ssv2", n_train=12, n_validation=6)


def test_ssv2_clips_go_the_way_that_their_label_says_and_back(tmp_path, folder):
    dataset = prepare(ssv2(), Home(tmp_path), root=folder)
    assert dataset.images.shape == (24, 6, 56, 56, 3)
    assert dataset.fps == 4.0
    red = dataset.images[..., 0].astype(int) - dataset.images[..., 1:].max(axis=-1)
    for item, clip in zip(dataset.manifest.items, red > 80, strict=True):
        first, last = (np.flatnonzero(frame.any(axis=0)).mean() for frame in (clip[0], clip[-1]))
        if item.labels["order"] == "still":
            assert first == last
        else:
            assert item.labels["direction"] == ("right" if last > first else "left")


def test_ssv2_has_as_many_of_each_direction_in_each_official_split(tmp_path, folder):
    dataset = prepare(ssv2(), Home(tmp_path), root=folder)
    forward = dataset.labels("order") == "forward"
    official, direction = dataset.labels("official_split")[forward], dataset.labels("direction")[forward]
    pairs = [*zip(official.tolist(), direction.tolist(), strict=True)]
    assert pairs == [("train", "left")] * 3 + [("train", "right")] * 3 + [
        ("validation", "left"),
        ("validation", "right"),
    ]
    assert set(official[np.isin(np.flatnonzero(forward), split_by_source(dataset.manifest, 0).test)]) == {"validation"}


def test_ssv2_says_when_too_few_clips_go_one_way(tmp_path, folder):
    with pytest.raises(UserError, match="only 6 official train clips that go left that are long enough"):
        prepare(ssv2(20, validation_fraction=0.2), Home(tmp_path), root=folder)
