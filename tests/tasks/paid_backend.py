"""A backend that costs money and has GPUs, in this very process: what a call does is in its steps."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

from foresight.compute import ledger
from foresight.compute.backend import Call, CallState, LogLine, StepOutcome
from foresight.compute.ledger import CallEntry, StepEntry
from foresight.compute.rates import TABLE
from foresight.compute.run_step import run_call, steps_to_json
from foresight.compute.step import Resources, Step
from foresight.errors import StepFailed
from foresight.home import Home
from foresight.results.record import StepOutput

A_SECOND_A_DOLLAR = replace(
    TABLE,
    basis="a dollar a second, more on larger classes",
    gpu_usd_per_hour={"A10": 0.0, "A100-40GB": 3600.0, "A100-80GB": 7200.0, "H100": 10800.0},
    core_usd_per_hour=900.0,
    gib_usd_per_hour=0.0,
)
EXECUTORS = dict.fromkeys(("smoke", "sub_experiment"), "paid_backend:execute") | {"extract": "paid_backend:extract"}


class OutOfMemoryError(RuntimeError):
    """As torch names its own."""


def step(name: str, *, fits: str | int | None = None, kind: str = "sub_experiment", needs=None, **resources) -> Step:
    """A step that runs out of memory on any class but `fits`, or with a batch larger than `fits`."""
    return Step(
        kind=kind,
        label=name,
        profile="tiny",
        identity={"name": name, "fits": fits},
        work={"batch_size": 16} if kind == "extract" else {},
        needs=needs or {},
        resources=Resources(**{"device": "A10", "timeout_s": 60.0, **resources}),
    )


def execute(step, context) -> StepOutput:
    fits = step.identity["fits"]
    if fits is not None and fits not in (context.device, step.work.get("batch_size")):
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    return StepOutput(finding_template=f"on {context.device}")


def extract(steps, context_of, finished) -> None:
    for each in steps:
        finished(each, execute(each, context_of[each.fingerprint]))


class PaidBackend:
    """Runs a call while it is submitted; `hangs` names the calls that run until they are cancelled."""

    name = "paid"
    poll_s = 0.01
    _one_at_a_time = threading.Lock()  # a call captures the process's output

    def __init__(self, home: Home, rates=A_SECOND_A_DOLLAR, hangs: Sequence[str] = ()) -> None:
        self.home, self.rates, self.hangs = home, rates, hangs
        self.submitted: list[Call] = []
        self.cancelled: list[str] = []
        self._outcomes: dict[str, list[StepOutcome]] = {}
        self._calls: dict[str, Call] = {}

    def submit(self, call: Call, *, run_id: str) -> str:
        call_id = f"paid-{run_id}-{len(self.submitted)}"
        self.submitted.append(call)
        self._calls[call_id] = call
        steps = tuple(StepEntry(label=step.label, fingerprint=step.fingerprint) for step in call.steps)
        entry = CallEntry(call_id=call_id, run_id=run_id, backend="paid", steps=steps, submitted_at=ledger.now())
        ledger.write_call(self.home, entry)
        if call.label not in self.hangs:
            with self._one_at_a_time:
                self._outcomes[call_id] = run_call(
                    steps_to_json(call), self.home, call_id, run_id, executors=EXECUTORS, usd_per_second=1.0
                )
        return call_id

    def poll(self, call_id: str, timeout_s: float) -> CallState:
        if call_id not in self._outcomes and call_id in self.cancelled:
            steps = self._calls[call_id].steps
            self._outcomes[call_id] = [StepOutcome(s.fingerprint, "failed", "cancelled", "cancelled") for s in steps]
        return "finished" if call_id in self._outcomes else "running"

    def logs(self, call_id: str, cursor: int) -> tuple[list[LogLine], int]:
        return ([LogLine("works")], 1) if cursor == 0 else ([], 1)

    def late_logs(self, call_id: str, cursor: int, show) -> None:
        return None

    def outcome(self, call_id: str) -> list[StepOutcome]:
        return self._outcomes[call_id]

    def cancel(self, call_id: str) -> None:
        self.cancelled.append(call_id)

    def introduce(self, call_id: str) -> str:
        return ""

    def wait_for_claims(self, fingerprints, check) -> None:
        raise StepFailed("nobody else works here", cause="lost", retryable=False)
