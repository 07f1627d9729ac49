import pytest

from foresight.compute.fingerprint import fingerprint_of
from foresight.errors import UserError
from foresight.features import points
from foresight.features.points import Point, check_depth, extraction_identity, parse_point
from foresight.results.record import ModelIdentity


@pytest.mark.parametrize(
    ("text", "role", "point"),
    [
        ("X1.1", "vlm", Point("X1", 1)),
        ("X1.32", "vlm", Point("X1", 32)),
        ("X2", "vlm", Point("X2")),
        ("X3", "vlm", Point("X3")),
        ("X4.0", "vlm", Point("X4", 0)),
        ("X4.28", "vlm", Point("X4", 28)),
        ("X4.last", "vlm", Point("X4", -1)),
        ("X6", "vae", Point("X6")),
        ("X7", "dino", Point("X7")),
    ],
)
def test_a_point_is_read_and_written_the_same(text, role, point):
    assert parse_point(text, role) == point
    assert str(point) == text


@pytest.mark.parametrize("text", ["X1", "X1.0", "X1.last", "X1.01", "X2.1", "X3 ", "X4", "X4.-1", "x3", "X5", "X6"])
def test_what_is_no_point_of_the_vlm_is_refused(text):
    with pytest.raises(UserError, match="no extraction point of a vlm"):
        parse_point(text, "vlm")


def test_other_models_have_other_points():
    with pytest.raises(UserError, match="There are X6"):
        parse_point("X3", "vae")
    with pytest.raises(UserError, match="There are X7"):
        parse_point("X3", "dino")
    with pytest.raises(UserError, match="role 'ltx'"):
        parse_point("X9", "ltx")


def test_points_must_not_lie_deeper_than_the_model():
    check_depth([Point("X1", 4), Point("X4", 4), Point("X4", -1), Point("X3")], tower_blocks=4, language_layers=4)
    for point in (Point("X1", 5), Point("X4", 5)):
        with pytest.raises(UserError, match=f"{point} is deeper than the model"):
            check_depth([point], tower_blocks=4, language_layers=4)


MODEL = ModelIdentity(id="a/b", revision="r", weights_sha256="0" * 64, stand_in=False)
ARGUMENTS = {"model": MODEL, "role": "vlm", "point": "X3", "data": "d" * 64, "side": 112, "dtype": "float32"}
CHANGES = [
    {"model": MODEL.model_copy(update={"weights_sha256": "1" * 64})},
    {"model": MODEL.model_copy(update={"revision": "s"})},
    {"role": "vae", "point": "X6"},
    {"point": "X4.3"},
    {"data": "e" * 64},
    {"side": 168},
    {"side": None},
    {"dtype": "bfloat16"},
]


@pytest.mark.parametrize("change", CHANGES)
def test_all_that_determines_the_features_bears_identity(change):
    before, after = (fingerprint_of(extraction_identity(**arguments)) for arguments in (ARGUMENTS, ARGUMENTS | change))
    assert before != after


def test_the_code_bears_identity_by_its_version(monkeypatch):
    before = extraction_identity(**ARGUMENTS)
    monkeypatch.setattr(points, "EXTRACTION_VERSION", points.EXTRACTION_VERSION + 1)
    assert fingerprint_of(before) != fingerprint_of(extraction_identity(**ARGUMENTS))


def test_only_libraries_of_the_role_bear_identity():
    assert set(extraction_identity(**ARGUMENTS)["versions"]) == {"torch", "torchvision", "transformers"}
    vae = extraction_identity(**ARGUMENTS | {"role": "vae", "point": "X6"})
    assert set(vae["versions"]) == {"torch", "torchvision", "diffusers"}
    dino = extraction_identity(**ARGUMENTS | {"role": "dino", "point": "X7"})
    assert set(dino["versions"]) == {"torch", "torchvision", "transformers"}


def test_a_point_that_does_not_exist_gets_no_identity():
    with pytest.raises(UserError):
        extraction_identity(**ARGUMENTS | {"point": "X9"})
