"""The planted world of the experiments' tests."""

from __future__ import annotations

import pytest
from planted_world import RECIPE, World

from foresight.data.recipes import RECIPES
from foresight.home import Home


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Pictures of 64 x 96 px, two of each of 32 sources; nothing planted yet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, "planted", RECIPE)
        yield World.of(Home(tmp_path_factory.mktemp("home")))
