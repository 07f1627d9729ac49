"""GPU classes by their names on Modal, smallest first."""

from __future__ import annotations

from foresight.errors import UserError

GPU_CLASSES = {"A10": 24, "A100-40GB": 40, "A100-80GB": 80, "H100": 80}  # memory in GB
ALIASES = {"A10G": "A10", "A100": "A100-40GB"}


def gpu_class(name: str) -> str:
    """The class that `name` means, whatever its case or its older spelling. Raises `UserError` on an unknown one."""
    upper = name.upper()
    resolved = ALIASES.get(upper, next((known for known in GPU_CLASSES if known.upper() == upper), None))
    if resolved is None:
        raise UserError(f"Unknown GPU '{name}'. Known: {', '.join(GPU_CLASSES)} (A10G means A10).")
    return resolved
