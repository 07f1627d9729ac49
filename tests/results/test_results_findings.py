from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foresight.results.findings import number, pool_findings


def test_seeds_that_say_the_same_are_one_sentence_with_means_and_spread():
    seeds = [("LPIPS {lpips}, {n} images.", {"lpips": value, "n": 60.0}) for value in (0.30, 0.31, 0.32)]
    assert pool_findings(seeds) == "LPIPS 0.31 ± 0.01, 60 images."


def test_one_seed_has_no_spread():
    assert pool_findings([("IoU {iou:.3f}.", {"iou": 0.5})]) == "IoU 0.500."


def test_rounding_is_no_spread():
    assert pool_findings([("{x}", {"x": 0.1 + 0.2}), ("{x}", {"x": 0.3})]) == "0.3"


def test_format_specifications_hold_for_the_spread_without_its_sign():
    assert pool_findings([("gap {gap:+.2f}", {"gap": 0.1}), ("gap {gap:+.2f}", {"gap": 0.3})]) == "gap +0.20 ± 0.14"
    assert pool_findings([("{share:.0%}", {"share": 0.5}), ("{share:.0%}", {"share": 0.7})]) == "60% ± 14%"


def test_seeds_that_disagree_in_words_are_counted():
    seeds = [("strong ({s})", {"s": 0.6}), ("weak ({s})", {"s": 0.2}), ("strong ({s})", {"s": 0.8})]
    assert pool_findings(seeds) == "2 of 3 seeds: strong (0.7 ± 0.141); 1 of 3 seeds: weak (0.2)"


def test_a_seed_that_says_nothing_is_not_counted_as_agreeing():
    assert pool_findings([("fine", {}), ("", {})]) == "1 of 2 seeds: fine"
    assert pool_findings([("", {})]) == pool_findings([]) == ""


def test_escaped_braces_are_text_and_a_missing_metric_stays_a_visible_gap():
    assert pool_findings([("{{x}} {lpips}", {})]) == "{x} {lpips}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.03124, "0.0312"),
        (12.41, "12.4"),
        (1284.0, "1,284"),
        (1284.3, "1,284"),
        (0.0, "0"),
        (-3.0, "-3"),
        (1e-7, "1e-07"),
    ],
)
def test_numbers_are_written_to_be_read(value, text):
    assert number(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_number_can_be_written(value):
    assert number(value)
