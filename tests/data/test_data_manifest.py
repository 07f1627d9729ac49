"""What bears the identity of a dataset, and what is refused."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest
from pydantic import ValidationError

from foresight.data.manifest import DataSpec, Item, Manifest, Source, content_sha256, find
from foresight.errors import UserError
from foresight.home import Home

SHAPE = (2, 28, 28, 3)


def items(**changes) -> tuple[Item, ...]:
    first = {"id": "a", "source": "p", "sha256": "0" * 64, "labels": {"shape": "star"}, **changes}
    return (Item(**first), Item(id="b", source="q", sha256="1" * 64))


def sources(stand_in: bool = False, origin: str = "here") -> dict[str, Source]:
    return {
        "p": Source(origin=origin, licence="CC0"),
        "q": Source(origin="there", licence="CC0", stand_in_training=stand_in),
    }


def test_finding_a_manifest_loads_neither_numpy_nor_torch():
    code = "import sys, foresight.data.manifest; print([m for m in ('numpy', 'torch', 'PIL') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_defaults_are_filled_in_so_that_saying_them_changes_nothing():
    assert DataSpec("d", "single_object", {"n": 5}).key == DataSpec("d", "single_object", {"n": 5, "side": 224}).key


def test_the_key_is_of_recipe_and_parameters_not_of_the_name():
    spec = DataSpec("d", "single_object", {"n": 5})
    assert DataSpec("other", "single_object", {"n": 5}).key == spec.key
    assert DataSpec("d", "single_object", {"n": 6}).key != spec.key
    assert DataSpec("d", "categories", {"n": 5}).key != spec.key


def test_a_spec_survives_json():
    spec = DataSpec("d", "ssv2_frames", {"n": 5, "side": 112})
    assert DataSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize(
    ("recipe", "parameters", "message"),
    [
        ("colouring_book", {}, r"no recipe 'colouring_book'.*single_object"),
        ("single_object", {}, r"n: Field required"),
        ("single_object", {"n": 0}, r"n: .*greater than or equal to 1"),
        ("single_object", {"n": 5, "colour": "red"}, r"colour: Extra inputs.*It takes side, seed, n, variant"),
        ("single_object", {"n": 5, "variant": "d"}, r"variant: .*'a', 'b' or 'c'"),
        ("photographs", {"side": 112.5}, r"side: .*valid integer"),
    ],
)
def test_a_wrong_spec_says_what_is_wrong(recipe, parameters, message):
    with pytest.raises(UserError, match=message):
        DataSpec("d", recipe, parameters)


def test_a_name_must_be_fit_for_a_folder():
    with pytest.raises(UserError, match="cannot name a dataset"):
        DataSpec("../d", "single_object", {"n": 5})


@pytest.mark.parametrize(
    "change", [{"id": "c"}, {"source": "q"}, {"sha256": "2" * 64}, {"labels": {"shape": "circle"}}, {"labels": {}}]
)
def test_the_identity_covers_every_item_wholly(change):
    assert content_sha256(SHAPE, items(), sources()) != content_sha256(SHAPE, items(**change), sources())


def test_the_identity_covers_what_stand_ins_have_seen_but_not_where_a_source_was_found():
    plain = content_sha256(SHAPE, items(), sources())
    assert content_sha256(SHAPE, items(), sources(stand_in=True)) != plain
    assert content_sha256(SHAPE, items(), sources(origin="elsewhere")) == plain


def manifest(**changes) -> Manifest:
    whole = {
        "spec": DataSpec("d", "single_object", {"n": 2}),
        "shape": SHAPE,
        "items": items(),
        "sources": sources(),
        "versions": {},
        "sha256": content_sha256(SHAPE, items(), sources()),
    }
    return Manifest(**{**whole, **changes})


def test_a_manifest_survives_json():
    assert Manifest.model_validate_json(manifest().model_dump_json()) == manifest()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"items": items(labels={"shape": "circle"})}, "sha256 is not that of its content"),
        ({"shape": (3, 28, 28, 3)}, "2 items but"),
        ({"sources": {"q": sources()["q"]}}, r"not listed: \['p'\]"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        manifest(**change)


def test_a_manifest_that_was_tampered_with_counts_as_absent_and_is_reported(tmp_path, caplog):
    home, spec = Home(tmp_path), DataSpec("d", "single_object", {"n": 2})
    assert find(spec, home) is None
    folder = spec.folder(home)
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(manifest().model_dump_json())
    assert find(spec, home) == manifest()
    (folder / "manifest.json").write_text(manifest().model_dump_json().replace("star", "disc"))
    with caplog.at_level(logging.WARNING):
        assert find(spec, home) is None
    assert "is damaged" in caplog.text
