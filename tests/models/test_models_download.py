import json
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from safetensors.torch import load_file, save_file

from foresight.errors import UserError
from foresight.files import sha256_file
from foresight.models import download, tiny
from foresight.models.download import make_available
from foresight.models.identity import STAND_INS, ModelSpec, identity, locate, read_manifest, write_manifest

COMMIT = "8984fa25007f376c1a299016d0957a37a2f797bb"
SPEC = ModelSpec("vae", "Lightricks/LTX-Video", COMMIT)
WEIGHTS = "vae/diffusion_pytorch_model.safetensors"
STAND_IN = ModelSpec("vae", "foresight/stand-in-ltx-vae", stand_in=True)


class Hub:
    """A hub with one repository, read from a folder; counts what it is asked."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        self.sha = COMMIT
        self.error = None
        self.fetched = []
        self.stated = {path: sha256_file(path) for path in folder.rglob("*") if path.suffix == ".safetensors"}
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: SimpleNamespace(model_info=self.model_info))
        monkeypatch.setattr(huggingface_hub, "snapshot_download", self.snapshot_download)

    def model_info(self, id, revision, files_metadata):
        assert (id, files_metadata) == (SPEC.id, True)
        if self.error is not None:
            raise self.error
        files = [path for path in sorted(self.folder.rglob("*")) if path.is_file()]
        siblings = [
            SimpleNamespace(
                rfilename=path.relative_to(self.folder).as_posix(),
                size=path.stat().st_size,
                lfs=SimpleNamespace(sha256=self.stated[path]) if path in self.stated else None,
            )
            for path in files
        ]
        card = SimpleNamespace(to_dict=lambda: {"license": "other", "license_name": "ltx-video-open-weights"})
        return SimpleNamespace(sha=self.sha, siblings=siblings, card_data=card)

    def snapshot_download(self, id, revision, allow_patterns, local_dir):
        for name in allow_patterns:
            self.fetched.append(name)
            (Path(local_dir) / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.folder / name, Path(local_dir) / name)


@pytest.fixture
def hub(tmp_path, vae_folder, monkeypatch):
    repository = tmp_path / "repository"
    shutil.copytree(vae_folder, repository)
    (repository / "ltx-video-2b-v0.9.safetensors").write_bytes(b"tens of gigabytes")
    (repository / "LICENSE.md").write_text("licence")
    return Hub(repository, monkeypatch)


def test_a_download_leaves_what_is_needed_and_a_manifest_with_revision_and_licence(hub, home):
    found = make_available(SPEC, home)
    manifest = read_manifest(SPEC, home)
    assert set(manifest.files) == {"vae/config.json", WEIGHTS, "LICENSE.md"}
    assert (manifest.revision, manifest.licence) == (COMMIT, "ltx-video-open-weights")
    assert found == identity(SPEC, home)
    assert not found.stand_in


def test_nothing_is_fetched_twice(hub, home):
    make_available(SPEC, home)
    hub.error = AssertionError("the hub was asked again")
    make_available(SPEC, home)
    make_available(SPEC, home, verify=True)


def test_two_runs_that_want_the_same_weights_fetch_them_once(hub, home):
    together = threading.Barrier(2)

    def run():
        together.wait()
        return make_available(SPEC, home)

    with ThreadPoolExecutor(2) as runs:
        first, second = (future.result() for future in [runs.submit(run), runs.submit(run)])
    assert first == second == identity(SPEC, home)
    assert sorted(hub.fetched) == ["LICENSE.md", "vae/config.json", WEIGHTS]


def test_weights_that_are_not_what_the_hub_states_are_named_and_removed(hub, home):
    hub.stated[hub.folder / WEIGHTS] = "0" * 64
    with pytest.raises(UserError, match=f"{WEIGHTS} arrived damaged"):
        make_available(SPEC, home)
    assert not (locate(SPEC, home) / WEIGHTS).exists()
    with pytest.raises(UserError, match="not on this machine"):
        identity(SPEC, home)


def test_weights_that_do_not_run_are_no_model(hub, home):
    weights = load_file(hub.folder / WEIGHTS)
    save_file({name: value * float("nan") for name, value in weights.items()}, hub.folder / WEIGHTS)
    hub.stated[hub.folder / WEIGHTS] = sha256_file(hub.folder / WEIGHTS)
    with pytest.raises(UserError, match="not finite"):
        make_available(SPEC, home)
    assert not (locate(SPEC, home) / "manifest.json").exists()


def test_weights_of_another_shape_than_the_config_are_no_model(hub, home):
    config = json.loads((hub.folder / "vae" / "config.json").read_text())
    (hub.folder / "vae" / "config.json").write_text(json.dumps({**config, "latent_channels": 13}))
    with pytest.raises(UserError, match="does not load"):
        make_available(SPEC, home)


def test_offline_the_missing_files_are_named_with_the_command(hub, home):
    hub.error = huggingface_hub.errors.OfflineModeIsEnabled("offline mode is enabled")
    with pytest.raises(UserError) as raised:
        make_available(SPEC, home)
    assert f"vae/config.json, {WEIGHTS} missing from {locate(SPEC, home)}" in str(raised.value)
    assert "foresight download-models" in str(raised.value)


def test_offline_only_what_is_missing_is_named(hub, home):
    make_available(SPEC, home)
    (locate(SPEC, home) / WEIGHTS).unlink()
    hub.error = huggingface_hub.errors.OfflineModeIsEnabled("offline mode is enabled")
    with pytest.raises(UserError) as raised:
        make_available(SPEC, home)
    assert WEIGHTS in str(raised.value)
    assert "config.json" not in str(raised.value)


def test_offline_a_missing_shard_is_named(home, tmp_path, monkeypatch):
    spec = ModelSpec("vlm", "Qwen/Qwen2.5-VL-7B-Instruct", "c" * 40)
    folder = locate(spec, home)
    folder.mkdir(parents=True)
    shards = {f"layer{i}": f"model-{i:05d}-of-00002.safetensors" for i in (1, 2)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    for name in ("config.json", "preprocessor_config.json", "tokenizer.json", "model-00001-of-00002.safetensors"):
        (folder / name).touch()
    hub = Hub(tmp_path, monkeypatch)
    hub.model_info = lambda *args, **kwargs: (_ for _ in ()).throw(ConnectionError("no route to host"))
    with pytest.raises(UserError, match=r"here|machine: model-00002-of-00002\.safetensors missing from"):
        make_available(spec, home)


def test_a_deleted_file_is_fetched_again(hub, home):
    make_available(SPEC, home)
    (locate(SPEC, home) / WEIGHTS).unlink()
    make_available(SPEC, home)
    assert hub.fetched.count(WEIGHTS) == 2


def test_a_branch_instead_of_a_commit_is_refused(hub, home):
    with pytest.raises(UserError, match="not a commit"):
        make_available(ModelSpec("vae", SPEC.id, "main"), home)


def test_a_full_disk_is_not_called_a_missing_hub(hub, home):
    hub.error = OSError(28, "No space left on device")
    with pytest.raises(OSError, match="No space left"):
        make_available(SPEC, home)


def test_only_whole_folders_of_the_root_are_wanted():
    assert download._wanted("model-00001-of-00005.safetensors", "vlm")
    assert not download._wanted("original/model.safetensors", "vlm")
    assert download._wanted("vae/config.json", "vae")
    assert not download._wanted("ltxv-13b.safetensors", "vae")
    assert not download._wanted("vae/old/config.json", "vae")
    assert download._wanted("preprocessor_config.json", "dino")
    assert not download._wanted("pytorch_model.bin", "dino")  # the same weights again, as a pickle


def planted(home):
    """A tiny VLM where the hub's would lie: nothing is fetched."""
    spec = ModelSpec("vlm", "Qwen/Qwen2.5-VL-7B-Instruct", "c" * 40)
    tiny.build_vlm(locate(spec, home), tiny.VlmShape(vision_depth=1, depth=1, full_attention=(0,)))
    write_manifest(locate(spec, home), id=spec.id, revision=spec.revision, licence="apache-2.0")
    return spec


