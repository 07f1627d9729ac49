"""Something-Something v2 in its true layout: a fixed rate, the official split, the licence, and what is missing."""

from __future__ import annotations

import numpy as np
import pytest
from raw_folders import TEMPLATES, fake_ssv2, write_clip

from foresight.data.dataset import DataSpec, prepare
from foresight.data.splits import assert_disjoint, split_by_source
from foresight.data.ssv2 import sample_frames
from foresight.errors import UserError
from foresight.home import Home


def spec(n: int = 8, **parameters) -> DataSpec:
    return DataSpec("ssv2", "ssv2_frames", {"n": n, "side": 56, "frames": 8, "fps": 6.0, **parameters})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return fake_ssv2(tmp_path_factory.mktemp("raw") / "ssv2", n_train=12, n_validation=6)


def position(frame: np.ndarray) -> float:
    """Where the red square is, 0..1 from the left."""
    red = frame[..., 0].astype(int) - frame[..., 1:].max(axis=-1)
    return float(np.flatnonzero((red > 80).any(axis=0)).mean() / frame.shape[1])


def test_clips_have_frames_in_order_and_labels_that_fit(tmp_path, folder):
    dataset = prepare(spec(16, validation_fraction=0.25), Home(tmp_path), root=folder)
    assert dataset.images.shape == (16, 8, 56, 56, 3)
    for item, clip in zip(dataset.manifest.items, dataset.images, strict=True):
        rightward = position(clip[-1]) > position(clip[0])
        assert item.labels["template"] == f"Pushing something from {'left to right' if rightward else 'right to left'}"
        assert str(item.labels["class_id"]) == TEMPLATES[item.labels["template"].replace("something", "[something]")]
        assert item.labels["text"].startswith("pushing a box")


def test_the_official_split_is_kept_and_respected(tmp_path, folder):
    dataset = prepare(spec(16, validation_fraction=0.25), Home(tmp_path), root=folder)
    official = dataset.labels("official_split")
    assert official.tolist() == ["train"] * 12 + ["validation"] * 4
    split = split_by_source(dataset.manifest, 0)
    assert set(official[split.test]) == {"validation"}
    assert set(official[split.train]) | set(official[split.val]) == {"train"}
    assert_disjoint(dataset, split)


@pytest.mark.parametrize("own_rate", [12, 24, 30])
def test_the_rate_holds_whatever_the_rate_of_the_file(tmp_path, own_rate):
    write_clip(tmp_path / "a.webm", 1, 2 * own_rate, own_rate, leftward=False)
    sampled = sample_frames(tmp_path / "a.webm", 8, 6.0)
    assert sampled is not None
    frames, start_s = sampled
    assert start_s == pytest.approx((2 - 7 / 6) / 2, abs=1 / own_rate + 1 / 12)
    steps = np.diff([position(frame) for frame in frames])
    # The square crosses 80 of 96 px in 2 s less a frame: so much in a sixth of a second.
    assert steps.mean() == pytest.approx(80 / 96 / (2 - 1 / own_rate) / 6, rel=0.1)


def test_one_frame_a_clip_is_a_picture_from_its_middle(tmp_path, folder):
    dataset = prepare(spec(8, frames=1), Home(tmp_path), root=folder)
    assert dataset.images.shape == (8, 56, 56, 3)
    assert [position(image) for image in dataset.images] == pytest.approx([0.5] * 8, abs=0.1)


def test_a_clip_that_is_too_short_is_left_out(tmp_path):
    root = fake_ssv2(tmp_path / "ssv2", n_train=4, n_validation=2)
    short = sorted((root / "20bn-something-something-v2").iterdir())[1]
    write_clip(short, 1, 6, 12, leftward=True)
    dataset = prepare(spec(5, validation_fraction=0.4), Home(tmp_path / "home"), root=root)
    assert short.stem not in dataset.groups
    with pytest.raises(
        UserError, match=r"4 items were asked for, but .* has only 3 official train clips that are long"
    ):
        prepare(spec(6, validation_fraction=0.34), Home(tmp_path / "home"), root=root)


def test_a_clip_does_not_depend_on_how_many_there_are(tmp_path, folder):
    few = prepare(spec(4), Home(tmp_path), root=folder)
    many = prepare(spec(16), Home(tmp_path), root=folder)
    for part in ("train", "validation"):
        chosen = [[i.id for i in d.manifest.items if i.labels["official_split"] == part] for d in (few, many)]
        assert chosen[0] == chosen[1][: len(chosen[0])]


def test_an_excluded_clip_is_left_out(tmp_path, folder):
    first = prepare(spec(8), Home(tmp_path), root=folder).groups[0]
    assert first not in prepare(spec(8, exclude=[first]), Home(tmp_path), root=folder).groups


def test_the_older_layout_is_read_too(tmp_path):
    root = fake_ssv2(tmp_path / "ssv2", n_train=4, n_validation=2)
    for part in ("train", "validation", "labels"):
        (root / "labels" / f"{part}.json").rename(root / f"something-something-v2-{part}.json")
    assert len(prepare(spec(4), Home(tmp_path / "home"), root=root)) == 4


def test_the_licence_must_have_been_accepted(tmp_path):
    root = fake_ssv2(tmp_path / "ssv2", n_train=4, n_validation=2, accepted=False)
    home = Home(tmp_path / "home")
    with pytest.raises(UserError, match=r"licence.*qualcomm.*your name and the date.*datasets prepare NAME --from"):
        prepare(spec(4), home, root=root)
    (root / "licence-accepted.txt").write_text(" \n")
    with pytest.raises(UserError, match="licence"):
        prepare(spec(4), home, root=root)
    (root / "licence-accepted.txt").write_text("A. Tester, 2026-11-24\n")
    assert len(prepare(spec(4), home, root=root)) == 4


def test_without_the_files_it_says_where_to_get_them_and_what_to_type(tmp_path):
    home = Home(tmp_path)
    with pytest.raises(UserError) as caught:
        prepare(spec(), home)
    message = str(caught.value)
    for part in (
        "labels/train.json",
        str(home.datasets / "raw" / "ssv2"),
        "qualcomm.com",
        "datasets prepare NAME --from",
    ):
        assert part in message


def test_a_missing_clip_is_named(tmp_path):
    root = fake_ssv2(tmp_path / "ssv2", n_train=3, n_validation=1)
    gone = sorted((root / "20bn-something-something-v2").iterdir())[0]
    gone.unlink()
    with pytest.raises(UserError, match=gone.name):
        prepare(spec(4), Home(tmp_path / "home"), root=root)
