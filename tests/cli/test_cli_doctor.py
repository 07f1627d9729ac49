"""Each check of `doctor`: one case in which it is content, one in which it is not."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
from pathlib import Path

import pytest

from foresight.cli import doctor
from foresight.errors import UserError
from foresight.home import Home
from foresight.models import identity

LOCK = Path(__file__).parents[2] / "requirements.lock"


def test_python_version():
    assert doctor.python_version((3, 11, 7)).status == "ok"
    assert doctor.python_version((3, 12, 1)).status == "failed"


def test_pins_hold_here_and_a_drift_is_named():
    assert doctor.pins(LOCK).status == "ok"

    def drifted(package: str) -> str:
        return "0.0.1" if package == "numpy" else importlib.metadata.version(package)

    found = doctor.pins(LOCK, drifted)
    assert found.status == "failed"
    assert "numpy 0.0.1" in found.detail


@pytest.mark.parametrize(("package", "version"), [("fastapi", "0.165.0"), ("sqlalchemy", "2.1.9")])
def test_the_two_traps_are_named_with_their_symptom(package: str, version: str):
    def trapped(name: str) -> str:
        return version if name == package else importlib.metadata.version(name)

    found = doctor.pins(LOCK, trapped)
    assert found.status == "failed"
    assert found.detail.startswith(f"{package} {version}")


def test_pins_without_a_lock_are_not_called_fine(tmp_path: Path):
    assert doctor.pins(tmp_path / "none.lock").status == "missing"


def test_home(tmp_path: Path):
    assert doctor.home(Home(tmp_path / "home")).status == "ok"
    (tmp_path / "file").write_text("")
    assert doctor.home(Home(tmp_path / "file")).status == "failed"


def test_a_home_at_fault_is_one_row_and_hides_none_of_the_others(tmp_path: Path):
    (tmp_path / "file").write_text("")
    found = doctor.examine(Home(tmp_path / "file"), LOCK)
    assert [check.name for check in found if check.status == "failed"] == ["home"]


def test_disk(tmp_path: Path):
    assert doctor.disk(Home(tmp_path / "not" / "yet"), lambda path: 10**12).status == "ok"
    found = doctor.disk(Home(tmp_path), lambda path: 10**9)
    assert found.status == "failed"
    assert "1.0 GB" in found.detail


def test_server():
    assert doctor.server(None).status == "ok"
    assert doctor.server("http://127.0.0.1:9/api").status == "failed"
    assert doctor.server("no url").status == "failed"


def test_metric_weights(monkeypatch: pytest.MonkeyPatch):
    assert doctor.metric_weights().status == "ok"

    def missing() -> str:
        raise UserError("the weights are not there")

    monkeypatch.setattr("foresight.metrics.weights.lpips_weights_sha256", missing)
    assert doctor.metric_weights().status == "failed"


def test_stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert doctor.stand_ins().status == "ok"
    copies = {}
    for name, folder in identity.STAND_INS.items():
        copies[name] = shutil.copytree(folder, tmp_path / folder.name)
    weights = next(copies["foresight/stand-in-ltx-vae"].rglob("*.safetensors"))
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    monkeypatch.setattr(identity, "STAND_INS", copies)
    found = doctor.stand_ins()
    assert found.status == "failed"
    assert weights.name in found.detail


def test_clips(monkeypatch: pytest.MonkeyPatch):
    assert doctor.clips().status == "ok"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert doctor.clips().status == "failed"


def test_tokens(tmp_path: Path):
    config = tmp_path / "modal.toml"
    assert {check.status for check in doctor.tokens({}, config)} == {"missing"}
    config.write_text("")
    everything = {"HF_TOKEN": "x", "WANDB_API_KEY": "x"}
    assert {check.status for check in doctor.tokens(everything, config)} == {"ok"}


def test_examine_makes_every_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    found = doctor.examine(Home(tmp_path), LOCK)
    assert len({check.name for check in found}) == 11
    assert [check.name for check in found if check.status == "failed"] == ["Prefect"]
    assert all(check.remedy for check in found if check.status != "ok")
    assert os.environ["PREFECT_API_URL"]
