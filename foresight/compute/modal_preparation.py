"""What must be true before a run on Modal: it can be reached, the app is there, and models and data are on the volumes.

The weights and the pictures never come here. The container that puts them there returns their manifests, which is all
that a plan needs; they are kept apart from those of this machine (`elsewhere.planned_from`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import modal

from foresight.compute.modal_log import RemoteLog
from foresight.compute.modal_names import APP, PREPARE
from foresight.compute.modal_trouble import FATAL, TRANSPORT, refusal_of, trouble_of_call
from foresight.data.manifest import MANIFEST as DATA_MANIFEST
from foresight.data.manifest import DataSpec
from foresight.elsewhere import planned_from
from foresight.errors import StepFailed, UserError
from foresight.files import write_atomic
from foresight.home import Home
from foresight.models.identity import MANIFEST as MODEL_MANIFEST
from foresight.models.identity import ModelManifest, ModelSpec, locate

REACH_S = 15.0
"""The client itself would try for a minute to reach a server that is not there."""

UNREACHABLE_S = 600.0
POLL_S = 1.0


def require_ready() -> None:
    """Raise one `UserError` if nothing can be started: no token, not deployed, Modal out of reach."""
    with ThreadPoolExecutor(1) as thread:  # the caller may be inside an event loop
        thread.submit(lambda: asyncio.run(_hydrate())).result()


async def _hydrate() -> None:
    try:
        await asyncio.wait_for(modal.Function.from_name(APP, PREPARE).hydrate.aio(), REACH_S)
    except TimeoutError:
        raise refusal_of(TimeoutError(f"no answer within {REACH_S:g} s")) from None
    except modal.exception.Error as error:
        raise refusal_of(error) from error


def prepare(
    models: Mapping[str, ModelSpec],
    data: Mapping[str, DataSpec],
    splits: Mapping[str, Sequence[tuple[float, float, float]]],
    seeds: Sequence[int],
    home: Home,
    say: Callable[[str], None],
    *,
    verify: bool = False,
    wanted: Callable[[], bool] = lambda: True,
) -> dict[str, str]:
    """Have models and data put on the volumes, and keep their manifests here. Returns role -> hash of its weights.

    Raises one `UserError` with all that is refused there. `wanted` is asked meanwhile; if not, it is cancelled.
    """
    payload = {
        "models": [spec.to_json() for spec in models.values()],
        "datasets": [spec.to_json() for spec in data.values()],
        "splits": {name: [list(sizes) for sizes in each] for name, each in splits.items()},
        "seeds": list(seeds),
        "verify": verify,
    }
    answer = _call(payload, say, wanted)
    place = planned_from(home, "modal")
    weights = {}
    for role, text in answer["models"].items():
        weights[role] = ModelManifest.model_validate_json(text).weights_sha256
        if not models[role].stand_in:
            write_atomic(locate(models[role], place) / MODEL_MANIFEST, text)
    for name, text in answer["datasets"].items():
        write_atomic(data[name].folder(place) / DATA_MANIFEST, text)
    refusals = answer["refusals"]
    if refusals:
        raise UserError(refusals[0] if len(refusals) == 1 else "\n  - ".join(["nothing was started:", *refusals]))
    return weights


def _call(payload: Mapping[str, Any], say: Callable[[str], None], wanted: Callable[[], bool]) -> dict[str, Any]:
    try:
        handle = modal.Function.from_name(APP, PREPARE).spawn(payload)
    except (*FATAL, *TRANSPORT) as error:
        raise refusal_of(error) from error
    say(f"prepared on Modal: {handle.get_dashboard_url()}")
    log, cursor, unreachable_since = RemoteLog(handle, datetime.now(UTC)), 0, 0.0
    while True:
        answer = None
        try:
            answer = handle.get(timeout=POLL_S)
            unreachable_since = 0.0
        except TimeoutError:  # the builtin one: not yet
            unreachable_since = 0.0
        except TRANSPORT as error:
            unreachable_since = unreachable_since or time.monotonic()
            if time.monotonic() - unreachable_since > UNREACHABLE_S:
                raise refusal_of(error) from error
            time.sleep(POLL_S)
        except Exception as error:
            trouble = trouble_of_call(error, asked_to_cancel=False)
            raise UserError(f"The preparation on Modal failed: {trouble.error}.") from error
        try:
            lines, cursor = log.read(cursor, ended=answer is not None)
            if answer is not None:
                lines = [*lines, *log.rest(cursor, complete=True)]
        except (*TRANSPORT, modal.exception.Error):
            lines = []  # they come with the next look, or not at all: the answer is what counts
        for line in lines:
            say(line.text)
        if answer is not None:
            return answer
        if not wanted():
            handle.cancel(terminate_containers=True)
            raise StepFailed("cancelled while models and data were prepared", cause="cancelled", retryable=False)
