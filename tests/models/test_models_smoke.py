import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from foresight.compute.executors import StepContext
from foresight.compute.step import Step
from foresight.errors import StepFailed
from foresight.models.identity import STAND_INS, ModelSpec
from foresight.models.smoke import execute, smoke_test

VLM = ModelSpec("vlm", "foresight/stand-in-qwen2.5-vl", stand_in=True)
VAE = ModelSpec("vae", "foresight/stand-in-ltx-vae", stand_in=True)
DINO = ModelSpec("dino", "foresight/stand-in-dinov2", stand_in=True)


def test_the_stand_ins_pass_and_each_check_says_what_was_run(home):
    checks = smoke_test([VLM, VAE, DINO], home)
    assert [(check.name, check.ok) for check in checks] == [
        ("vlm: load", True),
        ("vlm: forward pass", True),
        ("vae: load", True),
        ("vae: round trip of a still", True),
        ("vae: round trip of a clip", True),
        ("dino: load", True),
        ("dino: forward pass", True),
    ]
    assert "X3 8x8x128" in checks[1].detail
    assert "X2 16x16x64" in checks[1].detail
    assert "latents 28x28x32" in checks[3].detail
    assert "dB" in checks[3].detail
    assert "X7 16x16x96" in checks[6].detail
    assert all(check.seconds > 0 for check in checks[1:])


def test_a_model_that_is_not_there_fails_its_load_and_leaves_the_others(home):
    checks = smoke_test([ModelSpec("vae", "Lightricks/LTX-Video", "c" * 40), VLM], home)
    assert [(check.name, check.ok) for check in checks[:2]] == [("vae: load", False), ("vlm: load", True)]
    assert "foresight download-models" in checks[0].detail


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """The stand-in VAE with one kernel that is not a number."""
    copy = tmp_path / "stand-in"
    shutil.copytree(STAND_INS[VAE.id], copy)
    path = copy / "vae" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights["encoder.conv_in.conv.weight"] *= float("nan")
    save_file(weights, path)
    monkeypatch.setitem(STAND_INS, VAE.id, copy)


def context(home, tmp_path):
    artifacts = tmp_path / "artifacts"
    artifacts.mkdir()
    return StepContext(home, tmp_path, artifacts, "cpu", lambda *_: None)


def step(**specs):
    return Step("smoke", "smoke test", "tiny", {}, {"model_specs": {r: s.to_json() for r, s in specs.items()}})


@pytest.mark.usefixtures("broken")
def test_numbers_that_are_not_finite_fail(home, tmp_path):
    checks = smoke_test([VAE], home)
    assert [check.ok for check in checks] == [True, False, False]
    assert "X6 is not finite" in checks[1].detail
    with pytest.raises(StepFailed, match="vae: round trip of a still: X6 is not finite"):
        execute(step(vae=VAE), context(home, tmp_path))


def test_as_a_step_it_leaves_its_checks(home, tmp_path, capsys):
    output = execute(step(vlm=VLM, vae=VAE), context(home, tmp_path))
    assert output.metrics["n_checks"] == 5
    assert output.finding_template.format(**output.metrics) == "5 checks passed"
    assert len(output.notes) == 2
    saved = json.loads((tmp_path / "artifacts" / "smoke.json").read_text())
    assert [check["ok"] for check in saved] == [True] * 5
    assert "ok  vlm: forward pass" in capsys.readouterr().out
