"""The classes by any of their names, and the order of the ladder."""

from __future__ import annotations

import pytest

from foresight.compute import gpus
from foresight.errors import UserError


@pytest.mark.parametrize(("said", "meant"), [("a10g", "A10"), ("A100", "A100-40GB"), ("h100", "H100")])
def test_older_spellings_and_small_letters_are_understood(said: str, meant: str):
    assert gpus.gpu_class(said) == meant


def test_an_unknown_class_is_refused_with_those_there_are():
    with pytest.raises(UserError, match="A10, A100-40GB, A100-80GB, H100"):
        gpus.gpu_class("T4")


def test_the_ladder_ends_and_a_cpu_has_none():
    classes = ["A10"]
    while (following := gpus.next_class(classes[-1])) is not None:
        classes.append(following)
    assert classes == list(gpus.GPU_CLASSES)
    assert gpus.next_class("cpu") is None


def test_a_time_is_scaled_between_classes_and_never_between_a_cpu_and_a_gpu():
    assert gpus.relative_time("A10", "A100-40GB") == pytest.approx(1 / 2.5)
    assert gpus.relative_time("A100-40GB", "A10") == pytest.approx(2.5)
    assert gpus.relative_time("cpu", "cpu") == 1.0
    assert gpus.relative_time("cpu", "H100") is None
    assert gpus.relative_time("H100", "cpu") is None
