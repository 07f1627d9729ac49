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


def said(*templates: str, **metrics: float) -> str:
    return pool_findings([(template, metrics) for template in templates])


def test_seeds_that_differ_in_a_word_are_one_sentence_with_both_words_counted():
    seeds = [
        ("a {s:.1f}, which is strong (chance {c})", {"s": 0.6, "c": 0.5}),
        ("a {s:.1f}, which is weak (chance {c})", {"s": 0.2, "c": 0.5}),
        ("a {s:.1f}, which is strong (chance {c})", {"s": 0.7, "c": 0.5}),
    ]
    assert pool_findings(seeds) == "a 0.5 ± 0.3, which is strong (2 of 3 seeds) or weak (1) (chance 0.5)"


def test_what_only_some_seeds_add_is_counted():
    assert said("Spaces overlap.", "Spaces overlap, as chance would.", "Spaces overlap, as chance would.") == (
        "Spaces overlap, as chance would (2 of 3 seeds)."
    )


def test_a_number_that_belongs_to_a_word_is_the_mean_of_the_seeds_that_say_the_word():
    seeds = [("Best is layer X1 ({x1}), of all.", {"x1": 0.3}), ("Best is layer X2 ({x2}), of all.", {"x2": 0.5})]
    assert pool_findings([*seeds, seeds[0]]) == "Best is layer X1 (0.3) (2 of 3 seeds) or X2 (0.5) (1), of all."


def test_three_ways_to_begin_are_told_apart_and_only_the_first_has_a_capital():
    assert said(
        "Edges survive in X3.", "Details survive in X3.", "X3 looks survive in X3.", "Edges survive in X3."
    ) == ("Edges (2 of 4 seeds) or details (1) or X3 looks (1) survive in X3.")


def test_seeds_that_have_little_in_common_are_told_one_by_one():
    seeds = [("strong ({s})", {"s": 0.6}), ("weak, as it was", {"s": 0.2}), ("strong ({s})", {"s": 0.8})]
    assert pool_findings(seeds) == "2 of 3 seeds: strong (0.7 ± 0.141); 1 of 3 seeds: weak, as it was"
    assert said("a b c d e f g h", "a x c x e x g x") == "1 of 2 seeds: a b c d e f g h; 1 of 2 seeds: a x c x e x g x"


WORDS = st.lists(st.sampled_from(["a", "weak", "strong", "{x}", "(", ")", ",", ".", "{{", "of"]), max_size=12)


@given(st.lists(WORDS.map(" ".join), min_size=1, max_size=4))
def test_no_word_that_a_seed_says_is_lost(templates: list[str]):
    pooled = said(*templates, x=0.5)
    for template in templates:
        for word in ("weak", "strong", "0.5"):
            assert (word in template.format(x=0.5)) <= (word in pooled)


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
