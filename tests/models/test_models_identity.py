import json
import os
import shutil
import subprocess
import sys

import pytest

from foresight.data.clips import CLIPS
from foresight.data.photographs import PHOTOGRAPHS
from foresight.errors import UserError
from foresight.files import sha256_file
from foresight.models import tiny
from foresight.models.identity import STAND_INS, ModelSpec, identity, locate, read_manifest, write_manifest

WEIGHTS = "vae/diffusion_pytorch_model.safetensors"
HUB = ModelSpec("vae", "Lightricks/LTX-Video", "8984fa25007f376c1a299016d0957a37a2f797bb")


@pytest.fixture
def planted(home, vae_folder):
    """A tiny VAE where the hub's would lie."""
    folder = locate(HUB, home)
    shutil.copytree(vae_folder, folder)
    write_manifest(folder, id=HUB.id, revision=HUB.revision, licence="other")
    return folder


def test_a_model_on_this_machine_is_known_by_id_revision_and_weights(planted, home):
    found = identity(HUB, home)
    assert (found.id, found.revision, found.stand_in) == (HUB.id, HUB.revision, False)
    assert len(found.weights_sha256) == 64


def test_one_byte_of_the_weights_changes_the_identity(planted, home):
    before = identity(HUB, home)
    weights = bytearray((planted / WEIGHTS).read_bytes())
    weights[-1] ^= 1
    (planted / WEIGHTS).write_bytes(weights)
    write_manifest(planted, id=HUB.id, revision=HUB.revision, licence="other")
    assert identity(HUB, home).weights_sha256 != before.weights_sha256


def test_the_config_does_not_bear_on_the_weights_hash(planted, home):
    before = identity(HUB, home)
    config = planted / "vae" / "config.json"
    config.write_text(config.read_text() + "\n")
    write_manifest(planted, id=HUB.id, revision=HUB.revision, licence="other")
    assert identity(HUB, home) == before


def test_a_model_that_is_not_here_is_named_with_the_command(home):
    with pytest.raises(UserError, match=r"manifest\.json is missing\. Run `foresight download-models`"):
        identity(HUB, home)


def test_a_name_without_a_commit_is_refused(home):
    with pytest.raises(UserError, match="Pin `revision`"):
        locate(ModelSpec("vae", HUB.id), home)


def test_the_manifest_of_another_revision_is_refused(planted, home):
    write_manifest(planted, id=HUB.id, revision="0" * 40, licence="other")
    with pytest.raises(UserError, match=f"is of {HUB.id} at 0000"):
        identity(HUB, home)


def test_a_damaged_manifest_is_refused(planted, home):
    (planted / "manifest.json").write_text('{"id": "x"')
    with pytest.raises(UserError, match=r"manifest\.json is damaged"):
        identity(HUB, home)


def test_a_folder_without_weights_is_no_model(tmp_path):
    with pytest.raises(ValueError, match=r"no \.safetensors"):
        write_manifest(tmp_path, id="x/y", revision="1", licence="none")


@pytest.mark.parametrize("id", STAND_INS)
def test_a_shipped_stand_in_is_whole_and_says_what_it_is(home, id):
    manifest = read_manifest(ModelSpec("any", id, stand_in=True), home)
    folder = STAND_INS[id]
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert present == {*manifest.files, "manifest.json"}
    assert {name: sha256_file(folder / name) for name in manifest.files} == {
        name: file.sha256 for name, file in manifest.files.items()
    }
    assert {name.rsplit(".")[-1] for name in present} <= {"json", "safetensors", "jinja"}  # nothing that runs code
    assert manifest.revision == manifest.weights_sha256[:12]
    assert manifest.licence == "MIT"
    assert identity(ModelSpec("any", id, manifest.revision, stand_in=True), home).stand_in
    assert "/tmp" not in "".join((folder / name).read_text() for name in present if name.endswith("json"))


def test_the_stand_ins_saw_only_what_counts_as_train(home):
    allowed = {source.id for source in (*PHOTOGRAPHS, *CLIPS) if source.stand_in_training}
    for id in STAND_INS:
        made = read_manifest(ModelSpec("", id, stand_in=True), home).made
        assert set(made["pictures"]) == allowed
        assert made["drawn_from_seed"] >= 1_000_000
        assert {"script", "seed", "steps"} <= made.keys()


def test_the_stand_ins_are_small():
    assert sum(path.stat().st_size for folder in STAND_INS.values() for path in folder.rglob("*")) < 12e6


def test_a_stand_in_of_another_revision_or_name_is_refused(home):
    with pytest.raises(UserError, match="leave it out"):
        identity(ModelSpec("vlm", "foresight/stand-in-qwen2.5-vl", "0" * 12, stand_in=True), home)
    with pytest.raises(UserError, match="There is no stand-in 'foresight/other'"):
        locate(ModelSpec("vlm", "foresight/other", stand_in=True), home)


def test_a_spec_travels_as_json():
    assert ModelSpec.from_json(json.loads(json.dumps(HUB.to_json()))) == HUB


def test_random_models_are_the_same_for_the_same_seed(tmp_path):
    shape = tiny.VaeShape(latent_channels=6, channels=(8, 8), scaling=(True, False))
    hashes = [
        sha256_file(tiny.build_vae(tmp_path / name, shape, seed=seed) / WEIGHTS)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_planning_does_not_pay_for_torch():
    code = (
        "import sys, foresight.models.identity, foresight.models.download, foresight.features.points, "
        "foresight.features.store; "
        "sys.exit(bool({'torch', 'transformers', 'diffusers', 'huggingface_hub'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], env=dict(os.environ), check=False).returncode == 0
