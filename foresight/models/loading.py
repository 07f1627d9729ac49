"""From a folder to a loaded model: the one place that chooses device and number format.

float32 on a CPU, where half formats are slow or emulated; bfloat16 on a GPU, in which the checkpoints were trained. A
profile may name the format; it then bears identity. Nothing here asks the network: `download` has done so before.
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from foresight.errors import UserError
from foresight.models import dino, ltx, qwen
from foresight.models.dino import Dino
from foresight.models.identity import ModelSpec
from foresight.models.ltx import Vae
from foresight.models.qwen import Vlm

transformers_logging.disable_progress_bar()  # logs are read as lines

Model = Vlm | Vae | Dino
"""The adapter of a role: a model, its own preprocessing, and `encode`."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def load(spec: ModelSpec, folder: Path, device: str = "cpu", dtype: str | None = None) -> Model:
    """The adapter of the model's role. `folder` is what `identity.locate` gives."""
    if spec.role == "vlm":
        return load_vlm(folder, device, dtype)
    if spec.role == "vae":
        return load_vae(folder, device, dtype)
    if spec.role == "dino":
        return load_dino(folder, device, dtype)
    raise UserError(f"No model of the role {spec.role!r} can be loaded. The roles are vlm, vae and dino.")


def load_vlm(path: Path, device: str = "cpu", dtype: str | None = None) -> Vlm:
    """Load a Qwen2.5-VL. `device`: `cpu`, `cuda` or a GPU class. `dtype`: `float32`, `bfloat16`, None: by device."""
    place = torch_device(device)
    return qwen.load(path, place, _dtype(dtype, place))


def load_vae(path: Path, device: str = "cpu", dtype: str | None = None) -> Vae:
    """Load the VAE of an LTX-Video folder. Arguments as for `load_vlm`."""
    place = torch_device(device)
    return ltx.load(path, place, _dtype(dtype, place))


def load_dino(path: Path, device: str = "cpu", dtype: str | None = None) -> Dino:
    """Load a DINOv2. Arguments as for `load_vlm`."""
    place = torch_device(device)
    return dino.load(path, place, _dtype(dtype, place))


def torch_device(name: str) -> torch.device:
    """`cpu`, or for `cuda` and any GPU class the GPU. Raises `UserError` if there is none: nothing falls back."""
    if name == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UserError(
            f"{name} was asked for, and this machine has no GPU that torch can use. "
            "Run with `--compute modal`, or set `device: cpu` in the profile."
        )
    return torch.device("cuda")


def _dtype(name: str | None, device: torch.device) -> torch.dtype:
    if name is None:
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    if name not in DTYPES:
        raise UserError(f"Models are not loaded as {name!r}. The formats are {', '.join(DTYPES)}.")
    return DTYPES[name]
