"""The bar that the flow run's page shows: how many of its calls are over."""

from __future__ import annotations

from collections.abc import Sequence

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from foresight.compute.backend import Call


class Progress:
    """Nothing is shown for a single call: its own lines say how far it is."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self._total, self._over, self._failed = len(calls), 0, 0
        self._artifact = create_progress_artifact(0.0, description=self._text()) if self._total > 1 else None

    def ended(self, call: Call, completed: bool) -> None:
        self._over += 1
        self._failed += not completed
        if self._artifact is not None:
            share = 100.0 * self._over / self._total
            update_progress_artifact(self._artifact, share, description=self._text(call.label))  # type: ignore[arg-type]

    def _text(self, last: str = "") -> str:
        failed = f", {self._failed} failed" if self._failed else ""
        return f"{self._over} of {self._total} calls are over{failed}" + (f"; last: {last}" if last else "")
