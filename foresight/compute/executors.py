"""What does the work of each kind of step, named by a string and imported where it runs.

So that planning and orchestration know the name of code that needs torch without importing it. An executor is given
the step and its `StepContext` and returns a `StepOutput`:

    execute(step, context) -> StepOutput

and for kinds whose steps share a loaded model, the steps of a call that are neither recorded nor claimed elsewhere:

    execute_many(steps, context_of, finished) -> None

with `context_of[fingerprint]` the context of each, and `finished(step, output)` to be called as each is complete: its
record is written then, and no crash later in the call can take it back.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foresight.home import Home

EXECUTORS: Mapping[str, str] = {
    "smoke": "foresight.models.smoke:execute",
    "extract": "foresight.features.extract:execute_many",
    "sub_experiment": "foresight.runner:execute",
}
"""Step kind -> "module:function"."""

TOGETHER = frozenset({"extract"})
"""Kinds whose steps travel to their executor together."""


@dataclass(frozen=True)
class StepContext:
    """What an executor may use beside the step."""

    home: Home
    attempt_dir: Path  # for `metrics.jsonl` and anything that is not a result
    artifacts_dir: Path  # what lies here becomes the step's artifacts
    device: str  # `cpu`, or the GPU class that the step was given
    progress: Callable[[float, str], None]  # fraction 0..1, and of what
    saved: Callable[[], None] = lambda: None  # to be called when something was written that should not be lost


def print_progress(fraction: float, text: str) -> None:
    """A progress report is a line of the log, so that it takes the same way from a laptop and from a container."""
    print(f"::progress {min(max(fraction, 0.0), 1.0):.4g} {' '.join(text.split())}", flush=True)


def resolve(reference: str) -> Callable[..., Any]:
    """The object behind `"module:name"`. Raises what importing raises."""
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)
