"""A dataset is whole or absent: made once, checked when opened, made anew when anything is wrong with it."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest

from foresight.data import motion, synthetic
from foresight.data.dataset import DataSpec, catalogue, find, prepare, verify
from foresight.data.recipes import RECIPES
from foresight.errors import UserError
from foresight.home import Home

SPEC = DataSpec("shapes", "single_object", {"n": 6, "side": 56, "seed": 3})


@pytest.fixture
def home(tmp_path) -> Home:
    return Home(tmp_path)


def made_by(caplog) -> int:
    return sum(record.message.startswith("making dataset") for record in caplog.records)


def test_prepare_makes_once_and_then_opens(home, caplog):
    caplog.set_level(logging.INFO)
    first = prepare(SPEC, home)
    again = prepare(SPEC, home)
    assert made_by(caplog) == 1
    assert again.manifest == first.manifest == find(SPEC, home)
    np.testing.assert_array_equal(again.images, first.images)


def test_what_is_opened(home):
    dataset = prepare(SPEC, home)
    assert isinstance(dataset.images, np.memmap)
    assert not dataset.images.flags.writeable
    assert dataset.images.shape == (6, 56, 56, 3)
    assert dataset.images.dtype == np.uint8
    assert len(dataset) == 6
    assert len(set(dataset.groups)) == 6
    assert dataset.labels("box").shape == (6, 4)
    assert set(dataset.labels("shape")) <= set(synthetic.SHAPES)
    assert verify(dataset) == []
    with pytest.raises(KeyError, match=r"no label 'mood'.*it has box, colour, shape"):
        dataset.labels("mood")


def test_clips_need_one_rate_and_stills_none(home, monkeypatch):
    assert prepare(SPEC, home).fps is None

    def uneven(parameters, root=None):
        for k, sample in enumerate(motion.make(parameters)):
            yield replace(sample, labels={**sample.labels, "fps": 2.0 + k % 2})

    monkeypatch.setattr(synthetic, "make_single_object", uneven)
    monkeypatch.setitem(
        RECIPES, "motion", replace(RECIPES["motion"], maker="foresight.data.synthetic:make_single_object")
    )
    dataset = prepare(DataSpec("clips", "motion", {"n": 2, "side": 28}), home)
    with pytest.raises(UserError, match="clips of clips do not all have one frame rate"):
        _ = dataset.fps


def test_the_same_recipe_gives_the_same_identity_anywhere(tmp_path):
    one, other = (prepare(SPEC, Home(tmp_path / name)).manifest.sha256 for name in ("one", "other"))
    assert one == other


def test_nothing_but_the_dataset_is_left(home):
    folder = prepare(SPEC, home).folder
    assert sorted(path.name for path in folder.iterdir()) == ["images.npy", "manifest.json"]
    assert sorted(path.name for path in home.datasets.iterdir()) == [f".{folder.name}.lock", folder.name]


def flip_a_pixel(folder):
    path = folder / "images.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def truncate(folder):
    path = folder / "images.npy"
    path.write_bytes(path.read_bytes()[:-1000])


def write_other_shape(folder):
    np.save(folder / "images.npy", np.zeros((5, 56, 56, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (flip_a_pixel, "the pixels are not those of the manifest"),
        (truncate, "images.npy cannot be read"),
        (write_other_shape, r"is uint8 (5, 56, 56, 3)"),
        (lambda folder: (folder / "images.npy").unlink(), "images.npy is missing"),
        (lambda folder: (folder / "images.npy").write_text("no array"), "images.npy cannot be read"),
        (lambda folder: (folder / "manifest.json").unlink(), "manifest.json is missing"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "is damaged"),
    ],
    ids=["pixel", "truncated", "shape", "no images", "no array", "no manifest", "no json"],
)
def test_a_damaged_dataset_is_made_anew_and_the_log_says_so(home, caplog, damage, word):
    whole = np.array(prepare(SPEC, home).images)
    damage(SPEC.folder(home))
    with caplog.at_level(logging.INFO):
        dataset = prepare(SPEC, home)
    np.testing.assert_array_equal(dataset.images, whole)
    assert word in caplog.text
    assert made_by(caplog) == 1
    assert verify(dataset) == []


def test_a_large_dataset_is_verified_on_demand(home, monkeypatch):
    prepare(SPEC, home)
    flip_a_pixel(SPEC.folder(home))
    monkeypatch.setattr("foresight.data.dataset.CHECKED_ON_OPENING_BYTES", 0)
    assert verify(prepare(SPEC, home)) == ["D1c-seed3-000005: the pixels are not those of the manifest"]


def test_a_maker_that_fails_leaves_nothing(home, monkeypatch):
    original = synthetic.make_single_object

    def maker(parameters, root):
        yield next(iter(original(parameters, root)))
        raise UserError("no more")

    monkeypatch.setattr(synthetic, "make_single_object", maker)
    with pytest.raises(UserError, match="no more"):
        prepare(SPEC, home)
    assert [path.name for path in home.datasets.iterdir()] == [f".{SPEC.folder(home).name}.lock"]


PREPARE = """
    import logging, sys
    from pathlib import Path
    from foresight.data import motion, synthetic
    from foresight.data.dataset import DataSpec, prepare
    from foresight.home import Home
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    spec = DataSpec("shapes", "single_object", {"n": 6, "side": 56, "seed": 3})
"""
STUCK = (
    PREPARE
    + """
    original = synthetic.make_single_object
    def stuck(parameters, root):
        for sample in list(original(parameters, root))[:3]:
            yield sample
        print("half way", flush=True)
        sys.stdin.read()
    synthetic.make_single_object = stuck
    prepare(spec, Home(Path(sys.argv[1])))
