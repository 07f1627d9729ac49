"""A fused system reads what either stream says, weighs the same whatever it is given, and is loaded as it was saved."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open

from foresight.data.objects import Objects
from foresight.errors import StepFailed
from foresight.metrics.box_sets import matched_iou
from foresight.metrics.detection import AveragePrecision
from foresight.probes.box_sets import covered_parts
from foresight.probes.fused_system import FusionSystem, Lesson, Stream, fit_fusion
from foresight.probes.strategies import CrossAttention

N, GRID, FINE, CELLS, WIDTH = 60, (4, 6), (8, 12), (6, 9), 16
LEARN, VALIDATE, TEST = slice(0, 36), slice(36, 44), slice(44, 60)
SETTINGS = {"category_ids": [3, 90], "slots": 1, "seed": 0, "parts": 4, "hidden": 16, "epochs": 10, "lr": 8e-3}


@pytest.fixture(scope="module")
def world():
    """Stream a says on a fine grid where the one object is and of what class; b says what the latents are."""
    rng = np.random.default_rng(0)
    boxes = np.zeros((N, 1, 5), np.float32)
    boxes[:, 0, :2] = rng.uniform(0.05, 0.5, (N, 2))
    boxes[:, 0, 2:4] = boxes[:, 0, :2] + rng.uniform(0.25, 0.4, (N, 2))
    boxes[:, 0, 4] = 1
    ids = rng.choice([3, 90], N)
    covered = covered_parts(boxes, FINE)[..., None]
    a = np.concatenate([3 * covered * (ids == one)[:, None, None, None] for one in (3, 90)], -1)
    a = np.concatenate([a, 0.3 * rng.standard_normal((N, *FINE, 8))], -1).astype(np.float32)
    b = rng.standard_normal((N, *GRID, WIDTH)).astype(np.float32)
    said = b.repeat(3, 1).repeat(3, 2).reshape(N, 6, 2, 9, 2, WIDTH).mean((2, 4))  # of the tokens under each cell
    latents = (said[..., :5] * [1, 2, 3, 4, 5] + 7).astype(np.float32)
    one = np.zeros(1, bool)
    objects = [
        Objects(box[:, :4], np.array([i]), np.array([0.1]), one, 96.0) for box, i in zip(boxes, ids, strict=True)
    ]
    return {"a": a, "b": b, "latents": latents, "objects": objects}


def lesson(world, streams, names, part) -> Lesson:
    a, b = (stream.apply(world[name][part]) for stream, name in zip(streams, names, strict=True))
    return Lesson(a, b, world["latents"][part], world["objects"][part])


def fitted(world, names: str, **settings) -> FusionSystem:
    streams = tuple(Stream.fit(world[name][LEARN], GRID, WIDTH) for name in names)
    parts = (lesson(world, streams, names, part) for part in (LEARN, VALIDATE))
    return fit_fusion(streams, *parts, **{**SETTINGS, **settings})


def scores(world, system: FusionSystem, names: str) -> tuple[float, float, float]:
    """(share of the latents' variance that is told, mean IoU, AP at .5) on the test part."""
    read = system.read(*system.alike(*(world[name][TEST] for name in names)))
    true = world["latents"][TEST]
    told = 1 - np.square(read.latents - true).sum() / np.square(true - system.mean).sum()
    objects = world["objects"][TEST]
    iou = np.mean(np.concatenate(matched_iou(read.boxes, [of.boxes for of in objects])))
    return float(told), float(iou), AveragePrecision(read.objects, objects, [3, 90]).at_half() or 0.0


def test_both_streams_are_read_and_one_stream_alone_knows_its_own(world):
    told, iou, ap = scores(world, fitted(world, "ab"), "ab")
    assert told > 0.9
    assert iou > 0.6
    assert ap > 0.6
    told_a, iou_a, _ = scores(world, fitted(world, "aa"), "aa")
    told_b, iou_b, ap_b = scores(world, fitted(world, "bb"), "bb")
    assert (told_a < 0.1, iou_a > 0.6) == (True, True), "a does not know the latents"
    assert (told_b > 0.9, iou_b < 0.45, ap_b < 0.3) == (True, True, True), "b does not know the objects"


def test_an_arm_with_one_stream_twice_has_as_many_weights(world):
    counts = [fitted(world, names, epochs=1).parameters for names in ("ab", "aa", "bb")]
    assert counts[0] == counts[1] == counts[2]
    assert set(counts[0]) == {"encoder", "latents", "boxes", "objects", "linear"}


def test_heads_start_alike_whatever_the_strategy(world):
    nets = [fitted(world, "ab", epochs=0, strategy=strategy).net for strategy in ("cross_attention", "film")]
    for part in ("latents", "boxes", "objects"):
        one, other = (getattr(net, part).state_dict() for net in nets)
        assert all(torch.equal(value, other[name]) for name, value in one.items()), part


def test_streams_may_share_the_channels_unequally(world, tmp_path):
    streams = (Stream.fit(world["a"][LEARN], GRID, 20), Stream.fit(world["b"][LEARN], GRID, 4))
    parts = [lesson(world, streams, "ab", part) for part in (LEARN, VALIDATE)]
    few = fit_fusion(streams, *parts, **{**SETTINGS, "epochs": 2})
    told, _, _ = scores(world, few, "ab")
    assert told < 0.6, "b has four channels for the five that the latents are made of"
    path = tmp_path / "system.safetensors"
    path.write_bytes(few.save({}))
    read = [one.read(*one.alike(*(world[name][TEST] for name in "ab"))) for one in (few, FusionSystem.load(path)[0])]
    assert np.array_equal(read[0].latents, read[1].latents)


def test_a_system_without_a_head_for_objects_reads_the_rest_as_well(world):
    system = fitted(world, "ab", detector={"kind": "none"}, epochs=6)
    told, iou, ap = scores(world, system, "ab")
    assert (told > 0.9, iou > 0.55, ap) == (True, True, 0.0)
    assert system.parameters["objects"] == 0


def test_a_linear_map_that_was_fitted_before_is_the_one_that_would_be_fitted(world):
    first = fitted(world, "ab", epochs=1)
    again = fitted(world, "ab", epochs=1, linear=first.linear)
    assert again.linear is first.linear
    assert again.history == first.history


def test_attention_finds_the_stream_that_it_is_led_to():
    torch.manual_seed(0)
    attention = CrossAttention((3, 3), hidden=8, layers=2, dropout=0.0).eval()
    a, b = torch.randn(5, 2, 3, 3), torch.randn(5, 2, 3, 3)
    with torch.no_grad():
        shares = attention.shares(a, b)
        assert shares.shape == (5, 2)
        assert torch.allclose(attention.shares(a, a).mean(), torch.tensor(0.5), atol=0.1), "neither is preferred"
        asked, told = attention.layers[0].attention.in_proj_weight[:16].split(8)
        asked.zero_()
        attention.layers[0].attention.in_proj_bias[:8] = 1.0
        told.copy_(torch.eye(8) * 0)
        told[:, 0] = 10.0
        attention.start.tell[0].bias[0] = 5.0  # every key of stream a now answers every question
        assert (attention.shares(a, b)[:, 0] > 0.95).all()


@pytest.mark.parametrize("kind", ["dense", "transformer"])
def test_what_is_saved_reads_the_same_to_the_last_bit(world, tmp_path, kind):
    detector = {"kind": kind, **({} if kind == "dense" else {"hidden": 16, "layers": 1, "queries": 4})}
    system = fitted(world, "ab", epochs=1, detector=detector, linear=kind == "dense")
    path = tmp_path / "system.safetensors"
    path.write_bytes(system.save({"sources": ["one", "two"], "seed": 7}))
    loaded, about = FusionSystem.load(path)
    assert about == {"sources": ["one", "two"], "seed": 7}
    assert loaded.parameters == system.parameters
    held_out = [world[name][TEST] for name in "ab"]
    ours, theirs = (one.read(*one.alike(*held_out)) for one in (system, loaded))
    assert np.array_equal(ours.latents, theirs.latents)
    assert all(map(np.array_equal, ours.boxes, theirs.boxes))
    assert all(np.array_equal(a.scores, b.scores) for a, b in zip(ours.objects, theirs.objects, strict=True))
    with safe_open(path, "numpy") as file:  # tensors and JSON, and nothing else that could be run
        assert json.loads(file.metadata()["foresight_system"])["shape"]["category_ids"] == [3, 90]
    assert path.read_bytes() == system.save(about), "the same system is the same file"


def test_a_system_with_one_stream_twice_can_be_saved_too(world, tmp_path):
    stream = Stream.fit(world["a"][LEARN], GRID, WIDTH)
    parts = (lesson(world, (stream, stream), "aa", part) for part in (LEARN, VALIDATE))
    system = fit_fusion((stream, stream), *parts, **{**SETTINGS, "epochs": 0})
    path = tmp_path / "system.safetensors"
    path.write_bytes(system.save({}))
    assert FusionSystem.load(path)[0].parameters == system.parameters


def test_a_file_of_another_kind_is_refused(world, tmp_path):
    from safetensors.torch import save

    path = tmp_path / "other.safetensors"
    path.write_bytes(save({"weights": torch.zeros(2)}))
    with pytest.raises(StepFailed, match="is not a system of format 2"):
        FusionSystem.load(path)
    path.write_bytes(b"text")
    with pytest.raises(StepFailed, match="is no safetensors file"):
        FusionSystem.load(path)


def test_tokens_that_do_not_lie_on_the_grid_are_refused(world):
    with pytest.raises(ValueError, match=r"8x12 tokens do not lie on a \(3, 6\) grid"):
        Stream.fit(world["a"], (3, 6), WIDTH)
