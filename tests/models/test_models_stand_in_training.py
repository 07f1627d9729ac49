import numpy as np
import pytest

from foresight.data.photographs import PHOTOGRAPHS
from foresight.data.recipes import STAND_IN_SEEDS_FROM
from foresight.files import read_json
from foresight.models import stand_in_pictures, train_stand_ins
from foresight.models.identity import ModelManifest

FOLDERS = {"vlm": "qwen2.5-vl-tiny", "vae": "ltx-vae-tiny", "dino": "dinov2-tiny"}


@pytest.fixture(autouse=True)
def _few_photographs(monkeypatch):
    """Decoding the real ones takes seconds; the shipped manifest says that they were used."""
    coffee = next(photograph for photograph in PHOTOGRAPHS if photograph.id == "coffee").load()
    clip = np.stack([coffee[t : t + 300, 2 * t : 2 * t + 400] for t in range(20)])
    monkeypatch.setattr(stand_in_pictures, "stand_in_photographs", lambda: [coffee])
    monkeypatch.setattr(stand_in_pictures, "stand_in_clips", lambda: {"clip": clip})


def test_pictures_are_photographs_dead_leaves_and_shapes():
    stills = stand_in_pictures.stills(12, 56, seed=0)
    assert stills.shape == (12, 56, 56, 3)
    assert len(np.unique(stills.reshape(12, -1), axis=0)) == 12
    np.testing.assert_array_equal(stills, stand_in_pictures.stills(12, 56, seed=0))
    assert (stills != stand_in_pictures.stills(12, 56, seed=1)).any(axis=(1, 2, 3)).all()


def test_clips_move():
    moving = stand_in_pictures.moving(6, 5, 56, seed=0)
    assert moving.shape == (6, 5, 56, 56, 3)
    assert (moving[:, 0] != moving[:, -1]).any(axis=(1, 2, 3)).all()


def test_whatever_is_drawn_counts_as_train(monkeypatch):
    seeds = []
    real = stand_in_pictures.make_single_object
    monkeypatch.setattr(stand_in_pictures, "make_single_object", lambda p: seeds.append(p.seed) or real(p))
    for seed in (0, 7):
        stand_in_pictures.stills(24, 28, seed)
    assert len(seeds) == 12
    assert min(seeds) >= STAND_IN_SEEDS_FROM


def test_varied_pictures_stay_in_range():
    rng = np.random.default_rng(0)
    picture = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    for _ in range(20):
        values = stand_in_pictures.varied(picture, rng)
        assert values.dtype == np.float32
        assert -1 <= values.min() < values.max() <= 1


@pytest.fixture
def train(monkeypatch, tmp_path):
    """The script on noise."""
    noise = np.random.default_rng(0).integers(0, 256, (8, 5, 224, 224, 3), dtype=np.uint8)
    monkeypatch.setattr(stand_in_pictures, "stills", lambda n, side, seed: noise[:, seed, :side, :side])
    monkeypatch.setattr(stand_in_pictures, "moving", lambda n, frames, side, seed: noise[:, :frames, :side, :side])

    def run(only, steps, seed=0):
        out = tmp_path / f"{only}-{steps}-{seed}-{len(list(tmp_path.iterdir()))}"
        options = ["--out", out, "--only", only, f"--{only}-steps", steps, "--seed", seed]
        monkeypatch.setattr("sys.argv", ["train_stand_ins", *map(str, options)])
        train_stand_ins.main()
        return ModelManifest.model_validate(read_json(out / FOLDERS[only] / "manifest.json"))

    return run


@pytest.mark.parametrize("only", ["vlm", "vae", "dino"])
def test_the_script_makes_the_same_weights_from_the_same_seed(train, only):
    first, again, other = train(only, 3), train(only, 3), train(only, 3, seed=1)
    assert first.revision == again.revision != other.revision
    assert first.made["steps"] == 3
    assert first.made["pictures"] == list(stand_in_pictures.SOURCES)
