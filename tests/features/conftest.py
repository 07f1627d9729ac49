import pytest
import torch

from foresight.home import Home


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")
