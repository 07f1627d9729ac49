"""What stands beside a criterion and changes no verdict."""

from __future__ import annotations

import pytest

from foresight.results import caveats

ROW = {"metric": "ssim", "direction": "higher", "target": 0.85, "acceptable": 0.75}


@pytest.mark.parametrize(
    ("oracle", "begins"),
    [
        (0.9, None),
        (0.85, None),
        (0.8, "the target (0.85) lies out of reach here"),
        (0.7, "the acceptable level (0.75) and the target (0.85) lie out of reach here"),
    ],
)
def test_levels_that_the_oracle_itself_misses_are_named_whichever_way_is_better(oracle: float, begins: str | None):
    lower = {**ROW, "direction": "lower", "target": -0.85, "acceptable": -0.75}
    said = caveats.of(ROW, {"metrics": {"ssim": 0.5, "ssim_oracle": oracle}})
    mirrored = caveats.of(lower, {"metrics": {"ssim": -0.5, "ssim_oracle": -oracle}})
    assert len(said) == len(mirrored) == (begins is not None)
    if begins is not None:
        assert said[0].startswith(begins)
        assert f"is itself at {oracle:g}" in said[0]


def test_without_an_oracle_nothing_is_said_of_one():
    assert caveats.of(ROW, {"metrics": {"ssim": 0.5, "lpips_oracle": 0.9}}) == []
    assert caveats.of(ROW, {}) == []