"""
)
ONCE = (
    PREPARE
    + """
    print("ready", flush=True)
    sys.stdin.readline()
    print(prepare(spec, Home(Path(sys.argv[1]))).manifest.sha256, flush=True)
"""
)


def start(code: str, home: Home) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(home.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def read_until(process: subprocess.Popen, line: str) -> None:
    assert process.stdout is not None
    assert any(read.strip() == line for read in process.stdout), f"the process ended without saying {line!r}"


def test_a_process_killed_in_the_middle_leaves_no_dataset_and_no_lock(home, caplog):
    with start(STUCK, home) as process:
        read_until(process, "half way")
        assert find(SPEC, home) is None
        os.kill(process.pid, signal.SIGKILL)
    with caplog.at_level(logging.INFO):
        dataset = prepare(SPEC, home)
    assert "half-written" in caplog.text
    assert len(dataset) == 6
    assert verify(dataset) == []
    assert sorted(path.name for path in home.datasets.iterdir()) == [
        f".{dataset.folder.name}.lock",
        dataset.folder.name,
    ]


def test_two_processes_at_once_make_it_once(home):
    processes = [start(ONCE, home) for _ in range(2)]
    for process in processes:
        read_until(process, "ready")
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    hashes = {output.splitlines()[-1] for output in outputs}
    assert hashes == {prepare(SPEC, home).manifest.sha256}
    assert "".join(outputs).count("making dataset") == 1


def test_the_second_waits_for_the_one_that_makes_it(home):
    with start(STUCK, home) as holder:
        read_until(holder, "half way")
        with start(ONCE, home) as waiter:
            read_until(waiter, "ready")
            assert waiter.stdin is not None
            waiter.stdin.write("go\n")
            waiter.stdin.flush()
            read_until(waiter, f"another process is preparing {SPEC.folder(home).name}; waiting for it")
            os.kill(holder.pid, signal.SIGKILL)
            output = waiter.communicate()[0]
    assert "half-written" in output
    assert output.splitlines()[-1] == prepare(SPEC, home).manifest.sha256


def test_the_catalogue_lists_what_is_there_and_what_is_not(home):
    prepare(SPEC, home)
    coco = DataSpec("coco", "coco_single_object", {"n": 4, "side": 56})
    other = DataSpec("more_shapes", "single_object", {"n": 7})
    ready, absent, missing = catalogue([SPEC, other, coco], home)
    assert (ready.state, ready.n_items, ready.n_sources, ready.n_stand_in_sources) == ("ready", 6, 6, 0)
    assert ready.size_bytes == (SPEC.folder(home) / "images.npy").stat().st_size
    assert ready.sha256 == prepare(SPEC, home).manifest.sha256
    assert ready.licences == ("none needed: generated",)
    assert (absent.state, absent.n_items) == ("not prepared", None)
    assert (missing.state, missing.folder) == ("raw files missing", home.datasets / "raw" / "coco")


def test_raw_files_may_lie_elsewhere(home, tmp_path, monkeypatch):
    monkeypatch.setenv("FORESIGHT_DATASETS", str(tmp_path / "shared"))
    (row,) = catalogue([DataSpec("coco", "coco_single_object", {"n": 4, "side": 56})], home)
    assert row.folder == tmp_path / "shared" / "coco"
