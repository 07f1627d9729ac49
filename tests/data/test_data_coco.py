"""COCO val2017 in its true layout: one object a crop, the box where the object is, and what is missing is said."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from raw_folders import COLOURS, fake_coco

from foresight.data.dataset import DataSpec, prepare
from foresight.errors import UserError
from foresight.home import Home


def spec(n: int = 8, **parameters) -> DataSpec:
    return DataSpec("coco", "coco_single_object", {"n": n, "side": 112, **parameters})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return fake_coco(tmp_path_factory.mktemp("raw") / "coco", n=16)


def items_by_id(tmp_path, folder, name, **parameters) -> dict:
    dataset = prepare(spec(**parameters), Home(tmp_path / name), root=folder)
    pairs = zip(dataset.manifest.items, dataset.images, strict=True)
    return {item.id: (item.labels["box"], np.array(pixels)) for item, pixels in pairs}


def test_the_box_is_where_the_object_is(tmp_path, folder):
    dataset = prepare(spec(16), Home(tmp_path), root=folder)
    for item, pixels in zip(dataset.manifest.items, dataset.images, strict=True):
        category = int(item.labels["category"].removeprefix("thing "))
        near = np.abs(pixels.astype(int) - COLOURS[category - 1]).max(axis=2) < 45
        rows, columns = np.flatnonzero(near.mean(axis=1) > 0.1), np.flatnonzero(near.mean(axis=0) > 0.1)
        seen = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / 112
        np.testing.assert_allclose(item.labels["box"], seen, atol=2.5 / 112)


def test_the_object_takes_a_share_of_the_crop_that_varies(tmp_path, folder):
    boxes = prepare(spec(16), Home(tmp_path), root=folder).labels("box")
    longer = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    assert longer.min() >= 1 / 3.1
    assert longer.max() <= 1 / 1.15
    assert longer.std() > 0.05
    assert boxes.min() >= 0
    assert boxes.max() <= 1


def test_the_image_is_the_source_and_names_its_licence(tmp_path, folder):
    dataset = prepare(spec(16), Home(tmp_path), root=folder)
    assert len(set(dataset.groups)) == 16
    licences = {source.licence for source in dataset.manifest.sources.values()}
    assert licences == {
        "Attribution License (http://creativecommons.org/licenses/by/2.0/)",
        "No known copyright restrictions (http://flickr.com/commons/usage/)",
    }


def test_an_item_does_not_depend_on_how_many_there_are(tmp_path, folder):
    few, many = items_by_id(tmp_path, folder, "few", n=4), items_by_id(tmp_path, folder, "many", n=12)
    assert list(few) == list(many)[:4]
    for name, (box, pixels) in few.items():
        assert box == many[name][0]
        np.testing.assert_array_equal(pixels, many[name][1])


def test_the_seed_chooses_other_images_and_windows(tmp_path, folder):
    assert list(items_by_id(tmp_path, folder, "a", n=8)) != list(items_by_id(tmp_path, folder, "b", n=8, seed=1))


def test_an_excluded_source_is_left_out_and_the_others_stay(tmp_path, folder):
    whole = list(items_by_id(tmp_path, folder, "whole", n=8))
    first = whole[0].removeprefix("coco-")
    assert list(items_by_id(tmp_path, folder, "less", n=7, exclude=[first])) == whole[1:]


def test_other_objects_are_kept_out(tmp_path):
    """Of two objects that overlap no window shows one alone."""
    root = fake_coco(tmp_path / "coco", n=3, width=100, height=100)
    path = root / "annotations" / "instances_val2017.json"
    instances = json.loads(path.read_text())
    crowded = instances["images"][0]["id"]
    instances["annotations"] = [a for a in instances["annotations"] if a["image_id"] != crowded]
    for number, box in enumerate(([20.0, 20.0, 40.0, 40.0], [30.0, 30.0, 40.0, 40.0])):
        instances["annotations"].append(
            {"id": 900 + number, "image_id": crowded, "category_id": 1, "bbox": box, "area": 1600.0, "iscrowd": 0}
        )
    path.write_text(json.dumps(instances))
    dataset = prepare(spec(2), Home(tmp_path / "home"), root=root)
    assert str(crowded) not in dataset.groups
    with pytest.raises(UserError, match=r"3 items were asked for, but .* has only 2 images with an object that stands"):
        prepare(spec(3), Home(tmp_path / "home"), root=root)


def test_grey_images_are_read(tmp_path):
    root = fake_coco(tmp_path / "coco", n=4)
    for path in (root / "val2017").iterdir():
        Image.open(path).convert("L").save(path)
    assert prepare(spec(4), Home(tmp_path / "home"), root=root).images.shape == (4, 112, 112, 3)


def test_without_the_files_it_says_where_to_get_them_and_what_to_type(tmp_path):
    home = Home(tmp_path)
    with pytest.raises(UserError) as caught:
        prepare(spec(), home)
    message = str(caught.value)
    assert "annotations/instances_val2017.json" in message
    assert str(home.datasets / "raw" / "coco") in message
    assert "https://cocodataset.org" in message
    assert "foresight datasets prepare NAME --from FOLDER" in message


def test_a_missing_image_is_named(tmp_path):
    root = fake_coco(tmp_path / "coco", n=4)
    gone = sorted((root / "val2017").iterdir())[2]
    gone.unlink()
    with pytest.raises(UserError, match=gone.name):
        prepare(spec(4), Home(tmp_path / "home"), root=root)


def test_the_folder_may_be_named_by_the_environment(tmp_path, monkeypatch):
    fake_coco(tmp_path / "shared" / "coco", n=4)
    monkeypatch.setenv("FORESIGHT_DATASETS", str(tmp_path / "shared"))
    assert len(prepare(spec(4), Home(tmp_path / "home"))) == 4
