import pickle
import warnings

import lpips
import numpy as np
import pytest
import skimage
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from foresight.metrics import perceptual
from foresight.metrics.perceptual import (
    Lpips,
    lpips_between,
    lpips_scores,
    mse_scores,
    psnr_scores,
    ssim_between,
    ssim_scores,
)
from foresight.metrics.threads import single_thread
from foresight.metrics.weights import lpips_weights


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """[5, 64, 80, 3]: crops of a photograph, not square, more than a batch of 2."""
    image = skimage.img_as_float32(skimage.data.astronaut())
    return np.stack([image[y : y + 64, x : x + 80] for y, x in ((0, 0), (0, 150), (150, 60), (300, 200), (400, 400))])


@pytest.fixture(scope="module")
def distorted(pictures) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 0.15, pictures.shape)
    return np.clip(pictures + noise, 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def package() -> lpips.LPIPS:
    """The `lpips` package with the ImageNet trunk; its linear layers are those of its own wheel."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    with lpips_weights().open("rb") as stream:
        trunk = perceptual._ArraysOnly(stream).load()["AlexNet_0"]
    convolutions = [module for module in model.net.modules() if isinstance(module, torch.nn.Conv2d)]
    for index, module in enumerate(convolutions):
        module.weight.data = torch.tensor(np.array(trunk[f"Conv_{index}"]["kernel"]).transpose(3, 2, 0, 1))
        module.bias.data = torch.tensor(np.array(trunk[f"Conv_{index}"]["bias"]))
    return model


def test_lpips_agrees_with_the_package(package, pictures, distorted):
    a, b = (torch.tensor(images.transpose(0, 3, 1, 2)) for images in (pictures, distorted))
    with torch.inference_mode(), single_thread():
        expected = package(a, b, normalize=True).ravel().numpy()
    assert np.abs(lpips_scores(pictures, distorted) - expected).max() < 1e-4
    assert expected.min() > 0.05


def test_lpips_orders_distortions_and_is_zero_for_equal_pictures(pictures):
    rng = np.random.default_rng(1)
    means = [
        lpips_scores(pictures, np.clip(pictures + rng.normal(0, amount, pictures.shape), 0, 1)).mean()
        for amount in (0.02, 0.1, 0.3)
    ]
    assert means == sorted(means)
    assert np.array_equal(lpips_scores(pictures, pictures), np.zeros(5))


def test_reference_passes_the_trunk_once(monkeypatch, pictures, distorted):
    passed = []
    original = perceptual._AlexNet.features
    monkeypatch.setattr(perceptual._AlexNet, "features", lambda self, x: passed.append(len(x)) or original(self, x))
    metric = Lpips(pictures, batch_size=2)
    first = metric.scores(distorted)
    assert sum(passed) == 10
    assert np.array_equal(metric.scores(distorted), first)
    assert sum(passed) == 15


def test_what_is_not_kept_is_computed_again_to_the_same_numbers(pictures, distorted):
    kept = Lpips(pictures, batch_size=2)
    forgetful = Lpips(pictures, batch_size=2, keep_bytes=0)
    for _ in range(2):
        assert np.array_equal(kept.scores(distorted), forgetful.scores(distorted))


def test_batches_do_not_matter(pictures, distorted):
    assert np.allclose(Lpips(pictures, batch_size=2).scores(distorted), lpips_scores(pictures, distorted), atol=1e-6)


@pytest.mark.parametrize("score", [lpips_scores, ssim_scores, psnr_scores, mse_scores])
def test_one_picture_is_compared_with_every_reference(score, pictures):
    mean = pictures.mean(0, keepdims=True)
    assert np.allclose(score(pictures, mean), score(pictures, np.repeat(mean, 5, 0)), atol=1e-6)


def test_ssim_and_psnr_agree_with_scikit_image(pictures, distorted):
    ssim = [
        structural_similarity(a, b, data_range=1, channel_axis=-1) for a, b in zip(pictures, distorted, strict=True)
    ]
    psnr = [peak_signal_noise_ratio(a, b, data_range=1) for a, b in zip(pictures, distorted, strict=True)]
    assert np.allclose(ssim_scores(pictures, distorted), ssim, atol=1e-4)
    assert np.allclose(psnr_scores(pictures, distorted), psnr, atol=1e-4)
    assert np.allclose(mse_scores(pictures, distorted), 10 ** (-np.array(psnr) / 10), atol=1e-6)


def test_psnr_of_equal_pictures_is_finite(pictures):
    assert np.array_equal(psnr_scores(pictures, pictures), np.full(5, perceptual.PSNR_CEILING_DB))


@pytest.mark.parametrize("score", [lpips_scores, ssim_scores, psnr_scores, mse_scores])
@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda x: (x * 255).astype(np.uint8), "divide by 255"),
        (lambda x: x * 2 - 1, r"not in \[0, 1\]"),
        (lambda x: np.where(x > 0.5, np.nan, x), r"not in \[0, 1\]"),
        (lambda x: x[:3], "one by one"),
        (lambda x: x[..., 0], r"\[N, H, W, 3\]"),
    ],
)
def test_pictures_in_another_convention_are_refused(score, spoil, says, pictures):
    with pytest.raises(ValueError, match=says):
        score(pictures, spoil(pictures))


def test_lpips_refuses_what_is_too_small_for_the_trunk(pictures):
    with pytest.raises(ValueError, match="32 px"):
        lpips_scores(pictures[:, :31], pictures[:, :31])
    assert np.isfinite(lpips_scores(pictures[:, :32, :32], pictures[:, 32:64, :32])).all()


def test_weights_file_cannot_run_code(tmp_path):
    path = tmp_path / "bad.ckpt"
    path.write_bytes(pickle.dumps(print))
    with path.open("rb") as stream, pytest.raises(pickle.UnpicklingError, match="no place"):
        perceptual._ArraysOnly(stream).load()


def test_number_of_threads_is_set_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with single_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_as_losses_they_are_the_scores_and_have_gradients(pictures, distorted):
    a, b = (torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2))) for x in (pictures, distorted))
    b.requires_grad_()
    for loss, score in ((lpips_between, lpips_scores), (ssim_between, ssim_scores)):
        made = loss(b, a)
        assert made.detach().numpy() == pytest.approx(score(distorted, pictures), abs=1e-5)
        (gradient,) = torch.autograd.grad(made.sum(), b)
        assert gradient.isfinite().all()
        assert gradient.any()
