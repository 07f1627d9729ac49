"""Foresight: a research programme on GPUs whose verdicts can be trusted.

`from foresight import ExperimentRunner` is the interface of handlers and notebooks, `foresight.load` reads results
back. Both are loaded when they are first asked for, so that `import foresight` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foresight.loading import load
    from foresight.runner import ExperimentRunner

__all__ = ["ExperimentRunner", "load"]


def __getattr__(name: str) -> Any:
    if name == "ExperimentRunner":
        from foresight.runner import ExperimentRunner

        return ExperimentRunner
    if name == "load":
        from foresight.loading import load

        return load
    raise AttributeError(f"module 'foresight' has no attribute '{name}'")
