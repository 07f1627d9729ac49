"""What goes wrong, as the person at the keyboard should read it.

A `UserError` is bad input or a refusal before anything started: the shell prints its one message on stderr and
exits with 2. A `StepFailed` is a step that ran and failed: the shell exits with 1. Anything else is our bug and
keeps its traceback.
"""

from __future__ import annotations


class UserError(Exception):
    """Bad input, or a refusal. The message says what, why, and what to do, in one sentence each."""


class StepFailed(Exception):
    """A step ran and failed. `cause` is a `Cause`; `retryable`: a retry can mend it."""

    def __init__(self, message: str, *, cause: str, retryable: bool) -> None:
        super().__init__(message)
        self.cause = cause
        self.retryable = retryable


class DataLeak(UserError):
    """Train, validation and test share a source, or what looks like one. Raised before any training."""
