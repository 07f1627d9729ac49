"""The merger between X2 and X3, as the features themselves show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foresight.errors import StepFailed

if TYPE_CHECKING:
    from foresight.runner import ExperimentRunner


def merger_block(runner: ExperimentRunner) -> int:
    """How many tokens of X2 the merger joins each way. Raises `StepFailed` if X2 is not what lies before a merger."""
    pre, post = runner.features("vlm:X2").shape, runner.features("vlm:X3").shape
    size = pre[1] // post[1]
    if size < 2 or pre[1:3] != (size * post[1], size * post[2]) or pre[3] == post[3]:
        raise StepFailed(
            f"X2 has {pre[1]}x{pre[2]} tokens of {pre[3]} features and X3 {post[1]}x{post[2]} of {post[3]}: that is no "
            "merger between them. One of the two was not extracted where it says.",
            cause="needs",
            retryable=False,
        )
    return size
