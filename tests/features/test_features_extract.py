import numpy as np
import pytest

from foresight.compute.executors import StepContext
from foresight.compute.step import Step
from foresight.data.dataset import prepare
from foresight.data.manifest import DataSpec
from foresight.errors import StepFailed
from foresight.features import extract
from foresight.features.extract import execute, execute_many
from foresight.features.points import extraction_identity
from foresight.features.store import open_features
from foresight.files import sha256_file
from foresight.models import loading
from foresight.models.identity import ModelSpec, identity, locate
from foresight.models.ltx import Vae
from foresight.models.qwen import Vlm

VLM = ModelSpec("vlm", "foresight/stand-in-qwen2.5-vl", stand_in=True)
VAE = ModelSpec("vae", "foresight/stand-in-ltx-vae", stand_in=True)
DATA = DataSpec("shapes", "single_object", {"n": 10, "side": 56})
CLIPS = DataSpec("clips", "motion", {"n": 2, "side": 56, "frames": 6, "fps": 4.0})  # in three views each: six items


class Bench:
    """Makes steps, runs them in shards of four, and counts loads and the pictures that each pass saw."""

    def __init__(self, home, tmp_path, monkeypatch):
        self.home, self.tmp_path = home, tmp_path
        self.loads, self.passes, self.reports, self.outputs = [], [], [], {}
        load, encode, encode_vae = loading.load, Vlm.encode, Vae.encode

        def counted_load(spec, *args):
            self.loads.append(spec.id)
            return load(spec, *args)

        def counted_encode(model, images, points, *args):
            self.passes.append((len(images), sorted(points)))
            return encode(model, images, points, *args)

        def counted_encode_vae(model, images, *args):
            self.passes.append((len(images), ["X6"]))
            return encode_vae(model, images, *args)

        monkeypatch.setattr(loading, "load", counted_load)
        monkeypatch.setattr(Vlm, "encode", counted_encode)
        monkeypatch.setattr(Vae, "encode", counted_encode_vae)

    def step(self, point, model=VLM, data=DATA, side=None, batch_size=32):
        return Step(
            "extract",
            f"{model.role} {point} {data.name}",
            "tiny",
            extraction_identity(
                model=identity(model, self.home),
                role=model.role,
                point=point,
                data=prepare(data, self.home).manifest.sha256,
                side=side,
                dtype="float32",
            ),
            {"data_spec": data.to_json(), "model_spec": model.to_json(), "batch_size": batch_size},
        )

    def context(self, progress=None):
        return StepContext(
            self.home, self.tmp_path, self.tmp_path, "cpu", progress or (lambda *report: self.reports.append(report))
        )

    def run(self, *steps, progress=None):
        contexts = {step.fingerprint: self.context(progress) for step in steps}

        def finished(step, output):
            self.outputs[step.identity["point"], step.identity["side"]] = output

        execute_many(steps, contexts, finished, shard_items=4)

    def features(self, step):
        return open_features(self.home, step.fingerprint, verify=True)


@pytest.fixture
def bench(home, tmp_path, monkeypatch):
    return Bench(home, tmp_path, monkeypatch)


def test_features_are_what_the_model_gives_in_the_order_of_the_data(bench):
    steps = [bench.step(point) for point in ("X2", "X3", "X4.last")]
    bench.run(*steps)
    vlm = loading.load_vlm(locate(VLM, bench.home))
    direct = vlm.encode(np.array(prepare(DATA, bench.home).images), ["X2", "X3", "X4.last"])
    for step in steps:
        expected = direct[step.identity["point"]]
        np.testing.assert_allclose(bench.features(step)[:], expected, rtol=1e-3, atol=1e-3 * expected.std())


def test_clips_have_a_step_for_every_two_frames_placed_in_time_by_their_rate(bench):
    steps = [bench.step(point, data=CLIPS) for point in ("X2", "X3", "X4.last")]
    bench.run(*steps)
    images = np.array(prepare(CLIPS, bench.home).images)
    vlm = loading.load_vlm(locate(VLM, bench.home))
    direct = vlm.encode(images, ["X2", "X3", "X4.last"], None, 32, 4.0)
    assert [bench.features(step).shape for step in steps] == [(6, 3, 4, 4, 64), (6, 3, 2, 2, 128), (6, 3, 2, 2, 128)]
    for step in steps:
        expected = direct[step.identity["point"]]
        np.testing.assert_allclose(bench.features(step)[:], expected, rtol=1e-3, atol=1e-3 * expected.std())


