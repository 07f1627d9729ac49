"""The smoke test: does each model load, see a real picture, and give numbers of the right shape that are finite.

Half a second for the stand-ins once torch is loaded. A 7B model is loaded once and sees one picture; whoever passes
this does not pay for an extraction that fails in its first batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError

from foresight.data.photographs import stand_in_photographs
from foresight.errors import StepFailed, UserError
from foresight.files import write_json
from foresight.home import Home
from foresight.models import loading
from foresight.models.dino import Dino
from foresight.models.identity import ModelSpec, identity, locate
from foresight.models.ltx import Vae
from foresight.models.qwen import Vlm
from foresight.results.record import StepOutput

if TYPE_CHECKING:
    from foresight.compute.executors import StepContext
    from foresight.compute.step import Step

SIDE = 224  # pixels: tokens of 28 and cells of 32 px both divide it


@dataclass(frozen=True)
class Check:
    name: str
    ok: bool
    detail: str  # what was run, or what went wrong
    seconds: float


class _Unmet(Exception):
    """What a check found wrong."""


def smoke_test(specs: Iterable[ModelSpec], home: Home, device: str = "cpu") -> list[Check]:
    """Load each model and run it once on a photograph. Checks that depend on a failed one are left out."""
    checks: list[Check] = []
    for spec in specs:
        model, check = _load(spec, home, device)
        checks.append(check)
        if model is not None:
            checks += [_checked(f"{spec.role}: {name}", run) for name, run in _runs(model).items()]
    return checks


def forward_pass(spec: ModelSpec, folder: Path) -> None:
    """Load the model in `folder` and run it once, on the GPU if there is one.

    Full models in bfloat16 on a CPU too, where 7B weights would take 33 GB in float32. Raises `UserError` if it does
    not load, or what comes out cannot be right.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        model = loading.load(spec, folder, device, "float32" if spec.stand_in else "bfloat16")
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"{spec.id} in {folder} does not load: {error}. Its files do not belong together. "
            "Remove the folder and download it again."
        ) from error
    for name, run in _runs(model).items():
        try:
            run()
        except _Unmet as error:
            raise UserError(
                f"{spec.id} loads, but its {name} fails: {error}. Its weights do not fit its config. "
                f"Remove {folder} and download it again."
            ) from error


def execute(step: Step, context: StepContext) -> StepOutput:
    """The smoke test as a step. `work["model_specs"]`: role -> spec. Raises `StepFailed` if a check fails."""
    specs = [ModelSpec.from_json(spec) for spec in step.work["model_specs"].values()]
    checks = smoke_test(specs, context.home, context.device)
    for check in checks:
        print(f"{'ok' if check.ok else 'FAILED'}  {check.name}: {check.detail} ({check.seconds:.2f} s)", flush=True)
    if failed := [check for check in checks if not check.ok]:
        raise StepFailed(
            "; ".join(f"{check.name}: {check.detail}" for check in failed), cause="invalid_output", retryable=False
        )
    write_json(context.artifacts_dir / "smoke.json", [asdict(check) for check in checks])
    return StepOutput(
        finding_template="{n_checks:.0f} checks passed",
        metrics={"n_checks": len(checks), "seconds": sum(check.seconds for check in checks)},
        notes=[f"{spec.id} is a tiny stand-in for the real model" for spec in specs if spec.stand_in],
    )


def _runs(model: loading.Model) -> Mapping[str, Callable[[], str]]:
    """The checks of a loaded model, by name; each describes what it ran."""
    picture = _photograph()
    if isinstance(model, Vlm):
        return {"forward pass": lambda: _vlm_forward(model, picture)}
    if isinstance(model, Dino):
        return {"forward pass": lambda: _dino_forward(model, picture)}
    return {
        "round trip of a still": lambda: _vae_round_trip(model, picture[None]),
        "round trip of a clip": lambda: _vae_round_trip(
            model, np.repeat(picture[None, None], 1 + model.temporal_ratio, axis=1)
        ),
    }


def _vlm_forward(vlm: Vlm, picture: np.ndarray) -> str:
    points = ["X1.1", "X2", "X3", "X4.last"]
    features = vlm.encode(picture[None], points, side=SIDE)
    for point in points:
        _require(features[point], (1, *vlm.grid(point, SIDE, SIDE)), point)
    cells = {point: "x".join(map(str, features[point].shape[1:])) for point in points}
    return "a photograph at 224 px: " + ", ".join(f"{point} {shape}" for point, shape in cells.items())


def _dino_forward(dino: Dino, picture: np.ndarray) -> str:
    tokens = dino.encode(picture[None], side=SIDE)
    _require(tokens, (1, *dino.grid(SIDE, SIDE)), "X7")
    return f"a photograph at 224 px: X7 {'x'.join(map(str, tokens.shape[1:]))}"


def _vae_round_trip(vae: Vae, pictures: np.ndarray) -> str:
    latents = vae.encode(pictures)
    grid = vae.grid(SIDE, SIDE)
    _require(latents, (1, *((2,) if pictures.ndim == 5 else ()), *grid), "X6")
    decoded = vae.decode(latents)
    _require(decoded, pictures.shape, "the decoded picture")
    error = np.square(decoded - pictures / 255).mean()
    psnr = 10 * np.log10(1 / max(error, 1e-10))
    return f"a photograph at 224 px: latents {'x'.join(map(str, latents.shape[1:]))}, {psnr:.1f} dB"


def _require(values: np.ndarray, shape: tuple[int, ...], name: str) -> None:
    if values.shape != shape:
        raise _Unmet(f"{name} has the shape {values.shape} instead of {shape}")
    if not np.isfinite(values).all():
        raise _Unmet(f"{name} is not finite")
    if float(values.std()) == 0.0:
        raise _Unmet(f"{name} is the same everywhere")


def _photograph() -> np.ndarray:
    picture = stand_in_photographs()[0]
    short = min(picture.shape[:2])
    return np.asarray(Image.fromarray(picture[:short, :short]).resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def _load(spec: ModelSpec, home: Home, device: str) -> tuple[loading.Model | None, Check]:
    loaded: list[loading.Model] = []

    def run() -> str:
        weights = identity(spec, home)
        loaded.append(loading.load(spec, locate(spec, home), device))
        kind = "a stand-in" if weights.stand_in else f"revision {weights.revision[:12]}"
        return f"{spec.id}, {kind}, on {loaded[0].device}"

    check = _checked(f"{spec.role}: load", run)
    return (loaded[0] if check.ok else None), check


def _checked(name: str, run: Callable[[], str]) -> Check:
    start = time.monotonic()
    try:
        ok, detail = True, run()
    except (_Unmet, UserError) as error:
        ok, detail = False, str(error)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:  # what loading and running raise
        ok, detail = False, f"{type(error).__name__}: {error}"
    return Check(name, ok, detail, round(time.monotonic() - start, 3))