def test_a_verified_model_is_only_glanced_at(home, monkeypatch):
    spec = planted(home)
    make_available(spec, home)
    monkeypatch.setattr(download, "hash_files", lambda *_: pytest.fail("hashed again"))
    monkeypatch.setattr(download, "_run_once", lambda *_: pytest.fail("ran again"))
    assert make_available(spec, home) == identity(spec, home)


def test_a_forward_pass_is_made_once_it_is_asked_for(home, monkeypatch):
    spec = planted(home)
    ran = []
    monkeypatch.setattr(download, "_run_once", lambda *_: ran.append(1))
    make_available(spec, home, forward=False)
    assert not ran
    make_available(spec, home)
    make_available(spec, home, forward=False)
    make_available(spec, home)
    assert len(ran) == 1
    make_available(spec, home, verify=True)
    assert len(ran) == 2


def corrupt(path, keep_time):
    stat = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    if keep_time:
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_file_that_changed_since_is_named(home):
    spec = planted(home)
    make_available(spec, home, forward=False)
    corrupt(locate(spec, home) / "model.safetensors", keep_time=False)
    with pytest.raises(UserError, match=r"model\.safetensors is damaged"):
        make_available(spec, home, forward=False)


def test_verify_finds_a_byte_that_rotted_without_a_trace(home):
    spec = planted(home)
    make_available(spec, home, forward=False)
    corrupt(locate(spec, home) / "model.safetensors", keep_time=True)
    make_available(spec, home, forward=False)
    with pytest.raises(UserError, match=r"model\.safetensors is damaged"):
        make_available(spec, home, forward=False, verify=True)


def test_the_shipped_stand_ins_are_verified(home):
    assert make_available(STAND_IN, home, verify=True).stand_in


def test_a_damaged_stand_in_is_named(home, tmp_path, monkeypatch):
    copy = tmp_path / "stand-in"
    shutil.copytree(STAND_INS[STAND_IN.id], copy)
    monkeypatch.setitem(STAND_INS, STAND_IN.id, copy)
    corrupt(copy / WEIGHTS, keep_time=True)
    with pytest.raises(UserError, match=r"diffusion_pytorch_model\.safetensors is damaged.*Reinstall the package"):
        make_available(STAND_IN, home)
    (copy / WEIGHTS).unlink()
    with pytest.raises(UserError, match=f"{WEIGHTS} is missing"):
        make_available(STAND_IN, home)
