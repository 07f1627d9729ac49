"""Whole COCO images: every object where it is, COCO's own ids, crowds marked, nothing cut off or stretched."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from raw_folders import COLOURS, fake_coco

from foresight.data.coco_objects import letterbox
from foresight.data.dataset import DataSpec, prepare
from foresight.data.objects import category_names, objects_of
from foresight.errors import UserError
from foresight.home import Home


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return fake_coco(tmp_path_factory.mktemp("raw") / "coco", n=16)


def prepared(home, folder, n: int = 16, **parameters):
    return prepare(DataSpec("coco", "coco_objects", {"n": n, "side": 112, **parameters}), Home(home), root=folder)


def test_each_box_is_where_its_object_is(tmp_path, folder):
    dataset = prepared(tmp_path, folder, side=224)
    for item, pixels in zip(dataset.manifest.items, dataset.images, strict=True):
        colour = COLOURS[int(item.labels["categories"][0].removeprefix("thing ")) - 1]
        near = np.abs(pixels.astype(int) - colour).max(axis=2) < 45
        rows, columns = np.flatnonzero(near.mean(axis=1) > 0.1), np.flatnonzero(near.mean(axis=0) > 0.1)
        seen = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / 224
        np.testing.assert_allclose(item.labels["boxes"][0], seen, atol=2.5 / 224)


def test_ids_are_cocos_own_and_crowds_are_marked_not_counted(tmp_path, folder):
    dataset = prepared(tmp_path, folder)
    assert set(category_names(dataset)) == {1, 2, 3, 4, 90}
    assert category_names(dataset)[90] == "thing 90"
    for of in objects_of(dataset):
        assert list(of.crowd) == [False, False, True]
        assert len(of.counted) == 2
        assert of.frame_px == 160, "the longer side of the original"
        assert of.areas[1] * of.frame_px**2 == pytest.approx(36), "the speck of 6 x 6 px"


def test_nothing_is_cut_off_or_stretched():
    wide = Image.fromarray(np.full((60, 160, 3), 200, dtype=np.uint8))
    pixels, place = letterbox(wide, 112)
    assert place == (0, 35, 112, 42)
    assert (pixels[:35] == 128).all()
    assert (pixels[77:] == 128).all()
    assert (pixels[35:77] == 200).all()
    _, place = letterbox(wide.rotate(90, expand=True), 112)
    assert place == (35, 0, 42, 112)


def test_images_with_more_or_shorter_objects_can_be_left_out(tmp_path, folder):
    with pytest.raises(UserError, match=r"2 items were asked for, but .* has only 0 images whose objects are as"):
        prepared(tmp_path, folder, n=2, most=1)
    with pytest.raises(UserError, match="has only 0 images"):
        prepared(tmp_path, folder, n=2, shortest=30)  # the speck
    assert len(prepared(tmp_path, folder, most=2)) == 16


def test_an_image_without_a_counted_object_is_left_out(tmp_path):
    root = fake_coco(tmp_path / "coco", n=4)
    path = root / "annotations" / "instances_val2017.json"
    instances = json.loads(path.read_text())
    emptied = instances["images"][0]["id"]
    for annotation in instances["annotations"]:
        if annotation["image_id"] == emptied:
            annotation["iscrowd"] = 1
    path.write_text(json.dumps(instances))
    assert str(emptied) not in prepared(tmp_path / "home", root, n=3).groups


def test_without_the_files_it_says_where_to_get_them_and_what_to_type(tmp_path):
    with pytest.raises(
        UserError, match=r"instances_val2017.json in .*datasets/raw/coco. Download it from https://coco"
    ):
        prepare(DataSpec("coco", "coco_objects", {"n": 4, "side": 112}), Home(tmp_path))
