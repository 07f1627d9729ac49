import numpy as np
import pytest

from foresight.errors import StepFailed, UserError
from foresight.features.store import FeatureWriter, open_features

FP = "ab" * 32


def values(n, *shape, scale=1.0, seed=0):
    return (scale * np.random.default_rng(seed).normal(size=(n, *shape))).astype(np.float32)


def write(home, array, shard_items=4, fp=FP):
    writer = FeatureWriter(home, fp, len(array), shard_items)
    for shard in writer.missing:
        items = writer.range(shard)
        writer.write(shard, array[items.start : items.stop])
    writer.finish({"kind": "extract"})
    return writer


@pytest.fixture
def stored(home):
    array = values(10, 2, 3, 5)
    write(home, array)
    return array.astype(np.float16).astype(np.float32), open_features(home, FP)


@pytest.mark.parametrize(
    "index",
    [
        3,
        -1,
        slice(None),
        slice(2, 9, 3),
        [7, 0, 7, 3],
        np.array([9, 8, 1]),
        np.arange(10) % 3 == 0,
        np.array([], dtype=int),
    ],
)
def test_features_are_indexed_like_an_array(stored, index):
    expected, features = stored
    got = features[index]
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, expected[index])


def test_features_know_their_shape_without_being_read(stored):
    _, features = stored
    assert (features.shape, len(features), features.ndim) == ((10, 2, 3, 5), 10, 4)
    assert "_maps" not in vars(features)
    assert isinstance(features._maps[0], np.memmap)


def test_features_become_an_array_where_one_is_needed(stored):
    expected, features = stored
    np.testing.assert_array_equal(np.asarray(features), expected)
    assert np.asarray(features, dtype=np.float64).dtype == np.float64


@pytest.mark.parametrize("index", [10, [0, 10], (0, 1), None])
def test_what_is_not_there_cannot_be_indexed(stored, index):
    with pytest.raises(IndexError):
        stored[1][index]


def test_half_precision_loses_less_than_a_thousandth(home):
    array = values(8, 4, 4, 16, scale=30.0)
    write(home, array)
    features = open_features(home, FP)
    assert features._maps[0].dtype == np.float16
    np.testing.assert_allclose(features[:], array, rtol=5e-4, atol=1e-6)


def test_a_shard_that_would_overflow_keeps_single_precision(home):
    array = values(8, 2, 2, 3)
    array[5, 0, 0, 0] = 1e5  # beyond 65,504
    write(home, array)
    features = open_features(home, FP)
    assert [shard.dtype for shard in features._maps] == [np.float16, np.float32]
    np.testing.assert_array_equal(features[5], array[5])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(home, bad):
    array = values(4, 2, 2, 3)
    array[2, 1, 1, 1] = bad
    with pytest.raises(StepFailed, match="items 0 to 3 are not all finite") as raised:
        write(home, array)
    assert raised.value.cause == "invalid_output"


def test_the_same_features_are_the_same_files_whoever_writes_them(home):
    """So that a hash tells whether two runs agree."""
    twelve = [write(home, values(8, 2, 2, 3), fp=f"{number:064x}") for number in range(12)]
    assert len({open_features(home, writer.folder.name).manifest.shards for writer in twelve}) == 1


def test_an_unfinished_extraction_is_no_features(home):
    writer = FeatureWriter(home, FP, 10, 4)
    writer.write(0, values(4, 2, 2, 3))
    with pytest.raises(ValueError, match=r"shards \[1, 2\]"):
        writer.finish({})
    with pytest.raises(UserError, match="did not finish"):
        open_features(home, FP)


def test_an_attempt_goes_on_where_the_last_one_died(home):
    array = values(10, 2, 2, 3)
    first = FeatureWriter(home, FP, 10, 4)
    first.write(1, array[4:8])
    (first.folder / ".00002.safetensors.x1.tmp").write_bytes(b"half a shard")  # what a kill leaves
    second = FeatureWriter(home, FP, 10, 4)
    assert second.missing == [0, 2]
    write(home, array)
    np.testing.assert_allclose(open_features(home, FP, verify=True)[:], array, atol=2e-3)


def damage_tail(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def damage_length(path):
    path.write_bytes(path.read_bytes()[:-3])


def damage_header(path):
    path.write_bytes(b"\x10\0\0\0\0\0\0\0" + b"not JSON at all!")


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [damage_tail, damage_length, damage_header, empty])
def test_a_damaged_shard_is_computed_again(home, damage):
    writer = write(home, values(10, 2, 2, 3))
    damage(writer.folder / "00001.safetensors")
    assert FeatureWriter(home, FP, 10, 4).missing == [1]


def test_shards_of_another_size_are_not_mixed(home):
    write(home, values(10, 2, 2, 3), shard_items=4)
    assert FeatureWriter(home, FP, 10, 5).missing == [0, 1]
    assert FeatureWriter(home, FP, 12, 4).missing == [2]


def test_a_shard_of_another_shape_is_refused(home):
    writer = FeatureWriter(home, FP, 8, 4)
    writer.write(0, values(4, 2, 2, 3))
    for array in (values(4, 2, 2, 4), values(3, 2, 2, 3)):
        with pytest.raises(ValueError, match="cannot hold an array of shape"):
            writer.write(1, array)


def test_a_missing_or_short_shard_is_named_when_features_are_opened(home):
    writer = write(home, values(10, 2, 2, 3))
    damage_length(writer.folder / "00001.safetensors")
    with pytest.raises(UserError, match=r"00001\.safetensors is missing or does not have"):
        open_features(home, FP)
    (writer.folder / "00001.safetensors").unlink()
    with pytest.raises(UserError, match=r"00001\.safetensors"):
        open_features(home, FP)


def test_verify_finds_a_byte_that_changed(home):
    writer = write(home, values(10, 2, 2, 3))
    damage_tail(writer.folder / "00002.safetensors")
    features = open_features(home, FP)
    with pytest.raises(UserError, match=r"00002\.safetensors in .* is damaged"):
        features.verify()
    with pytest.raises(UserError, match="Run the experiment again"):
        open_features(home, FP, verify=True)


def test_clips_have_one_axis_more(home):
    array = values(6, 3, 2, 2, 5)
    write(home, array)
    features = open_features(home, FP)
    assert features.shape == (6, 3, 2, 2, 5)
    assert features[[1, 4]].shape == (2, 3, 2, 2, 5)
