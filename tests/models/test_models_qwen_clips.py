"""Clips: the checkpoint's own video path, on a grid [N, t, h, w, D] whose every cell is where it seems to be."""

import numpy as np
import pytest
import torch

from foresight.errors import UserError
from foresight.models import loading, tiny

POINTS = ("X1.1", "X1.4", "X2", "X3", "X4.0", "X4.2", "X4.last")
BEFORE_MERGER = ("X1.1", "X1.4", "X2")
PATCH = 14
FRAMES, ROWS, COLUMNS = 6, 10, 14  # three steps; windows of 4 x 4 patches are filled in part, and it is not square


def clips(n, frames, height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, frames, height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def perturbed(vlm):
    """A clip, and copies of it in each of which one patch of one frame is another."""
    base = clips(1, FRAMES, ROWS * PATCH, COLUMNS * PATCH)[0]
    every = [(frame, row, column) for frame in range(FRAMES) for row in range(ROWS) for column in range(COLUMNS)]
    places = every[3::29]
    other = clips(1, len(places), PATCH, PATCH, seed=1)[0]
    copies = np.repeat(base[None], len(places) + 1, axis=0)
    for copy, (frame, row, column), patch in zip(copies[1:], places, other, strict=True):
        copy[frame, row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH] = patch
    return places, vlm.encode(copies, POINTS, fps=2.0, batch_size=10)


@pytest.mark.parametrize("point", POINTS)
def test_the_token_that_moves_is_the_one_over_the_patch_and_frame_that_changed(perturbed, point):
    places, features = perturbed
    merge = 1 if point in BEFORE_MERGER else 2
    assert features[point].shape[:4] == (len(places) + 1, FRAMES // 2, ROWS // merge, COLUMNS // merge)
    change = np.linalg.norm(features[point][1:] - features[point][:1], axis=-1)
    moved = [np.unravel_index(c.argmax(), c.shape) for c in change]
    assert moved == [(frame // 2, row // merge, column // merge) for frame, row, column in places]


@pytest.mark.parametrize("point", POINTS)
def test_no_token_has_seen_a_later_step(perturbed, point):
    """So that features up to a step may be asked for what comes next."""
    places, features = perturbed
    change = np.abs(features[point][1:] - features[point][:1]).max(axis=(2, 3, 4))
    for (frame, _, _), moved in zip(places, change, strict=True):
        assert (moved[: frame // 2] < 1e-5).all()
        if point not in ("X4.2", "X4.last"):  # the tower does not look beyond a step, the language model looks back
            assert (np.delete(moved, frame // 2) < 1e-5).all()
        elif frame // 2 == 0:
            assert (moved > 1e-5).all()


@pytest.mark.parametrize("point", POINTS)
def test_a_batch_gives_what_single_clips_give(vlm, point):
    some = clips(3, 4, 84, 140)
    together = vlm.encode(some, [point], fps=4.0)[point]
    alone = np.concatenate([vlm.encode(clip[None], [point], fps=4.0)[point] for clip in some])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_array_equal(together, vlm.encode(some, [point], fps=4.0, batch_size=2)[point])


def test_a_still_shown_twice_is_what_a_clip_of_it_is_before_the_language_model(vlm):
    """A still is a step of two equal frames: same scaling, same normalisation, same order."""
    still = clips(1, 1, 84, 140)[0]
    clip = np.repeat(still[:, None], 2, axis=1)
    as_still, as_clip = vlm.encode(still, ["X2", "X3"]), vlm.encode(clip, ["X2", "X3"], fps=2.0)
    for point, tokens in as_still.items():
        np.testing.assert_allclose(as_clip[point][:, 0], tokens, atol=1e-5)


@pytest.mark.parametrize(("height", "side", "tokens"), [(75, 56, 2), (38, 56, 2), (256, 224, 8), (112, 112, 4)])
def test_the_side_is_exact_and_no_frame_is_left_out(vlm, height, side, tokens):
    """The processor's own limits would make 112 px frames 336 px large, and sample frames of long clips."""
    features = vlm.encode(clips(1, 10, height, height), ["X3"], side=side, fps=2.0)
    assert features["X3"].shape == (1, 5, tokens, tokens, 128)


def test_the_language_model_knows_when_a_frame_was(vlm):
    """Positions in time are 2 a second: at 2 frames a second steps are a second apart, at 0.5 four."""
    some = clips(2, 4, 56, 112)
    slow, fast = (vlm.encode(some, ["X3", "X4.2"], fps=fps) for fps in (0.5, 2.0))
    np.testing.assert_array_equal(slow["X3"], fast["X3"])
    np.testing.assert_allclose(slow["X4.2"][:, 0], fast["X4.2"][:, 0], atol=1e-6)  # nothing came before
    assert np.abs(slow["X4.2"][:, 1] - fast["X4.2"][:, 1]).max() > 1e-4


def test_hidden_states_are_those_of_the_video_prompt_with_its_positions(vlm):
    some = clips(2, 4, 56, 112)
    kept = {}
    handle = vlm.model.model.language_model.register_forward_pre_hook(
        lambda module, args, kwargs: kept.update(kwargs), with_kwargs=True
    )
    try:
        vlm.encode(some, ["X4.1"], fps=2.0)
    finally:
        handle.remove()
    time, height, width = kept["position_ids"][-3:, 0].tolist()
    start = next(i for i, (t, w) in enumerate(zip(time, width, strict=True)) if t != w)  # the second token of the clip
    first = time[start]
    assert [t - first for t in time[start - 1 : start + 15]] == [0] * 8 + [2] * 8  # 2 tokens a second, 1 s a step
    assert [h - first for h in height[start - 1 : start + 15]] == [0] * 4 + [1] * 4 + [0] * 4 + [1] * 4
    assert [w - first for w in width[start - 1 : start + 15]] == [0, 1, 2, 3] * 4


def test_another_width_depth_and_window(tmp_path):
    shape = tiny.VlmShape(
        vision_width=96, vision_depth=3, window=112, full_attention=(2,), width=96, depth=2, heads=3, key_value_heads=1
    )
    vlm = loading.load_vlm(tiny.build_vlm(tmp_path, shape))
    features = vlm.encode(clips(2, 4, 84, 168), ["X1.3", "X3", "X4.last"], fps=12.0)
    shapes = {point: values.shape for point, values in features.items()}
    assert shapes == {"X1.3": (2, 2, 6, 12, 96), "X3": (2, 2, 3, 6, 96), "X4.last": (2, 2, 3, 6, 96)}


def test_points_before_the_language_model_do_not_run_it(vlm):
    def refuse(*_):
        raise AssertionError("the language model ran")

    handle = vlm.model.model.language_model.register_forward_pre_hook(refuse)
    try:
        assert set(vlm.encode(clips(1, 2, 56, 56), ["X2", "X3"], fps=1.0)) == {"X2", "X3"}
    finally:
        handle.remove()


@pytest.mark.parametrize(
    ("images", "fps", "message"),
    [
        (clips(1, 5, 56, 56), 2.0, "Take clips of 4 frames"),
        (clips(1, 1, 56, 56), 2.0, "Take clips of 2 frames"),
        (clips(1, 4, 56, 56), None, "a label `fps`"),
        (clips(1, 4, 50, 56), 2.0, "do not divide"),
        (torch.zeros(1, 4, 56, 56, 3).numpy(), 2.0, "uint8"),
    ],
)
def test_what_does_not_fit_is_refused(vlm, images, fps, message):
    with pytest.raises(UserError, match=message):
        vlm.encode(images, ["X3"], fps=fps)
