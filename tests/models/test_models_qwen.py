import numpy as np
import pytest
import torch

from foresight.errors import UserError
from foresight.models import loading, tiny

POINTS = ("X1.1", "X1.4", "X2", "X3", "X4.0", "X4.2", "X4.last")
PATCH = 14


def pictures(n, height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def perturbed(vlm):
    """A 10 x 14 patch picture, windows of 4 x 4 partly filled, and 35 copies with one other patch each."""
    height, width = 10, 14
    base = pictures(1, height * PATCH, width * PATCH)[0]
    places = [divmod(place, width) for place in range(1, height * width, 4)]
    other = pictures(len(places), PATCH, PATCH, seed=1)
    copies = np.repeat(base[None], len(places) + 1, axis=0)
    for copy, (row, column), patch in zip(copies[1:], places, other, strict=True):
        copy[row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH] = patch
    return places, vlm.encode(copies, POINTS)


@pytest.mark.parametrize("point", POINTS)
def test_the_token_that_moves_is_the_one_over_the_patch_that_changed(perturbed, point):
    places, features = perturbed
    change = np.linalg.norm(features[point][1:] - features[point][:1], axis=-1)
    merge = 1 if point in ("X1.1", "X1.4", "X2") else 2
    moved = [np.unravel_index(c.argmax(), c.shape) for c in change]
    assert moved == [(row // merge, column // merge) for row, column in places]


def test_the_towers_own_order_is_not_raster(vlm):
    """Else the test above could not see a missing reordering."""
    image = pictures(1, 140, 196)
    kept = []
    handle = vlm.tower.merger.register_forward_pre_hook(lambda module, args: kept.append(args[0]))
    features = vlm.encode(image, ["X2"])["X2"]
    handle.remove()
    same = np.isclose(kept[0].numpy(), features.reshape(140, 64)).all(axis=1)
    assert same.mean() < 0.5


@pytest.mark.parametrize("point", POINTS)
def test_a_batch_gives_what_single_pictures_give(vlm, point):
    images = pictures(3, 84, 140)
    together = vlm.encode(images, [point])[point]
    alone = np.concatenate([vlm.encode(image[None], [point])[point] for image in images])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_array_equal(together, vlm.encode(images, [point], batch_size=2)[point])


def test_points_agree_where_they_are_the_same_place(vlm):
    features = vlm.encode(pictures(2, 112, 112), ["X1.4", "X2", "X3", "X4.0", "X4.4", "X4.last"])
    np.testing.assert_array_equal(features["X1.4"], features["X2"])
    np.testing.assert_array_equal(features["X3"], features["X4.0"])  # visual tokens only: nothing of the prompt
    np.testing.assert_array_equal(features["X4.4"], features["X4.last"])
    assert features["X4.last"].std() == pytest.approx(1.0, abs=0.05)  # after the final norm


def test_hidden_states_are_those_of_the_whole_input_with_its_positions_in_three_dimensions(vlm):
    images = pictures(2, 56, 112)
    prompt = vlm.processor.apply_chat_template([{"role": "user", "content": [{"type": "image"}]}], tokenize=False)
    size = {"shortest_edge": 56 * 112, "longest_edge": 56 * 112}
    inputs = vlm.processor(
        text=[prompt] * 2,
        images=[torch.from_numpy(image).permute(2, 0, 1) for image in images],
        images_kwargs={"size": size},
        return_tensors="pt",
    )
    visual = inputs["input_ids"] == vlm.model.config.image_token_id

    def state(**inputs):
        with torch.inference_mode():
            states = vlm.model.model(**inputs, output_hidden_states=True).hidden_states
        return states[3][visual].reshape(2, 2, 4, -1).numpy()

    features = vlm.encode(images, ["X4.3"])["X4.3"]
    np.testing.assert_allclose(features, state(**inputs), atol=1e-6)
    flat = state(**{name: value for name, value in inputs.items() if name != "mm_token_type_ids"})
    assert np.abs(features - flat).max() > 1e-3


def test_points_before_the_language_model_do_not_run_it(vlm):
    def refuse(*_):
        raise AssertionError("the language model ran")

    handle = vlm.model.model.language_model.register_forward_pre_hook(refuse)
    try:
        assert set(vlm.encode(pictures(1, 112, 112), ["X1.2", "X2", "X3"])) == {"X1.2", "X2", "X3"}
        with pytest.raises(AssertionError, match="language model ran"):
            vlm.encode(pictures(1, 112, 112), ["X4.1"])
    finally:
        handle.remove()


@pytest.mark.parametrize(("height", "side", "tokens"), [(75, 56, 2), (38, 56, 2), (256, 224, 8), (112, 112, 4)])
def test_the_side_is_exact(vlm, height, side, tokens):
    """75 and 38 px are squares that the processor would round to another size if its limits had no slack."""
    features = vlm.encode(pictures(1, height, height), ["X2", "X3"], side=side)
    assert features["X3"].shape == (1, tokens, tokens, 128)
    assert features["X2"].shape == (1, 2 * tokens, 2 * tokens, 64)


def test_features_do_not_depend_on_what_the_processor_file_says_of_sizes(vlm):
    image = pictures(1, 112, 112)
    before = vlm.encode(image, ["X3"])["X3"]
    size = vlm.processor.image_processor.size
    vlm.processor.image_processor.size = {"shortest_edge": 300 * 300, "longest_edge": 400 * 400}
    try:
        np.testing.assert_array_equal(before, vlm.encode(image, ["X3"])["X3"])
    finally:
        vlm.processor.image_processor.size = size


def test_another_width_depth_and_window(tmp_path):
    shape = tiny.VlmShape(
        vision_width=96, vision_depth=3, window=112, full_attention=(2,), width=96, depth=2, heads=3, key_value_heads=1
    )
    vlm = loading.load_vlm(tiny.build_vlm(tmp_path, shape))
    features = vlm.encode(pictures(2, 84, 168), ["X1.3", "X3", "X4.1", "X4.last"])
    shapes = {point: values.shape for point, values in features.items()}
    assert shapes == {"X1.3": (2, 6, 12, 96), "X3": (2, 3, 6, 96), "X4.1": (2, 3, 6, 96), "X4.last": (2, 3, 6, 96)}
    assert {values.dtype for values in features.values()} == {np.dtype(np.float32)}


def test_bfloat16_is_used_where_it_is_asked_for(vlm, tmp_path):
    half = loading.load_vlm(tiny.build_vlm(tmp_path), dtype="bfloat16")
    images = pictures(1, 112, 112)
    full, rounded = (model.encode(images, ["X3"])["X3"] for model in (vlm, half))
    assert half.model.dtype == torch.bfloat16
    assert 0 < np.abs(full - rounded).max() < 0.2 * full.std()


def test_widths_that_disagree_with_the_config_are_refused(tmp_path):
    vlm = loading.load_vlm(tiny.build_vlm(tmp_path))
    vlm._width["X3"] = 3584
    with pytest.raises(ValueError, match="where the checkpoint's config says"):
        vlm.encode(pictures(1, 112, 112), ["X3"])


@pytest.mark.parametrize(
    ("images", "points", "side", "message"),
    [
        (pictures(1, 100, 100), ["X3"], None, "multiple|do not divide"),
        (pictures(1, 112, 112), ["X3"], 100, "does not divide into tokens of 28"),
        (pictures(1, 112, 112).astype(np.float32), ["X3"], None, "uint8"),
        (pictures(1, 112, 112), ["X1.5"], None, "has 4 blocks"),
        (pictures(1, 112, 112), ["X4.5"], None, "X4.0 to X4.4"),
        (pictures(1, 112, 112), ["X6"], None, "no extraction point of a vlm"),
    ],
)
def test_what_does_not_fit_is_refused(vlm, images, points, side, message):
    with pytest.raises(UserError, match=message):
        vlm.encode(images, points, side=side)


def test_a_gpu_that_is_not_there_is_refused_and_not_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="no GPU"):
        loading.load_vlm(tmp_path, device="A10")
