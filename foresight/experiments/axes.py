"""Ablations: axes on which one thing at a time is changed, each with enough values to be called an axis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foresight.errors import UserError

LEAST_VALUES = 3  # on each axis, in every profile


def metric_on(axis: str, value: object, score: str = "lpips") -> str:
    """`lpips_layer_x4_last`: the name of a score at a value of an axis."""
    return f"{score}_{axis}_{value}".lower().replace(".", "_")


def require_values(sub_experiment: str, axes: Mapping[str, Mapping[Any, object]]) -> None:
    """Raises `UserError` if the profile gives an axis too few values."""
    for axis, values in axes.items():
        if len(values) < LEAST_VALUES:
            raise UserError(
                f"{sub_experiment} needs {LEAST_VALUES} values of {axis} and the profile gives {list(values)}. "
                "Add to its needs or to its parameters."
            )
