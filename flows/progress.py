"""The bar that the flow run's page shows: how many of its calls are over."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from foresight.compute.backend import Call

EVERY_S = 1.0


class Progress:
    """Nothing is shown for a single call: its own lines say how far it is."""

    def __init__(self, calls: Sequence[Call], clock: Callable[[], float] = time.monotonic) -> None:
        self._total, self._over, self._failed, self._last = len(calls), 0, 0, ""
        self._artifact = create_progress_artifact(0.0, description=self._text()) if self._total > 1 else None
        self._clock, self._shown, self._shown_at = clock, 0, clock()

    def ended(self, call: Call, completed: bool) -> None:
        """Shown at once, but for calls that end within a second of each other: each time is a request to wait for."""
        self._over += 1
        self._failed += not completed
        self._last = call.label
        if self._clock() >= self._shown_at + EVERY_S:
            self.show()

    def show(self) -> None:
        """What is not shown yet."""
        if self._artifact is None or self._shown == self._over:
            return
        self._shown, self._shown_at = self._over, self._clock()
        share = 100.0 * self._over / self._total
        update_progress_artifact(self._artifact, share, description=self._text())  # type: ignore[arg-type]

    def _text(self) -> str:
        failed = f", {self._failed} failed" if self._failed else ""
        return f"{self._over} of {self._total} calls are over{failed}" + (f"; last: {self._last}" if self._last else "")
