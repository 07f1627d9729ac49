"""Where a step can run on Modal: the GPU classes by their names there, smallest first, and a container's cores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from foresight.errors import UserError

CPU = "cpu"


@dataclass(frozen=True)
class GpuClass:
    """`speed` is relative to an A10, by NVIDIA's data sheets: the smaller of the ratios of dense bfloat16 throughput
    (125, 312, 312, 989 TFLOPS) and of memory bandwidth (600, 1555, 1935, 3350 GB/s). A step bound by anything else
    gains less."""

    memory_gb: int
    speed: float


GPU_CLASSES: Mapping[str, GpuClass] = {
    "A10": GpuClass(24, 1.0),
    "A100-40GB": GpuClass(40, 2.5),
    "A100-80GB": GpuClass(80, 2.5),
    "H100": GpuClass(80, 5.6),
}
ALIASES = {"A10G": "A10", "A100": "A100-40GB"}

CORES = 4.0
"""Physical processor cores of a container, with a GPU or without, where the profile does not say."""


def gpu_class(name: str) -> str:
    """The class that `name` means, whatever its case or its older spelling. Raises `UserError` on an unknown one."""
    upper = name.upper()
    resolved = ALIASES.get(upper, next((known for known in GPU_CLASSES if known.upper() == upper), None))
    if resolved is None:
        raise UserError(f"Unknown GPU '{name}'. Known: {', '.join(GPU_CLASSES)} (A10G means A10).")
    return resolved


def is_gpu(device: str) -> bool:
    return device != CPU


def next_class(device: str) -> str | None:
    """The next larger class, or None after the largest and for `cpu`, which has no larger."""
    names = list(GPU_CLASSES)
    following = names[names.index(device) + 1 :] if is_gpu(device) else []
    return following[0] if following else None


def relative_time(measured_on: str, device: str) -> float | None:
    """How many times as long on `device` what was measured on another; None between a CPU and a GPU."""
    if measured_on == device:
        return 1.0
    if not (is_gpu(measured_on) and is_gpu(device)):
        return None
    return GPU_CLASSES[measured_on].speed / GPU_CLASSES[device].speed
