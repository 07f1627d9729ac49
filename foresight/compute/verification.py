"""Whether a step that was planned elsewhere means here what it meant there.

A record under a fingerprint is believed for ever. So where the work runs, everything that the identity states and that
this machine can look at is looked at again: the fingerprint itself, the code, the versions, the weights. A difference
is refused before any work, with what differs. The data set's hash is checked by who opens the data.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from foresight.compute.code_identity import code_identity, code_modules, modules_of_others
from foresight.compute.step import Step
from foresight.errors import StepFailed, UserError
from foresight.home import Home
from foresight.versions import installed

REDEPLOY = (
    "it was edited after the run was planned: start the run again; "
    "on Modal deployed code differs: run `modal deploy -m foresight.compute.modal_app`"
)


def require_fingerprint(step: Step, stated: str) -> None:
    """Raises `StepFailed` if the identity that arrived is not the one that was sent."""
    if step.fingerprint != stated:
        raise _refused(
            f"the identity of {step.label} hashes to {step.fingerprint[:12]}… here and was planned as {stated[:12]}…: "
            + REDEPLOY
        )


def require_identity(step: Step, home: Home) -> None:
    """Raises `StepFailed` with all that differs between what the identity states and what is here."""
    differences = list(_differences(step, home))
    if differences:
        raise _refused(f"{step.label} is not what was planned: " + "; ".join(differences))


def hold_code(step: Step) -> None:
    """Import all that the handler can reach, and see that it still is what was planned.

    So an edit while the step works, which may be hours, bears on nothing of it, also where the handler imports late;
    and a torch that it imports late is there when it is given its seed. Raises `StepFailed` if somebody was faster.
    """
    if "code" not in step.identity:
        return
    handler = step.identity["handler"]
    for module in [*code_modules(handler), *sorted(modules_of_others(handler))]:
        try:
            importlib.import_module(module)
        except Exception:  # noqa: BLE001 - an optional one, or the handler meets it itself and its failure says so
            continue
    if code_identity(handler) != step.identity["code"]:
        raise _refused(f"{step.label} is not what was planned: the code of {handler} ({REDEPLOY})")


def _differences(step: Step, home: Home) -> Iterator[str]:
    identity = step.identity
    if "code" in identity:
        try:
            code = code_identity(identity["handler"])
        except UserError as error:
            yield f"{error} ({REDEPLOY})"
        else:
            if code != identity["code"]:
                yield f"the code of {identity['handler']} ({REDEPLOY})"
    for library, planned in identity.get("versions", {}).items():
        here = installed(library)
        if here != planned:
            yield f"{library} {planned} was planned, {here or 'none'} is installed here (`make setup`, or redeploy)"
    if "extraction_version" in identity:
        from foresight.features.points import EXTRACTION_VERSION

        if identity["extraction_version"] != EXTRACTION_VERSION:
            yield f"extraction version {identity['extraction_version']}, {EXTRACTION_VERSION} here ({REDEPLOY})"
    yield from _weights(step, home)
    if identity.get("metric_weights"):
        from foresight.metrics.weights import lpips_weights_sha256

        for name, planned in identity["metric_weights"].items():
            if lpips_weights_sha256() != planned:
                yield f"the weights of {name} (`make setup` installs the pinned ones)"


def _weights(step: Step, home: Home) -> Iterator[str]:
    from foresight.models.identity import ModelSpec, identity

    for role, spec in _model_specs(step).items():
        planned = step.identity.get("models", {}).get(role) or step.identity.get("model")
        if planned is None:
            continue
        try:
            here = identity(ModelSpec.from_json(spec), home)
        except UserError as error:
            yield str(error)
            continue
        if here.model_dump() != dict(planned):
            yield (
                f"model {role}: {planned['id']} at {planned['revision']} with weights "
                f"{planned['weights_sha256'][:12]}… was planned, {here.id} at {here.revision} with "
                f"{here.weights_sha256[:12]}… is here (`foresight download-models`)"
            )


def _model_specs(step: Step) -> Mapping[str, Any]:
    """role -> ModelSpec as JSON, of the models that the step will load."""
    specs = dict(step.work.get("model_specs", {}))
    if "model_spec" in step.work:
        specs[step.work["model_spec"]["role"]] = step.work["model_spec"]
    return specs


def _refused(message: str) -> StepFailed:
    return StepFailed(message, cause="identity", retryable=False)
