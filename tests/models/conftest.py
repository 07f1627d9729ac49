import pytest
import torch

from foresight.home import Home
from foresight.models import loading, tiny


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


@pytest.fixture(scope="session")
def vlm(tmp_path_factory):
    """Random, attention windows of 4 x 4 patches."""
    return loading.load_vlm(tiny.build_vlm(tmp_path_factory.mktemp("vlm")))


@pytest.fixture(scope="session")
def vae_folder(tmp_path_factory):
    """Random and small: 16x in space, 4x in time."""
    shape = tiny.VaeShape(latent_channels=12, channels=(8, 12, 16), scaling=(True, True, False), residual=False)
    return tiny.build_vae(tmp_path_factory.mktemp("vae"), shape)


@pytest.fixture(scope="session")
def vae(vae_folder):
    return loading.load_vae(vae_folder)
