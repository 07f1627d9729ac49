"""What an exception of Modal's client means.

Two kinds that must never be taken for each other. *Transport*: the client could not ask; the call may be well, and
nothing is concluded or started again. *The call's own*: the server answered, and this is how the call ended.
"""

from __future__ import annotations

import aiohttp
import grpclib
import modal

from foresight.compute.causes import Trouble
from foresight.compute.modal_names import APP, DEPLOY
from foresight.errors import UserError

TRANSPORT = (
    modal.exception.ConnectionError,
    modal.exception.ServiceError,
    modal.exception.InternalError,  # of the control plane; `InternalFailure` is a call's
    modal.exception.ResourceExhaustedError,  # asked too often
    modal.exception.ClientClosed,
    modal.exception.AuthError,  # a token that was withdrawn says nothing about the call
    modal.exception.PermissionDeniedError,
    grpclib.exceptions.StreamTerminatedError,
    grpclib.exceptions.GRPCError,
    aiohttp.ClientError,
    ConnectionError,
)
"""None of them is a builtin `TimeoutError`, by which `FunctionCall.get` says *not yet*."""

FATAL = (modal.exception.AuthError, modal.exception.PermissionDeniedError, modal.exception.NotFoundError)
"""What ends an attempt to start something, since trying again cannot mend it."""

MEMORY = "Ask for more memory (memory_gb in the plan or the profile), or do less at once (batch_size)"


def trouble_of_call(error: Exception, *, asked_to_cancel: bool) -> Trouble:
    """Why a call ended without a result of its own."""
    text = " ".join(str(error).split()) or type(error).__name__
    if asked_to_cancel:
        return Trouble("cancelled", "cancelled")
    if isinstance(error, modal.exception.FunctionTimeoutError):
        what_to_do = "Raise timeout_s in the plan or the profile, or give it less to do"
        return Trouble("timeout", f"Modal ended the call at its time limit ({text}). {what_to_do}")
    if isinstance(error, modal.exception.OutputExpiredError):
        return Trouble("lost", "Modal has forgotten its result, and the volume has no record of it", retryable=True)
    if isinstance(error, modal.exception.NotFoundError):
        return Trouble("lost", f"Modal knows no such call, and the volume has no record of it ({text})", retryable=True)
    if "memory" in text.lower() or "oom" in text.lower().split():
        return killed_for_memory(text)
    if "cancel" in text.lower() or "terminated" in text.lower():
        return Trouble("cancelled", f"somebody cancelled the call on Modal ({text})")
    if isinstance(error, (modal.exception.InternalFailure, modal.exception.RemoteError)):
        return Trouble("lost", f"Modal lost its container ({text})", retryable=True)
    return Trouble(
        "exception",
        f"the container could not run it: {type(error).__name__}: {text}. If the app was deployed from other code or "
        f"without a package, `{DEPLOY}`",
    )


def killed_for_memory(text: str) -> Trouble:
    """Of its main memory. `text` is what Modal said."""
    return Trouble("out_of_memory", f"its container ran out of memory ({text}). {MEMORY}")


def refusal_of(error: Exception) -> UserError:
    """Why nothing can be started on Modal, and what to type."""
    text = (" ".join(str(error).split()) or type(error).__name__).rstrip(".")
    if isinstance(error, modal.exception.AuthError):
        return UserError(f"Modal does not know you: {text}. Run `modal token new`, or set MODAL_TOKEN_ID and _SECRET.")
    if isinstance(error, modal.exception.NotFoundError):
        return UserError(f"The app '{APP}' is not deployed on Modal ({text}). Run `{DEPLOY}`.")
    if isinstance(error, modal.exception.PermissionDeniedError):
        return UserError(f"Modal refuses: {text}. The token's workspace or environment has no right to it.")
    return UserError(
        f"Modal cannot be reached: {text}. Check the network and https://status.modal.com; nothing was started."
    )
