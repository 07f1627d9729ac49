import numpy as np
import pytest
import torch

from foresight.errors import UserError
from foresight.models import loading, tiny

PATCH = 14


def pictures(n, height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module", params=[0, 4], ids=["plain", "registers"])
def dino(request, tmp_path_factory):
    """Random; the one with registers is wider and shallower, and made for another side."""
    registers = request.param
    shape = tiny.DinoShape(width=64, depth=2, heads=4, side=112, registers=4) if registers else tiny.DinoShape()
    return loading.load_dino(tiny.build_dino(tmp_path_factory.mktemp("dino"), shape))


def test_the_token_that_moves_is_the_one_over_the_patch_that_changed(dino):
    """Not square: rows and columns cannot be confused, and neither CLS nor registers may shift the tokens."""
    height, width = 5, 8
    base = pictures(1, height * PATCH, width * PATCH)[0]
    places = [divmod(place, width) for place in range(height * width)]
    copies = np.repeat(base[None], len(places) + 1, axis=0)
    for copy, (row, column), patch in zip(copies[1:], places, pictures(len(places), PATCH, PATCH, 1), strict=True):
        copy[row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH] = patch
    tokens = dino.encode(copies)
    assert tokens.shape == (len(places) + 1, height, width, dino.width)
    change = np.linalg.norm(tokens[1:] - tokens[:1], axis=-1)
    assert [np.unravel_index(c.argmax(), c.shape) for c in change] == places


def test_a_batch_gives_what_single_pictures_give(dino):
    images = pictures(3, 56, 84)
    together = dino.encode(images, batch_size=2)
    alone = np.concatenate([dino.encode(image[None]) for image in images])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_pixels_are_normalised_as_the_checkpoint_says_and_not_cropped(dino):
    """The processor file says: shortest edge 256, centre crop 224. Both would move the tokens over other pixels."""
    image = pictures(1, 112, 112)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    pixels = (torch.from_numpy(image).permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.inference_mode():
        expected = dino.model(pixels).last_hidden_state[:, -64:].reshape(1, 8, 8, -1).numpy()
    np.testing.assert_allclose(dino.encode(image), expected, atol=1e-5)


@pytest.mark.parametrize(("height", "side"), [(75, 56), (256, 224), (112, 112)])
def test_the_side_is_exact(dino, height, side):
    tokens = dino.encode(pictures(1, height, height), side=side)
    assert tokens.shape == (1, *dino.grid(side, side))
    assert tokens.dtype == np.float32


def test_scaling_shows_the_whole_picture(dino):
    """What changes in a corner of a larger picture changes the token of that corner."""
    image = np.repeat(np.repeat(pictures(1, 16, 16), 16, axis=1), 16, axis=2)  # 256 px, scaled to 112
    other = image.copy()
    other[:, -32:, -32:] = 255 - other[:, -32:, -32:]
    change = np.linalg.norm(dino.encode(other, side=112) - dino.encode(image, side=112), axis=-1)[0]
    assert np.unravel_index(change.argmax(), change.shape) == (7, 7)


@pytest.mark.parametrize(
    ("images", "side", "message"),
    [
        (pictures(1, 100, 112), None, "100 x 112 px do not divide into patches of 14"),
        (pictures(1, 112, 112), 100, "do not divide into patches"),
        (pictures(1, 112, 112), 0, "do not divide into patches"),
        (pictures(2, 112, 112)[None], None, "take frames"),
        (pictures(1, 112, 112).astype(np.float32), None, "uint8"),
    ],
)
def test_what_does_not_fit_is_refused(dino, images, side, message):
    with pytest.raises(UserError, match=message):
        dino.encode(images, side=side)


def test_another_kind_of_model_is_refused(tmp_path):
    from transformers import ViTConfig, ViTModel

    ViTModel(
        ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16)
    ).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="holds a vit, not a DINOv2"):
        loading.load_dino(tmp_path)
