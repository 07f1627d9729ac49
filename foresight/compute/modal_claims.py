"""Claims on Modal: at most one live call works on a fingerprint, wherever it was submitted from.

A claim is an entry of a Modal Dict that is put only if absent; that much the Dict does atomically. It cannot compare
and swap, so a claim is never replaced or removed: the claims of a fingerprint are numbered, `<fingerprint>/0`, `/1`, …,
the highest one counts, and who finds its call dead puts the next one, if absent. Of any number that try, one succeeds.

A claim ends with its call, of which Modal knows whether it lives. So nothing is released, no lease has to be renewed,
and a container that is started again for the same call (its machine was taken away) finds the claim to be its own. An
acknowledgement that was lost changes nothing either: asked again, the claim says whose it is. Modal drops entries that
nobody has read or written for seven days, and no call lives that long.
"""

from __future__ import annotations

from dataclasses import dataclass

import modal

from foresight.compute.claim import Claim, Holder
from foresight.compute.modal_names import CLAIMS
from foresight.compute.modal_trouble import TRANSPORT


@dataclass(frozen=True)
class RemoteClaim:
    """Held until its call ends."""

    fingerprint: str

    def release(self) -> None:
        """Nothing to do: see the module."""


def claims_dict() -> modal.Dict:
    """Where the claims lie. Every new handle asks Modal once more what it is, so a run uses one."""
    return modal.Dict.from_name(CLAIMS, create_if_missing=True)


def try_claim(fingerprint: str, holder: Holder, home_id: str) -> Claim | Holder:
    """The claim for `holder.call_id`, or who has it. Only for the container that the call runs in.

    `home_id` is of the home that submitted the call, for `claimed_from`.
    """
    claims = claims_dict()
    mine = {"call_id": holder.call_id, "run_id": holder.run_id, "home_id": home_id}
    number, found = _highest(claims, fingerprint)
    while found is None or found["call_id"] != holder.call_id:
        if found is not None and is_live(found["call_id"]):
            return Holder(found["call_id"], found["run_id"], None)
        claims.put(f"{fingerprint}/{number + 1}", mine, skip_if_exists=True)
        number, found = _highest(claims, fingerprint, number + 1)
    return RemoteClaim(fingerprint)


def live_holder(claims: modal.Dict, fingerprint: str) -> tuple[str, str] | None:
    """The call that works on it now and the id of the home that submitted it."""
    _, found = _highest(claims, fingerprint)
    return (found["call_id"], found["home_id"]) if found is not None and is_live(found["call_id"]) else None


def claimed_from(home_id: str) -> dict[str, tuple[str, list[str]]]:
    """Call id -> run id and fingerprints, of all claims that calls of this home ever made and that Modal remembers."""
    found: dict[str, tuple[str, list[str]]] = {}
    for key, claim in claims_dict().items():
        if claim["home_id"] == home_id:
            found.setdefault(claim["call_id"], (claim["run_id"], []))[1].append(key.partition("/")[0])
    return found


def is_live(call_id: str) -> bool:
    """Whether the call is queued or runs. Raises what the client raises where Modal cannot be reached."""
    try:
        modal.FunctionCall.from_id(call_id).get(timeout=0)
    except TimeoutError:  # the builtin one: no result yet
        return True
    except TRANSPORT:
        raise
    except Exception:  # noqa: BLE001 - however it ended, it has ended; a call that Modal does not know never lived
        return False
    return False


def _highest(claims: modal.Dict, fingerprint: str, start: int = 0) -> tuple[int, dict[str, str] | None]:
    """The number and the content of the claim that counts; (-1, None) if there is none."""
    number, found = start - 1, None
    while (entry := claims.get(f"{fingerprint}/{number + 1}")) is not None:
        number, found = number + 1, entry
    return number, found
