"""Nothing of the tiny profile is baked into C1's handlers: other widths, other grids, another VAE, random features."""

from __future__ import annotations

import math

import numpy as np
import pytest
from planted_world import World, finding, samples

from foresight.models.tiny import VaeShape, build_vae

GRIDS = {"X1": (8, 8), "X2": (8, 8), "X3": (4, 4), "X4": (4, 4), "X6": (2, 3)}  # over 64 x 96 px: no cell is square
WIDTHS = {"X1": 20, "X2": 20, "X3": 36, "X4": 36, "X6": 16}
OTHER_VAE = {
    "role": "vae",
    "id": "test/other-vae",
    "revision": "r1",
    "stand_in": False,
}  # 32 px a cell, as the full LTX

RUNS = {
    "e1_1": (["vlm:X2", "vlm:X3", "vlm:X4.28"], {}),
    "e1_2": (["vlm:X2", "vlm:X3", "vlm:X4.28"], {"global_probe": {"point": "vlm:X4.28", "epochs": 2, "batch_size": 8}}),
    "e1_3": (["vlm:X2", "vlm:X3"], {}),
    "e1_4": (["vlm:X2", "vlm:X3", "vlm:X4.28"], {"head": {"epochs": 2, "hidden": 24}}),
    "e1_5": (["vlm:X3", "vae:X6"], {"adapter": {"width": 16, "depth": 2, "epochs": 2}}),
    "e1_6": (
        ["vlm:X1.7", "vlm:X1.31", "vlm:X2", "vlm:X3", "vlm:X4.14", "vlm:X4.28", "vlm:X3@32", "vlm:X3@128"],
        {"width": 1024, "capacity": [2, 8, 4096], "merge": [1, 2, 4], "pictures": [8, 16, 5000]},
    ),
}
TRAINED = {
    "e1_2": {"global_probe"},
    "e1_4": {f"{view}_{point}" for view in ("tokens", "pooled") for point in ("x2", "x3", "x4_28")},
    "e1_5": {"adapter"},
}


def random_features(world: World, need: str) -> np.ndarray:
    point, _, side = need.split(":")[1].partition("@")
    kind = point.split(".")[0]
    scale = int(side) / 64 if side else 1
    grid = (int(GRIDS[kind][0] * scale), int(GRIDS[kind][1] * scale))
    return world.noise(grid, WIDTHS[kind], seed=sum(map(ord, need)))


@pytest.mark.parametrize("handler", list(RUNS))
def test_a_handler_runs_on_other_widths_and_grids(world, handler):
    needs, config = RUNS[handler]
    folder = world.home.models / "test--other-vae" / "r1"
    if handler == "e1_5" and not folder.exists():
        build_vae(folder, VaeShape(latent_channels=16, channels=(8, 16, 16, 16), scaling=(True, True, True, False)))
    world.plant({need: random_features(world, need) for need in needs})
    made = world.run(handler, seed=2, config=config, models={"vae": OTHER_VAE})

    assert finding(made).endswith(".")
    assert all(math.isfinite(value) for value in made.metrics.values())
    assert made.artifacts
    assert {name for name in world.trained(handler) if not name.startswith("permuted")} == TRAINED.get(handler, set())
    if handler == "e1_1":
        curves = {name: steps for name, steps in world.curves(handler).items() if name.endswith("/silhouette")}
        assert curves
        assert all(steps == [0, 1, 2] for steps in curves.values()), "one a point"
    # every held-out picture is scored, by its own source, beside what needs no features
    tested = [world.dataset.groups[index] for index in world.split(seed=2).test]
    assert made.samples
    for entry in made.samples:
        assert set(entry.groups) <= set(world.dataset.groups)
        if handler != "e1_1":
            assert entry.groups == tested, entry.metric
        assert entry.baselines or entry.metric == "lpips_gap", entry.metric
    # and nothing was found in noise
    if handler in ("e1_2", "e1_5"):
        assert "not sufficient" in finding(made)
    if handler == "e1_3":
        assert "Invalid comparison" in finding(made)
    if handler == "e1_4":
        assert "insufficient" in finding(made)


def test_the_same_seed_gives_the_same_numbers(world):
    needs, config = RUNS["e1_4"]
    world.plant({need: random_features(world, need) for need in needs})
    first, again = (world.run("e1_4", seed=3, config=config) for _ in range(2))
    assert first.metrics == again.metrics
    assert samples(first, "spatial_iou") == samples(again, "spatial_iou")
