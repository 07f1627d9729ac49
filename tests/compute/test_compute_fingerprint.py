import enum
import json
import math
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresight.compute.fingerprint import fingerprint_of

bounded = settings(max_examples=60)
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4))


@bounded
@given(st.dictionaries(st.text(), values, min_size=2), st.randoms())
def test_key_order_is_irrelevant(value, random):
    items = list(value.items())
    random.shuffle(items)
    assert fingerprint_of(dict(items)) == fingerprint_of(OrderedDict(items)) == fingerprint_of(value)


def paths(value, path=()):
    """The path of every leaf; an empty container is a leaf."""
    if isinstance(value, dict | list) and value:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths(item, (*path, key))
    else:
        yield path


def replaced(value, path, leaf):
    if not path:
        return leaf
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], leaf)
    return copy


def at(value, path):
    return at(value[path[0]], path[1:]) if path else value


@bounded
@given(values, leaves, st.data())
def test_any_change_of_a_leaf_changes_it(value, leaf, data):
    path = data.draw(st.sampled_from(list(paths(value))))
    same = json.dumps(at(value, path)) == json.dumps(leaf)
    assert (fingerprint_of(replaced(value, path, leaf)) == fingerprint_of(value)) is same


@bounded
@given(values)
def test_it_survives_a_trip_through_json(value):
    assert fingerprint_of(json.loads(json.dumps(value))) == fingerprint_of(value)


def test_types_that_libraries_tell_apart_are_told_apart():
    assert len({fingerprint_of(value) for value in (1, 1.0, True, "1", [1], {"1": 1}, None, "None", "")}) == 9
    assert fingerprint_of((1, 2)) == fingerprint_of([1, 2])


def test_it_is_the_same_tomorrow():
    """A change of encoding recomputes everything that was ever paid for: it must not happen unnoticed."""
    assert fingerprint_of({"b": [1, 2.5, True, None], "a": "é"}) == (
        "765eba2332445d01d77fc90ce4d844deaf366b706ae75c1f1a29f17dcbaacf6e"
    )


class Colour(enum.StrEnum):
    RED = "red"


circular: list = []
circular.append(circular)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"parameters": {"layers": {1, 2}}}, r"identity\['parameters'\]\['layers'\] = \{1, 2\}.*no order.*sorted"),
        ([0, Path("x")], r"identity\[1\].*another machine.*revision"),
        (math.nan, "not a finite number"),
        ({"x": [math.inf]}, r"identity\['x'\]\[0\] = inf"),
        (np.float64(0.5), r"numpy.*precision.*item\(\)"),
        ({"n": np.int64(3)}, r"identity\['n'\].*item\(\)"),
        (np.zeros(2), r"tolist\(\)"),
        (Colour.RED, r"`\.value`"),
        (b"x", "sha256"),
        ({1: "x"}, "a key|keys"),
        ("\ud800", "Unicode"),
        (object(), "no canonical form"),
        (circular, "contains itself"),
    ],
)
def test_what_has_no_canonical_form_raises_and_says_where_why_and_what_to_do(value, says):
    with pytest.raises(TypeError, match=says):
        fingerprint_of(value)


def test_the_same_list_twice_is_no_cycle():
    shared = [1]
    assert fingerprint_of([shared, shared]) == fingerprint_of([[1], [1]])
