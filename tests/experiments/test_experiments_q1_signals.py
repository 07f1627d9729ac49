"""Q1's handlers on features whose content is known: what the spaces share is found, and what they do not is not."""

from __future__ import annotations

import numpy as np
import pytest
from planted_world import GRID_X2, GRID_X3, RECIPE, World, finding, samples

from foresight.data.recipes import RECIPES
from foresight.home import Home
from foresight.metrics.statistics import Interval, mean_interval, paired_difference_interval

GRID_X6 = (2, 3)
WIDE = 24  # channels of the language model here
VLM, LTX = "vlm:X4.last", "vae:X6"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """160 pictures, two of each of 80 sources, most of them held out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, "planted", RECIPE)
        yield World.of(Home(tmp_path_factory.mktemp("home")), (0.4, 0.1, 0.5), n=160)


def code(world: World, d: int, seed: int = 0) -> np.ndarray:
    """[N, d]: what a space says of each picture; two pictures of one source are nearly the same."""
    sources = [int(group.split("-")[1]) for group in world.dataset.groups]
    rng = np.random.default_rng([seed, d])
    return rng.standard_normal((max(sources) + 1, d))[sources] + 0.01 * rng.standard_normal((len(sources), d))


def turned(values: np.ndarray, width: int, seed: int = 0) -> np.ndarray:
    """[N, width]: the same geometry on other axes."""
    basis, _ = np.linalg.qr(np.random.default_rng([7, seed]).standard_normal((width, width)))
    return values @ basis[: values.shape[1]]


def tokens(values: np.ndarray, grid: tuple[int, int], seed: int = 0) -> np.ndarray:
    """[N, h, w, D] whose mean token is `values`, and whose single tokens are far from it."""
    n, d = values.shape
    noise = np.random.default_rng([3, seed]).standard_normal((n, *grid, d))
    return (values[:, None, None] + noise - noise.mean((1, 2), keepdims=True)).astype(np.float32)


def cells(values: np.ndarray, grid: tuple[int, int] = GRID_X6) -> np.ndarray:
    """[N, h, w, D / hw]: `values` spread over the cells, so that flat they are one vector again."""
    return values.reshape(len(values), *grid, -1).astype(np.float32)


def categories(world: World) -> np.ndarray:
    """[N, 3] one-hot, by source."""
    return np.array([[label == name for name in "abc"] for label in world.dataset.labels("category")], dtype=float)


def plant_alike(world: World) -> World:
    shared = code(world, 24)
    return world.plant({VLM: tokens(turned(shared, WIDE), GRID_X3), LTX: cells(turned(shared, 24, seed=1))})


def plant_unrelated(world: World) -> World:
    return world.plant({VLM: tokens(code(world, WIDE), GRID_X3), LTX: cells(code(world, 24, seed=1))})


def interval(made, metric: str) -> Interval:
    entry = samples(made, metric)
    found = mean_interval([(entry.scores, entry.groups)])
    assert isinstance(found, Interval)
    return found


def ahead(made, metric: str, baseline: str) -> Interval:
    entry = samples(made, metric)
    found = paired_difference_interval([(entry.scores, entry.baselines[baseline], entry.groups)], higher_is_better=True)
    assert isinstance(found, Interval)
    return found


LEVELS = {
    "eq1_4": "excellent linear map between the spaces (mean R2 1.000; weak: over 0.3, acceptable: over 0.5, ",
    "eq1_5": "strong agreement of distances (weak: Spearman over 0.4, acceptable: over 0.6, strong: over 0.8): ",
    "eq1_6": "overlap strongly (weakly: over 0.1, acceptably: over 0.2, strongly: over 0.4): ",
    "eq1_7": "high alignment of X4.last and X6 as a whole (low: over 0.25, acceptable: over 0.4, high: over 0.5): ",
}
DESIGNATED = {
    "eq1_4": ("linear_probe_r2", 0.9),
    "eq1_5": ("spearman_correlation", 0.9),
    "eq1_6": ("neighborhood_recall_at_10", 0.7),
    "eq1_7": ("cka", 0.9),
}


@pytest.mark.parametrize("handler", list(DESIGNATED))
def test_spaces_that_are_one_space_turned_are_found_to_be(world, handler):
    metric, least = DESIGNATED[handler]
    made = plant_alike(world).run(handler, stand_ins=True)
    entry = samples(made, metric)
    assert made.metrics[metric] > least
    assert made.metrics[metric] == pytest.approx(np.mean(entry.scores))
    assert sorted(entry.groups) == sorted({world.dataset.groups[i] for i in world.split().test}), "one score a source"
    for baseline in entry.baselines:
        assert ahead(made, metric, baseline).low > 0, baseline
    assert any("language model is random" in note for note in made.notes)
    assert LEVELS[handler] in finding(made), "what the words stand for, beside them"


@pytest.mark.parametrize("handler", list(DESIGNATED))
def test_spaces_that_share_nothing_are_no_better_than_chance(world, handler):
    metric, _ = DESIGNATED[handler]
    made = plant_unrelated(world).run(handler)
    chance = {"eq1_4": "mean", "eq1_5": "permuted_pictures", "eq1_6": "uniform", "eq1_7": "permuted_pictures"}[handler]
    assert abs(made.metrics[metric] - np.mean(samples(made, metric).baselines[chance])) < 0.12
    assert ahead(made, metric, chance).low <= 0
    if handler in ("eq1_5", "eq1_7"):
        assert interval(made, metric).low < 0 < interval(made, metric).high, "an interval that says: about nothing"
    assert any(words in finding(made) for words in ("hardly any", "little", "no more than"))


def test_eq1_4_reads_test_once_and_both_ways(world):
    shared = code(world, 24)
    world.plant({VLM: tokens(turned(shared[:, :6], WIDE), GRID_X3), LTX: cells(turned(shared, 24, seed=1))})
    made = world.run("eq1_4")
    assert made.metrics["linear_probe_r2"] < 0.5, "six of 24 dimensions are not enough to explain all"
    assert made.metrics["linear_probe_r2_back"] > 0.9, "and all explain the six"
    assert made.metrics["centred_cosine_back"] > 0.9
    assert made.metrics["linear_probe_r2_mean"] == pytest.approx(0, abs=1e-12)
    assert made.metrics["linear_probe_r2_permuted_pairs"] < 0.1
    assert made.metrics["linear_probe_r2_random_projection"] < 0.1
    assert made.metrics["mean_r2"] == pytest.approx(
        (made.metrics["linear_probe_r2"] + made.metrics["linear_probe_r2_back"]) / 2
    )


def test_eq1_5_what_only_the_category_explains_is_said(world):
    known = 8 * categories(world) / np.sqrt(2)
    vlm, ltx = (turned(np.hstack([known, code(world, 21, seed)]), 24, seed) for seed in (0, 1))
    made = world.plant({VLM: tokens(vlm, GRID_X3), LTX: cells(ltx)}).run("eq1_5")
    assert made.metrics["spearman_correlation"] > 0.4
    assert abs(made.metrics["partial_spearman"]) < 0.2
    assert ahead(made, "spearman_correlation", "permuted_pictures").low > 0
    assert ahead(made, "spearman_correlation", "category").high < 0, "the category alone does better"
    assert made.metrics["mantel_p_euclidean"] == 0.002, "the least that 999 permutations can say, of two tests"
    assert made.metrics["procrustes_disparity"] < made.metrics["procrustes_disparity_permuted"]


def test_eq1_6_recall_from_the_category_alone_is_not_met_by_its_baseline(world):
    known = 8 * categories(world) / np.sqrt(2)
    vlm, ltx = (turned(np.hstack([known, code(world, 21, seed)]), 24, seed) for seed in (0, 1))
    made = world.plant({VLM: tokens(vlm, GRID_X3), LTX: cells(ltx)}).run("eq1_6")
    assert ahead(made, "neighborhood_recall_at_10", "uniform").low > 0
    assert ahead(made, "neighborhood_recall_at_10", "same_category").low <= 0
    assert made.metrics["neighborhood_recall_at_10"] == pytest.approx(
        made.metrics["same_category_recall_at_10"], abs=0.08
    )
    n = len({world.dataset.groups[i] for i in world.split().test})
    assert made.metrics["uniform_recall_at_10"] == pytest.approx(10 / (n - 1)), "one picture a source, itself left out"


def test_eq1_7_the_criterion_is_the_layer_fixed_in_advance_and_not_the_best(world):
    shared = code(world, 24)
    world.plant(
        {
            "vlm:X1.7": tokens(code(world, 8, seed=4), GRID_X2),
            "vlm:X3": tokens(turned(shared, WIDE), GRID_X3),
            VLM: tokens(code(world, WIDE, seed=6), GRID_X3),
            LTX: cells(turned(shared, 24, seed=1)),
        }
    )
    made = world.run("eq1_7")
    assert made.metrics["cka_x3"] > 0.9
    assert abs(made.metrics["cka"]) < 0.15
    assert abs(made.metrics["cka_x1_7"]) < 0.15
    assert made.metrics["cka_p"] > 0.05
    assert "hardly any" in finding(made)


def test_eq1_3_finds_how_many_dimensions_there_are(world):
    """Three of 24 in one space, twelve of 24 in the other."""
    spaces = {VLM: tokens(turned(code(world, 3), WIDE), GRID_X3), LTX: cells(turned(code(world, 12), 24, seed=1))}
    made = world.plant(spaces).run("eq1_3")
    assert made.metrics["pca95_x4_last"] == 3
    assert made.metrics["mle_x4_last"] == pytest.approx(3, abs=0.8)
    assert made.metrics["twonn_x4_last"] == pytest.approx(3, abs=1.2)
    assert made.metrics["pca95_x6_flat"] >= 10
    assert made.metrics["mle_x6_flat"] > 6
    assert made.metrics["mle_x6_flat_of_noise"] > made.metrics["mle_x6_flat"]
    ratio = made.metrics["mle_x6_flat"] / made.metrics["mle_x4_last"]
    assert made.metrics["mle_ratio"] == pytest.approx(ratio)
    assert interval(made, "mle_x4_last").low < 3 < interval(made, "mle_x4_last").high + 0.5


def test_eq1_3_pictures_that_are_copies_are_counted_once_and_said(world):
    vlm = code(world, 5)
    held = world.split().test
    first = held[np.unique([world.dataset.groups[i] for i in held], return_index=True)[1]]
    vlm[first[5:12]] = vlm[first[4]]
    flat = np.broadcast_to(vlm[:, None, None], (len(vlm), *GRID_X3, 5))
    made = world.plant({VLM: flat.astype(np.float32), LTX: cells(turned(code(world, 12), 24))}).run("eq1_3")
    assert any("7 pictures are exact copies" in note for note in made.notes)
    assert made.metrics["twonn_x4_last"] == pytest.approx(5, abs=2)


def test_eq1_1_and_eq1_2_find_the_clusters_that_are_there(world):
    apart = 20 * categories(world)
    clustered, plain = turned(np.hstack([apart, code(world, 21)]), 24), code(world, 24, seed=1)
    world.plant({"vlm:X3": tokens(plain, GRID_X3), VLM: tokens(clustered, GRID_X3)})
    made = world.run("eq1_1")
    assert set(world.curves("eq1_1")) == {"by_point/silhouette", "by_point/knn_accuracy"}
    assert made.metrics["silhouette_score"] > 0.4
    assert made.metrics["knn_accuracy"] == 1
    assert abs(made.metrics["silhouette_score_x3"]) < 0.1
    assert made.metrics["knn_accuracy_x3"] < 0.6
    assert made.metrics["distance_ratio_x4_last"] < 0.7 < made.metrics["distance_ratio_x3"]
    assert abs(made.metrics["permuted_silhouette"]) < 0.1

    made = world.plant({LTX: cells(clustered)}).run("eq1_2")
    assert made.metrics["silhouette_score"] > 0.4
    assert made.metrics["knn_accuracy"] == 1
    assert ": strong (moderate: silhouette over 0.2 or neighbours over 50%, strong: over 0.4 and 70%), " in finding(
        made
    )
    made = world.plant({LTX: cells(plain)}).run("eq1_2")
    assert made.metrics["knn_accuracy"] < 0.6
    assert ": weak (moderate: " in finding(made)


def test_eq1_2_smooth_latents_hang_together_and_white_ones_do_not(world):
    n, rng = len(world.dataset), np.random.default_rng(0)
    white = rng.standard_normal((n, 12, 12, 4))
    smooth = np.cumsum(np.cumsum(white, axis=1), axis=2) / 12
    one_channel = smooth.copy()
    one_channel[..., 1:] *= 0.01
    made = world.plant({LTX: smooth.astype(np.float32)}).run("eq1_2")
    assert made.metrics["autocorrelation_1"] > 0.8
    assert made.metrics["lowest_frequencies"] > 0.5
    made = world.plant({LTX: white.astype(np.float32)}).run("eq1_2")
    assert abs(made.metrics["autocorrelation_1"]) < 0.05
    assert made.metrics["lowest_frequencies"] < 0.3
    made = world.plant({LTX: one_channel.astype(np.float32)}).run("eq1_2")
    assert made.metrics["channels_for_half_the_variance"] == 1


def test_without_categories_what_needs_none_is_still_measured(world, monkeypatch):
    monkeypatch.setattr("foresight.experiments.q1.spaces.LABELS", ("nothing of the kind",))
    plant_alike(world)
    for handler in ("eq1_5", "eq1_6", "eq1_7"):
        made = world.run(handler)
        metric, least = DESIGNATED[handler]
        assert made.metrics[metric] > least
        assert any("no category" in note for note in made.notes)
        assert not {"category", "same_category"} & set(samples(made, metric).baselines)
    for handler in ("eq1_1", "eq1_2"):
        made = world.run(handler)
        assert made.metrics == {}, "not measured, and no 0 in its place"
        assert "Not measured" in finding(made)


def test_too_few_pictures_are_not_measured_and_never_zero(tmp_path, monkeypatch):
    monkeypatch.setitem(RECIPES, "planted", RECIPE)
    small = World.of(Home(tmp_path), (0.5, 0.25, 0.25), n=40)  # 20 sources, 10 of them held out at most
    plant_alike(small)
    made = small.run("eq1_6")
    assert "neighborhood_recall_at_10" not in made.metrics
    assert "Not measured" in finding(made)
    assert not any("mle" in name for name in small.run("eq1_3").metrics if "noise" not in name)


def test_a_space_that_says_nothing_is_not_measured(world):
    nothing = np.ones((len(world.dataset), *GRID_X3, 5), dtype=np.float32)
    world.plant({VLM: nothing, LTX: cells(code(world, 24))})
    for handler, metric in (("eq1_5", "spearman_correlation"), ("eq1_7", "cka")):
        made = world.run(handler)
        assert metric not in made.metrics
        assert "Not measured" in finding(made)
