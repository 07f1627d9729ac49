"""Foresight: a research programme on GPUs whose verdicts can be trusted.

`from foresight import ExperimentRunner` is the interface of handlers and notebooks. It is loaded when it is first asked
for, so that `import foresight` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner

__all__ = ["ExperimentRunner"]


def __getattr__(name: str) -> Any:
    if name == "ExperimentRunner":
        from foresight.runner import ExperimentRunner

        return ExperimentRunner
    raise AttributeError(f"module 'foresight' has no attribute '{name}'")
