"""How a run ended, for whoever started it. Free of Prefect, so that the shell can name it without importing that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """What a flow hands to whoever started it."""

    run_id: str
    documents: dict[str, dict[str, Any]]  # results.yaml of this run, by experiment id
    failed: tuple[str, ...]  # labels of calls that failed
    stopped: str = ""  # what to tell if a person or the budget stopped it in the middle

    def plus(self, other: Outcome) -> Outcome:
        documents = {**self.documents, **other.documents}
        return Outcome(self.run_id, documents, self.failed + other.failed, other.stopped or self.stopped)
