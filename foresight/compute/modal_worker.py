"""What runs in a container: a call's steps, or the preparation of models and data.

The same `run_call` as on a laptop, with three differences. Claims lie in a Modal Dict. What must survive the container
is committed to the volume: each shard, each record, the end of each attempt. And the call may find itself begun: a
container whose machine was taken away is started again with the same input, and goes on where the volume says. How
often it may be is bounded here, since Modal does it without end; time is bounded by the orchestrator.
"""

from __future__ import annotations

import gc
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import modal

from foresight.compute.attempt import attempt_numbers, close_lost
from foresight.compute.backend import StepOutcome
from foresight.compute.claim import Claim, Holder
from foresight.compute.modal_claims import try_claim
from foresight.compute.modal_names import DATASETS, END_OF_LOG, MODELS, RESULTS, ROOT
from foresight.compute.run_step import run_call
from foresight.data.dataset import prepare as prepare_data
from foresight.data.manifest import DataSpec
from foresight.data.splits import assert_disjoint, split_by_source
from foresight.errors import UserError
from foresight.files import read_json
from foresight.home import Home
from foresight.models.download import make_available
from foresight.models.identity import ModelSpec, read_manifest
from foresight.results.record import Attempt

MAX_CRASHES = 3
"""Attempts of one call whose container died without a word: it would go on for ever."""

MAX_INTERRUPTIONS = 20
"""Attempts of one call that the platform interrupted and said so. They cost what they cost and are nobody's fault."""


def container_home() -> Home:
    root = Path(ROOT)
    return Home(
        root / "results",
        models_at=root / "models",
        datasets_at=root / "datasets",
        ledger_at=Path(tempfile.gettempdir()) / "foresight-ledger",
    )


def work(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Run the call whose steps are in `payload`. Returns `{"outcomes": [StepOutcome as JSON, …]}`, always."""
    call_id = modal.current_function_call_id() or f"no-call-{os.getpid()}"
    home, volume = container_home(), modal.Volume.from_name(RESULTS)
    steps = payload["steps"]
    begun = time.monotonic()
    print(f"{os.environ.get('MODAL_TASK_ID', 'a container')} works on {call_id}", flush=True)
    worn_out = {step["fingerprint"]: _worn_out(home, step["fingerprint"], call_id) for step in steps}
    outcomes = [outcome for outcome in worn_out.values() if outcome is not None]
    outcomes += run_call(
        [step for step in steps if worn_out[step["fingerprint"]] is None],
        home,
        call_id,
        payload["run_id"],
        claims=lambda fingerprint, holder: _claim(volume, fingerprint, holder, payload["home_id"]),
        usd_per_second=payload["usd_per_second"],
        echo=True,
        commit=volume.commit,
        attempts_elsewhere=payload["attempts"],
    )
    print(f"{END_OF_LOG} {time.monotonic() - begun:.1f} s", flush=True)  # first: what comes after the result gets lost
    volume.commit()
    return {"outcomes": [outcome.to_json() for outcome in outcomes]}


def prepare(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Put models and data sets on their volumes, and check every split. Returns their manifests, and what is refused.

    `{"models": {role: manifest}, "datasets": {name: manifest}, "refusals": [text, …]}`, the manifests as JSON text.
    """
    home = container_home()
    models, datasets, refusals = {}, {}, []
    for value in payload["models"]:
        spec = ModelSpec.from_json(value)
        try:
            identity = make_available(spec, home, forward=False, verify=payload["verify"])
        except UserError as refusal:
            refusals.append(_for_modal(str(refusal)))
            continue
        models[spec.role] = read_manifest(spec, home).model_dump_json(indent=1) + "\n"
        print(f"model {spec.role}: {identity.id} at {identity.revision[:12]} is on {MODELS}", flush=True)
    modal.Volume.from_name(MODELS).commit()
    for value in payload["datasets"]:
        data = DataSpec.from_json(value)
        try:
            datasets[data.name] = _data(data, home, payload["splits"].get(data.name, []), payload["seeds"])
        except UserError as refusal:
            refusals.append(_for_modal(str(refusal)))
            continue
        print(f"data {data.name}: on {DATASETS}, splits checked", flush=True)
    print(END_OF_LOG, flush=True)
    modal.Volume.from_name(DATASETS).commit()
    return {"models": models, "datasets": datasets, "refusals": refusals}


def _data(spec: DataSpec, home: Home, splits: Sequence[Sequence[float]], seeds: Sequence[int]) -> str:
    dataset = prepare_data(spec, home)
    for train, validation, test in splits:
        for seed in seeds:
            assert_disjoint(dataset, split_by_source(dataset.manifest, seed, (train, validation, test)))
    return dataset.manifest.model_dump_json(indent=1)


def _claim(volume: modal.Volume, fingerprint: str, holder: Holder, home_id: str) -> Claim | Holder:
    """The claim, and with it a view of the volume in which everything of who had it before can be seen."""
    claim = try_claim(fingerprint, holder, home_id)
    if not isinstance(claim, Holder):
        gc.collect()  # closes files that only a cycle keeps open: a volume with open files cannot be reloaded
        try:
            volume.reload()
        except RuntimeError as error:  # at worst a step is computed that another call has just finished
            print(f"the volume's newest state could not be loaded: {error}", flush=True)
    return claim


def _worn_out(home: Home, fingerprint: str, call_id: str) -> StepOutcome | None:
    """How the step ends if this very call was begun too often already, and never finished or failed by itself."""
    folder = home.step(fingerprint) / "attempts"
    left_open = [path for path in folder.glob("*/started.json") if read_json(path)["call_id"] == call_id]
    crashed, interrupted = len(left_open), 0
    for number in attempt_numbers(home, fingerprint):
        path = folder / str(number) / "attempt.json"
        attempt = Attempt.model_validate(read_json(path)) if path.exists() else None
        if attempt is not None and attempt.call_id == call_id and path.parent / "started.json" not in left_open:
            crashed += attempt.cause == "lost"
            interrupted += attempt.cause == "signal"
    if crashed < MAX_CRASHES and interrupted < MAX_INTERRUPTIONS:
        return None
    close_lost(home, fingerprint)
    if crashed >= MAX_CRASHES:
        error = (
            f"its container died {crashed} times in the middle without a word: out of main memory most often, or a "
            "crash in native code. Ask for more memory_gb, or do less at once (batch_size)"
        )
        return StepOutcome(fingerprint, "failed", "crash_loop", error, retryable=False)
    error = f"the platform took its machine away {interrupted} times; run again to go on from the last shard"
    return StepOutcome(fingerprint, "failed", "signal", error, retryable=False)


def _for_modal(refusal: str) -> str:
    """The same refusal, where its remedy has to be typed for a volume and not for this disk."""
    return (
        refusal.replace("`foresight download-models`", "`foresight download-models --compute modal`")
        .replace(f"{ROOT}/datasets/", f"volume {DATASETS}: ")
        .replace(f"{ROOT}/models/", f"volume {MODELS}: ")
    )
