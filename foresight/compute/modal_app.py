"""The Modal app: what is deployed, and what `modal run` offers.

    modal deploy -m foresight.compute.modal_app
    modal run -m foresight.compute.modal_app::run_experiment --experiment-id c1-vlm-latent-sufficiency

The image has the versions of the project's lock, like every other environment of the project; no weights. The package
is added whole (plan, schema and stand-ins are no `.py` files), and so are the packages that FORESIGHT_PACKAGES names,
with which a team brings handlers of its own. Secrets are attached if FORESIGHT_SECRETS names them, and none otherwise:
one that does not exist fails the whole deployment.

A call has a container of its own, which is gone when it ends: no file or GPU memory is left from an earlier one, and an
idle GPU is never paid for. The functions have one argument of plain JSON and return plain JSON.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import modal

from foresight.compute.gpus import CORES
from foresight.compute.modal_names import (
    APP,
    DATASETS,
    MODELS,
    ON_CPU,
    ON_GPU,
    PACKAGES,
    PREPARE,
    RESULTS,
    ROOT,
    SECRETS,
)
from foresight.compute.provenance import checkout, deployed_as
from foresight.errors import UserError

PACKAGE = Path(__file__).resolve().parents[1]
LOCKS = {  # as `make setup` installs them: complete and hashed, so that nothing is resolved
    "requirements.lock": "--no-deps --require-hashes",
    "requirements-data.lock": "--no-deps --require-hashes --no-build-isolation",
}
CODE_AT = "/root"
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
NOT_CODE = ["**/__pycache__", "**/*.pyc", "**/.*"]
PREPARE_TIMEOUT_S = 6 * 3600
PREPARE_MEMORY_MB = (4096, 65536)  # a download ends with one forward pass of the model, in float32 on the processor
DEFAULT_TIMEOUT_S = 3600  # each call is given its own


def names_in(variable: str) -> list[str]:
    """What an environment variable lists, with commas between."""
    return [name.strip() for name in os.environ.get(variable, "").split(",") if name.strip()]


def image() -> modal.Image:
    """The image, in which this module is imported again: there nothing of it may depend on where it is."""
    made = modal.Image.debian_slim(python_version="3.11")
    if modal.is_local():
        for lock, options in LOCKS.items():
            made = made.pip_install_from_requirements(str(_lock(lock)), extra_options=options)
        made = made.env(
            {
                "HF_HUB_OFFLINE": "1",
                "TRANSFORMERS_OFFLINE": "1",
                "TOKENIZERS_PARALLELISM": "false",
                "MPLBACKEND": "agg",
                PACKAGES: ",".join(names_in(PACKAGES)),
                SECRETS: ",".join(names_in(SECRETS)),
                **deployed_as(*checkout()),
            }
        )
        made = made.add_local_dir(PACKAGE, f"{CODE_AT}/foresight", ignore=NOT_CODE)
        for lock in LOCKS:
            made = made.add_local_file(_lock(lock), f"{CODE_AT}/{lock}")
        for name in names_in(PACKAGES):
            made = _with_package(made, name)
    return made


def _lock(name: str) -> Path:
    path = PACKAGE.parent / name
    if not path.is_file():
        raise UserError(
            f"{name} is not beside the package, in {PACKAGE.parent}: the image is made from it. "
            "Deploy from a checkout of the project, installed with `make setup`."
        )
    return path


def _with_package(made: modal.Image, name: str) -> modal.Image:
    spec = importlib.util.find_spec(name)
    if spec is None or (spec.origin is None and not spec.submodule_search_locations):
        raise UserError(f"{PACKAGES} names {name}, which cannot be imported here. Install it, or set PYTHONPATH.")
    for folder in spec.submodule_search_locations or ():
        made = made.add_local_dir(folder, f"{CODE_AT}/{name}", ignore=NOT_CODE)
    if not spec.submodule_search_locations and spec.origin is not None:
        made = made.add_local_file(spec.origin, f"{CODE_AT}/{Path(spec.origin).name}")
    return made


app = modal.App(APP, include_source=False)

COMMON: dict[str, Any] = {
    "image": image(),
    "volumes": {
        f"{ROOT}/results": modal.Volume.from_name(RESULTS, create_if_missing=True),
        f"{ROOT}/models": modal.Volume.from_name(MODELS, create_if_missing=True),
        f"{ROOT}/datasets": modal.Volume.from_name(DATASETS, create_if_missing=True),
    },
    "secrets": [modal.Secret.from_name(name) for name in names_in(SECRETS)],
    "cpu": CORES,
    "single_use_containers": True,
    "scaledown_window": 2,
    "retries": 0,  # Prefect retries what a retry can mend; both would multiply
}


@app.function(name=ON_CPU, timeout=DEFAULT_TIMEOUT_S, **COMMON)
def run_on_cpu(payload: Mapping[str, Any]) -> dict[str, Any]:
    return _work(payload)


@app.function(name=ON_GPU, gpu="A10", timeout=DEFAULT_TIMEOUT_S, **COMMON)  # each call is given its own class
def run_on_gpu(payload: Mapping[str, Any]) -> dict[str, Any]:
    return _work(payload)


def _work(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Libraries read how many threads they may have when they are imported, and sums depend on it in the last bit."""
    os.environ.update(dict.fromkeys(THREADS, str(payload["threads"])))
    from foresight.compute import modal_worker

    return modal_worker.work(payload)


@app.function(
    name=PREPARE,
    timeout=PREPARE_TIMEOUT_S,
    memory=PREPARE_MEMORY_MB,
    max_containers=1,  # two that fetch the same model at once would pay twice
    env={"HF_HUB_OFFLINE": "0"},
    **COMMON,
)
def prepare_here(payload: Mapping[str, Any]) -> dict[str, Any]:
    from foresight.compute import modal_worker

    return modal_worker.prepare(payload)


# ---------------------------------------------------------------------- modal run


@app.local_entrypoint()
def smoke_test(profile: str = "tiny") -> None:
    _shell("smoke-test", "--profile", profile, "--compute", "modal")


@app.local_entrypoint()
def download_models(profile: str = "tiny") -> None:
    _shell("download-models", "--profile", profile, "--compute", "modal")


@app.local_entrypoint()
def list_results() -> None:
    _shell("results", "list")


@app.local_entrypoint()
def run_experiment(
    experiment_id: str, sub_experiment: str = "", stub_mode: bool = False, profile: str = "tiny", plan: str = ""
) -> None:
    """`--sub-experiment` takes several with commas between, since `modal run` takes an option only once."""
    arguments = ["run", experiment_id, "--profile", profile, "--compute", "modal"]
    for one in filter(None, sub_experiment.split(",")):
        arguments += ["--sub-experiment", one]
    if stub_mode:
        arguments.append("--stub-mode")
    if plan:
        arguments += ["--plan", plan]
    _shell(*arguments)


def _shell(*arguments: str) -> None:
    """The shell's own path, in a process of its own; its exit status is that of `modal run`."""
    status = subprocess.run([sys.executable, "-m", "foresight", *arguments], check=False).returncode
    if status:
        sys.exit(status)