def test_one_frame_of_a_clip_is_encoded_as_the_still_that_it_is(bench):
    steps = [bench.step(point, VAE, data=CLIPS) for point in ("X6.0", "X6.5")]
    bench.run(*steps)
    images = np.array(prepare(CLIPS, bench.home).images)
    vae = loading.load_vae(locate(VAE, bench.home))
    for step, frame in zip(steps, (0, 5), strict=True):
        expected = vae.encode(images[:, frame])
        np.testing.assert_allclose(bench.features(step)[:], expected, rtol=1e-3, atol=1e-3 * expected.std())


@pytest.mark.parametrize(("data", "what"), [(CLIPS, "clips of 6 frames"), (DATA, "stills")])
def test_a_frame_that_is_not_there_is_refused(bench, data, what):
    with pytest.raises(StepFailed, match=f"X6.6 is frame 6, counted from 0, and these are {what}"):
        bench.run(bench.step("X6.6", VAE, data=data))


def test_a_frame_counts_as_an_image_of_a_batch(bench):
    bench.run(bench.step("X3", data=CLIPS, batch_size=12))
    assert "6 images, 3 passes" in bench.outputs["X3", None].notes[0]  # shards of four clips, two clips a pass


def test_one_load_and_one_pass_serve_all_points(bench):
    bench.run(*(bench.step(point) for point in ("X1.1", "X2", "X3", "X4.0", "X4.last")))
    assert bench.loads == [VLM.id]
    assert bench.passes == [(n, ["X1.1", "X2", "X3", "X4.0", "X4.last"]) for n in (4, 4, 2)]
    assert bench.outputs["X3", None].notes[0] == f"{VLM.id} loaded once; 10 images, 3 passes for 5 points"


def test_one_load_serves_all_data_and_sides(bench):
    other = DataSpec("others", "categories", {"n": 3, "side": 56})
    bench.run(bench.step("X3"), bench.step("X3", data=other), bench.step("X3", side=112), bench.step("X2"))
    assert bench.loads == [VLM.id]
    assert [points for _, points in bench.passes] == [["X2", "X3"]] * 3 + [["X3"]] + [["X3"]] * 3


def test_a_batch_of_the_profile_is_a_pass(bench):
    bench.run(bench.step("X3", batch_size=3))
    assert "10 images, 5 passes" in bench.outputs["X3", None].notes[0]


class Killed(BaseException):
    """The process ends here."""


def test_after_a_kill_only_missing_shards_are_computed(bench):
    steps = [bench.step(point) for point in ("X2", "X3")]

    def die(fraction, text):
        raise Killed

    with pytest.raises(Killed):
        bench.run(*steps, progress=die)
    assert bench.passes == [(4, ["X2", "X3"])]
    assert not bench.outputs
    bench.run(*steps)
    assert bench.passes[1:] == [(4, ["X2", "X3"]), (2, ["X2", "X3"])]
    assert "1 of 3 shards were there from an earlier attempt" in bench.outputs["X3", None].notes


def test_resumed_features_equal_those_of_one_go(bench, tmp_path, monkeypatch):
    step = bench.step("X3")
    bench.run(step)
    whole = bench.features(step)[:]
    folder = bench.home.features / step.fingerprint
    (folder / "manifest.json").unlink()
    (folder / "00001.safetensors").unlink()
    bench.run(step)
    assert bench.passes[-1] == (4, ["X3"])
    np.testing.assert_array_equal(bench.features(step)[:], whole)


def test_each_pass_captures_only_the_points_that_lack_its_shard(bench):
    steps = [bench.step("X2"), bench.step("X3")]
    bench.run(*steps)
    del bench.passes[:]
    for step, shard in zip(steps, (1, 2), strict=True):
        (bench.home.features / step.fingerprint / f"0000{shard}.safetensors").unlink()
    bench.run(*steps)
    assert bench.passes == [(4, ["X2"]), (2, ["X3"])]


