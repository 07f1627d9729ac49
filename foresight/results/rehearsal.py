"""How a verdict is said where people read it: on stand-ins it is a rehearsal's, and never a bare word.

results.yaml keeps the closed words of its format; what is shown of it goes through here. The rule's words are right on
stand-ins too (the measuring may well be complete), but `met` or `confidence high` alone would be taken for an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PROTOCOL = {
    "high": "protocol complete",
    "medium": "protocol complete but for the number of seeds",
    "low": "protocol incomplete",
}


def is_rehearsal(content: Mapping[str, Any]) -> bool:
    """Whether any number of this results.yaml rests on a stand-in."""
    return bool(content.get("stand_ins"))


def recommendation(content: Mapping[str, Any]) -> str:
    """`pivot`, or `pivot (rehearsal on stand-ins)`."""
    word = str(content["recommendation"])
    return f"{word} (rehearsal on stand-ins)" if is_rehearsal(content) else word


def verdict(content: Mapping[str, Any], word: str) -> str:
    """A criterion's verdict: `met`, or `met (rehearsal)`; what was not measured needs no such word."""
    return f"{word} (rehearsal)" if is_rehearsal(content) and word != "not measured" else word


def heading(content: Mapping[str, Any]) -> str:
    """Of a column of verdicts that has no room for more than their words."""
    return "rehearsed" if is_rehearsal(content) else "verdict"


def confidence(content: Mapping[str, Any]) -> str:
    """`confidence high`; of stand-ins how complete the measuring was, since there is nothing to be confident of."""
    level = content["assessment"]["confidence"]
    return PROTOCOL[level] if is_rehearsal(content) else f"confidence {level}"
