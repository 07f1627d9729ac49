"""Where calls run: the one protocol that the local and the Modal backend share.

A call is one step, or several that share a loaded model. Its outcome is plain JSON, never an exception object, so
that nothing of torch crosses the boundary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from foresight.compute.gpus import CPU, GPU_CLASSES
from foresight.compute.rates import Rates
from foresight.compute.step import Resources, Step
from foresight.results.record import Cause

CallState = Literal["running", "finished", "lost"]


@dataclass(frozen=True)
class Call:
    """Steps that travel together, in order. One Prefect task a call."""

    steps: tuple[Step, ...]

    @property
    def label(self) -> str:
        first = self.steps[0].label
        return first if len(self.steps) == 1 else f"{first} +{len(self.steps) - 1}"

    @property
    def resources(self) -> Resources:
        """What its container needs: the largest class and memory of its steps, and their time one after another."""
        wanted = [step.resources for step in self.steps]
        deadlines = [each.deadline_s for each in wanted]
        return Resources(
            device=max((each.device for each in wanted), key=[CPU, *GPU_CLASSES].index),
            timeout_s=sum(each.timeout_s for each in wanted),
            deadline_s=None if None in deadlines else sum(each for each in deadlines if each is not None),
            memory_gb=max(each.memory_gb for each in wanted),
            cores=max(each.cores for each in wanted),
        )


@dataclass(frozen=True)
class StepOutcome:
    """How one step of a call ended. `completed` says nothing but that its record exists."""

    fingerprint: str
    status: Literal["completed", "failed", "claimed_elsewhere"]
    cause: Cause | None = None
    error: str = ""
    retryable: bool = False
    attempt: int = 0
    seconds: float = 0.0
    holder: str = ""  # id of the call that has it, where it is claimed elsewhere

    def to_json(self) -> dict[str, Any]:
        return vars(self).copy()


@dataclass(frozen=True)
class LogLine:
    text: str
    progress: float | None = None  # 0..1 where the line is a progress report
    step: str | None = None  # label of the step it belongs to


class Backend(Protocol):
    """Submit, attach, poll, cancel, logs, outcome. All return at once but `submit`, which may wait for a slot."""

    name: str
    rates: Rates  # what a second of a call costs here
    poll_s: float  # how long to wait in `poll` between two looks at the log and at cancels

    def warm_up(self) -> None:
        """Begin to make ready what calls need, while the caller does something else. Optional."""

    def submit(self, call: Call, *, run_id: str) -> str:
        """Start the call and return its id; or the id of a live call, of whatever run, that works on one of its steps.

        Raises `StepFailed` if it cannot be started.
        """

    def attach(self, call_id: str) -> CallState:
        """What has become of a call that another process submitted."""

    def poll(self, call_id: str, timeout_s: float) -> CallState:
        """Wait up to `timeout_s` for the call to end."""

    def logs(self, call_id: str, cursor: int) -> tuple[Sequence[LogLine], int]:
        """The lines since `cursor`, and the new cursor."""

    def late_logs(self, call_id: str, cursor: int, show: Callable[[Sequence[LogLine]], None]) -> None:
        """Have the lines shown that come after the end of a call. Does not wait for them; `close` does."""

    def outcome(self, call_id: str) -> Sequence[StepOutcome]:
        """How each step ended. Only after `finished` or `lost`; a lost call's unfinished steps are `lost`."""

    def cancel(self, call_id: str) -> None:
        """Stop it. Idempotent; returns when the work is dead, or has been told to die where that is all one can do."""

    def wait_for_claims(self, fingerprints: Sequence[str], check: Callable[[], None]) -> None:
        """Wait until nobody else works on these steps, or until `submit` would attach to who does.

        `check` is called meanwhile and raises to give up.
        """

    def introduce(self, call_id: str) -> str:
        """What to say of a call when one begins to follow it, such as where to look at it; empty if nothing."""

    def let_go(self, run_id: str) -> None:
        """The run that submitted the calls is going away without having been cancelled."""

    def close(self) -> None:
        """End what cannot outlive this process, and leave the rest alone. Idempotent."""
