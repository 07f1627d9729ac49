"""What `modal deploy -m foresight.compute.modal_app` makes, and what it says when it cannot."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import modal
import pytest
from modal_plane.control import PlaneControl
from remote import HERE, deploy

from foresight.compute import modal_app


def test_the_image_is_made_from_the_locks(deployed: PlaneControl) -> None:
    commands = [command for image in deployed.images() for command in image["commands"]]
    installs = [command for command in commands if "requirements" in command and "pip install" in command]
    assert len(installs) == 2
    assert all("--require-hashes" in command and "--no-deps" in command for command in installs)
    assert any("HF_HUB_OFFLINE" in command for command in commands)


def test_functions_and_volumes(deployed: PlaneControl) -> None:
    functions = {f["name"]: f for f in deployed.functions() if not f["base"]}
    assert set(functions) == {"run_on_cpu", "run_on_gpu", "prepare_here"}
    assert (functions["run_on_cpu"]["gpu"], functions["run_on_gpu"]["gpu"]) == ("", "A10")
    for function in functions.values():
        assert sorted(function["volumes"]) == ["/foresight/datasets", "/foresight/models", "/foresight/results"]
        assert function["single_use"]
        assert function["retries"] == 0
    assert functions["run_on_gpu"]["secrets"] == []
    assert functions["prepare_here"]["max_containers"] == 1
    for name in ("foresight-results", "foresight-model-cache", "foresight-datasets"):
        assert modal.Volume.from_name(name).listdir("/") is not None


def test_secrets_are_attached_by_name_and_never_required(
    deployed: PlaneControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = deploy({**deployed.environment, "FORESIGHT_SECRETS": "wandb-api-key"})
    assert missing.returncode != 0
    assert "wandb-api-key" in missing.stdout + missing.stderr
    modal.Secret.objects.create("wandb-api-key", {"WANDB_API_KEY": "x"})
    done = deploy({**deployed.environment, "FORESIGHT_SECRETS": "wandb-api-key"}, "remote_handlers", str(HERE))
    assert done.returncode == 0, done.stdout
    newest = [f for f in deployed.functions() if f["name"] == "run_on_cpu" and not f["base"]][-1]
    assert len(newest["secrets"]) == 1
    again = deploy(deployed.environment, "remote_handlers", str(HERE))
    assert again.returncode == 0


def test_a_package_that_is_not_there_is_named(deployed: PlaneControl) -> None:
    done = deploy(deployed.environment, "nosuchpackage")
    assert done.returncode != 0
    assert "nosuchpackage" in done.stdout + done.stderr
    assert "FORESIGHT_PACKAGES" in done.stdout + done.stderr


def test_without_a_lock_nothing_is_deployed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modal_app, "PACKAGE", tmp_path / "foresight")
    with pytest.raises(modal_app.UserError, match=r"requirements\.lock is not beside the package"):
        modal_app.image()


def test_light_commands_do_not_import_the_client() -> None:
    light = (
        "foresight.cli, foresight.compute.request, foresight.compute.planner, foresight.compute.ledger, flows.outcome"
    )
    code = f"import sys, {light}; sys.exit('modal' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