def test_a_point_added_later_is_extracted_alone(bench):
    bench.run(bench.step("X3"))
    del bench.passes[:]
    bench.run(bench.step("X3"), bench.step("X2"))
    assert bench.passes == [(4, ["X2"]), (4, ["X2"]), (2, ["X2"])]


def test_finished_features_need_no_model(bench):
    bench.run(bench.step("X3"))
    del bench.loads[:], bench.outputs["X3", None]
    bench.run(bench.step("X3"))
    assert bench.loads == []
    assert "not loaded" in bench.outputs["X3", None].notes[0]


def test_a_step_is_finished_as_soon_as_it_is_whole(bench):
    bench.run(bench.step("X3"))
    finished_at = {}

    def note(step, output):
        finished_at[step.identity["point"]] = len(bench.passes)

    steps = [bench.step("X2"), bench.step("X3"), bench.step("X2", side=112)]
    del bench.passes[:]
    execute_many(steps, {step.fingerprint: bench.context() for step in steps}, note, shard_items=4)
    assert finished_at["X3"] == 0


def test_the_output_lists_the_shards_and_says_that_the_model_is_a_stand_in(bench):
    step = bench.step("X3")
    bench.run(step)
    output = bench.outputs["X3", None]
    assert [artifact.name for artifact in output.artifacts] == [
        "00000.safetensors",
        "00001.safetensors",
        "00002.safetensors",
        "manifest.json",
    ]
    for artifact in output.artifacts:
        path = bench.home.root / artifact.path
        assert (sha256_file(path), path.stat().st_size) == (artifact.sha256, artifact.size_bytes)
    assert output.metrics == {"n_images": 10, "width": 128, "n_cells": 4}
    assert output.finding_template == "X3: 2 x 2 cells of 128 values"
    assert any("tiny stand-in" in note for note in output.notes)


def test_progress_rises_to_one(bench):
    bench.run(bench.step("X3"), bench.step("X3", side=112))
    fractions = [fraction for fraction, _ in bench.reports]
    assert fractions == sorted(fractions)
    assert len(fractions) == 6
    assert fractions[-1] == 1.0
    assert bench.reports[0][1] == "vlm X3: 4 of 10 images"


def test_the_side_changes_the_grid(bench):
    small, large = bench.step("X3"), bench.step("X3", side=112)
    bench.run(small, large)
    assert bench.features(small).shape == (10, 2, 2, 128)
    assert bench.features(large).shape == (10, 4, 4, 128)


def test_latents_of_the_vae(bench):
    step = bench.step("X6", VAE)
    output = execute(step, bench.context())
    vae = loading.load_vae(locate(VAE, bench.home))
    expected = vae.encode(np.array(prepare(DATA, bench.home).images))
    np.testing.assert_allclose(bench.features(step)[:], expected, rtol=1e-3, atol=1e-3)
    assert bench.features(step).shape == (10, 7, 7, 32)
    assert output.metrics["n_images"] == 10


def test_data_that_is_not_what_was_planned_with_is_refused(bench):
    step = bench.step("X3")
    false = Step(step.kind, step.label, step.profile, {**step.identity, "data": "0" * 64}, step.work)
    with pytest.raises(StepFailed, match="was planned with") as raised:
        bench.run(false)
    assert raised.value.cause == "identity"
    assert bench.loads == []


def test_features_that_are_not_finite_fail_the_step(bench, monkeypatch):
    monkeypatch.setattr(Vlm, "encode", lambda *_: {"X3": np.full((4, 2, 2, 128), np.nan)})
    with pytest.raises(StepFailed, match="not all finite"):
        bench.run(bench.step("X3"))
    assert not bench.outputs


def test_a_model_that_changed_on_disk_is_not_loaded(bench, monkeypatch):
    def refuse(spec, home, forward):
        raise StepFailed("damaged", cause="identity", retryable=False)

    monkeypatch.setattr(extract, "make_available", refuse)
    with pytest.raises(StepFailed, match="damaged"):
        bench.run(bench.step("X3"))
    assert bench.loads == []
