"""Each kind of picture: is what it claims to show in it? Texts are read from the figure, colours from its pixels."""

import io
import subprocess
import sys
from collections.abc import Callable

import matplotlib.figure
import matplotlib.text
import numpy as np
import pytest
from PIL import Image

from foresight.plots import charts, maps, pictures, relations
from foresight.plots.style import DPI, Estimate, caption
from foresight.probes.training import TrainingHistory

RNG = np.random.default_rng(0)
PHOTOS = RNG.random((6, 28, 28, 3))
BOXES = np.tile([0.25, 0.25, 0.75, 0.5], (6, 1))
LINE = caption(n=6, seed=3, profile="tiny", note="stand-in models")
COMMON = {"title": "A title", "caption": LINE}
HISTORY = TrainingHistory([3.0, 2.0, 1.0, 0.5], [3.0, 2.5, 2.0, 2.2], best_epoch=2, stopped_early=True)

KINDS: dict[str, Callable[[], bytes]] = {
    "image_grid": lambda: pictures.image_grid(
        {"original": PHOTOS, "ours": PHOTOS[::-1], "mean image": PHOTOS[:1]},
        scores={"ours": [0.1234] * 6, "mean image": np.full(6, 0.875)},
        **COMMON,
    ),
    "box_overlay": lambda: pictures.box_overlay(
        PHOTOS, BOXES, {"tokens": BOXES, "mean box": BOXES}, scores={"tokens": np.full(6, 0.43)}, **COMMON
    ),
    "error_maps": lambda: pictures.error_maps(
        {"original": PHOTOS}, {"before": PHOTOS[..., 0], "after": PHOTOS[..., 1]}, unit="squared error", **COMMON
    ),
    "scatter_map": lambda: maps.scatter_map(
        {"X2": RNG.normal(size=(20, 2)), "X3": RNG.normal(size=(20, 2))},
        ["circle", "square"] * 10,
        label_name="shape",
        **COMMON,
    ),
    "heat_map": lambda: maps.heat_map(
        np.array([[0.25, np.nan], [-0.5, 1.0]]), unit="silhouette", row_labels=["X2", "X3"], centre=0, **COMMON
    ),
    "curve": lambda: charts.curve(
        ["X1.1", "X2", "X3"],
        {"probe": [Estimate(0.5, 0.4, 0.6), Estimate(0.4, 0.3, 0.5), Estimate(0.3, 0.2, 0.4)], "other": [1, 2, 3]},
        x_label="extraction point",
        y_label="LPIPS",
        baselines={"mean image": 0.86},
        thresholds={"acceptable": 0.35},
        **COMMON,
    ),
    "bars": lambda: charts.bars(
        {"pooled": {"X2": 0.25, "X3": Estimate(0.5, 0.45, 0.55)}, "tokens": {"X3": 0.75, "X2": None}},
        y_label="box IoU",
        baselines={"mean box": 0.12},
        **COMMON,
    ),
    "iou_histogram": lambda: charts.iou_histogram(
        {"tokens": [0.1, 0.5, 1.0], "mean box": [0.0, 0.0, 0.3]}, thresholds={"good": 0.6}, **COMMON
    ),
    "learning_curve": lambda: charts.learning_curve({"H5": HISTORY}, y_label="smooth L1", **COMMON),
    "relation": lambda: relations.relation(
        {"few": (RNG.random(20), RNG.random(20)), "many": (RNG.random(5000), RNG.random(5000))},
        x_label="rank here",
        y_label="rank there",
        identity=True,
        **COMMON,
    ),
}

SHOWS = {
    "image_grid": ["original", "ours", "mean image", "LPIPS 0.123", "LPIPS 0.875"],
    "box_overlay": ["true box", "tokens", "mean box", "IoU 0.43", "IoU above each picture: tokens"],
    "error_maps": ["original", "before", "after", "squared error"],
    "scatter_map": ["X2", "X3", "circle", "square", "shape", "t-SNE 1", "t-SNE 2"],
    "heat_map": ["0.25", "-0.50", "1.00", "silhouette", "X2", "X3"],
    "curve": ["X1.1", "probe", "other", "mean image (0.86)", "acceptable (0.35)", "extraction point", "LPIPS"],
    "bars": ["X2", "pooled", "tokens", "0.25", "0.50", "0.75", "mean box (0.12)", "box IoU"],
    "iou_histogram": ["tokens (mean 0.53)", "mean box (mean 0.10)", "good (0.6)", "samples"],
    "learning_curve": ["H5, train", "H5, validation", "weights kept", "epoch", "smooth L1"],
    "relation": ["few", "many", "rank here", "rank there", "pairs in a cell"],
}


@pytest.fixture
def figures(monkeypatch) -> list[matplotlib.figure.Figure]:
    """Every figure that was saved in the test."""
    saved: list[matplotlib.figure.Figure] = []
    original = matplotlib.figure.Figure.savefig
    monkeypatch.setattr(
        matplotlib.figure.Figure, "savefig", lambda self, *a, **k: saved.append(self) or original(self, *a, **k)
    )
    return saved


def texts(figure: matplotlib.figure.Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_visible()]


def test_small_differences_are_told_apart_in_bars(figures):
    charts.bars({"gain": {"dropout": 0.0026, "cosine": 0.065}}, title="A title", caption=LINE, y_label="LPIPS")
    assert {"0.003", "0.065"} <= set(texts(figures[0]))
    charts.bars({"IoU": {"fused": 0.6912}}, title="A title", caption=LINE, y_label="IoU")
    assert "0.69" in texts(figures[1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_shows_what_it_is_about(kind, figures):
    content = KINDS[kind]()
    shown = texts(figures[0])
    wanted = [*SHOWS[kind], "A title"]
    assert [text for text in wanted if text not in shown] == []
    assert " ".join(LINE.split()) in [" ".join(text.split()) for text in shown]
    image = Image.open(io.BytesIO(content))
    assert image.format == "PNG"
    assert image.info["dpi"][0] == pytest.approx(DPI, abs=0.1)
    assert 500 < image.width < 2000


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_cut_off_or_drawn_over_the_caption(kind, figures):
    KINDS[kind]()
    figure = figures[0]
    renderer = figure.canvas.get_renderer()
    used, (width, height) = figure.get_tightbbox(renderer), figure.get_size_inches()
    assert min(used.x0, used.y0) > -0.01
    assert used.x1 < width + 0.01
    assert used.y1 < height + 0.01
    extents = {text: text.get_window_extent(renderer) for text in figure.findobj(matplotlib.text.Text)}
    line = next(text for text in extents if text.get_text().startswith("n = 6"))
    others = [text for text in extents if text is not line and text.get_visible() and text.get_text()]
    assert [text.get_text() for text in others if extents[text].overlaps(extents[line])] == []


@pytest.mark.parametrize("kind", ["image_grid", "curve", "learning_curve"])
def test_the_same_input_gives_the_same_bytes(kind):
    assert KINDS[kind]() == KINDS[kind]()


def test_caption_says_n_seed_profile_and_stand_ins():
    assert LINE == "n = 6 held-out pictures · seed 3 · profile tiny · stand-in models"
    assert caption(n=90, seed=None, profile="real", unit="clips") == "n = 90 clips · all seeds · profile real"


def test_boxes_lie_where_they_are(figures):
    box = np.array([[0.2, 0.4, 0.8, 0.6]])
    pictures.box_overlay(np.zeros((1, 30, 50, 3)), box, {"tokens": box / 2}, **COMMON)
    axes = figures[0].axes[0]
    left, right, bottom, top = axes.images[0].get_extent()
    origin, size = np.array([left, top]), np.array([right - left, bottom - top])
    corners = [np.array([patch.get_bbox().min, patch.get_bbox().max]) for patch in axes.patches]
    assert np.allclose([((corner - origin) / size).ravel() for corner in corners], [box[0], box[0] / 2])


def test_error_maps_share_one_scale(figures):
    errors = {"small": np.full((2, 8, 8), 0.1), "large": np.full((2, 8, 8), 0.2)}
    pictures.error_maps({"original": PHOTOS[:2]}, errors, **COMMON)
    shown = [image for axes in figures[0].axes[2:6] for image in axes.images]
    assert [float(image.get_array().mean()) for image in shown] == pytest.approx([0.1, 0.1, 0.2, 0.2])
    assert {(image.norm.vmin, round(image.norm.vmax, 6)) for image in shown} == {(0, 0.2)}


def test_rows_of_other_lengths_leave_gaps_and_baselines_repeat(figures):
    pictures.image_grid({"original": PHOTOS, "mean": PHOTOS[:1], "two": PHOTOS[:2]}, **COMMON)
    left = [image.get_extent()[0] for image in figures[0].axes[0].images]
    assert left == left[:6] + left[:6] + left[:2]


def test_interval_is_drawn_where_there_is_one(figures):
    KINDS["bars"]()
    axes = figures[0].axes[0]
    assert [bar.get_height() for bar in axes.patches] == [0.25, 0.5, 0.75]
    assert len(axes.containers) == 3 + 1
    KINDS["curve"]()
    assert len(figures[1].axes[0].collections) == 1


def test_dot_marks_the_epoch_whose_weights_were_kept(figures):
    KINDS["learning_curve"]()
    assert [2, 2.0] in [[*np.ravel(line.get_data())] for line in figures[0].axes[0].lines]


def test_epochs_are_whole(figures):
    charts.learning_curve({"H1": TrainingHistory([1.0] * 21, [1.0] * 21, 20, stopped_early=False)}, **COMMON)
    assert all(tick == int(tick) for tick in figures[0].axes[0].get_xticks())


def test_numbers_become_a_colour_scale_and_many_categories_stay_distinct(figures):
    places = {"X3": RNG.normal(size=(40, 2))}
    maps.scatter_map(places, np.arange(40) / 40, label_name="row", **COMMON)
    assert figures[0].axes[0].get_legend() is None
    assert "row" in texts(figures[0])
    maps.scatter_map(places, [f"class {i % 20:02}" for i in range(40)], label_name="class", **COMMON)
    looks = {
        (tuple(points.get_facecolor()[0]), points.get_paths()[0].vertices.tobytes())
        for points in figures[1].axes[0].collections
    }
    assert len(looks) == 20


def test_pyplot_is_never_touched():
    code = (
        "import sys, numpy as np\n"
        "from foresight.plots import charts, maps, pictures\n"
        "charts.bars({'a': {'b': 1.0}}, title='t', caption='c', y_label='y')\n"
        "print('matplotlib.pyplot' in sys.modules, 'torch' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "False False\n"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_says_in_words_what_it_shows(kind):
    """So that a report can put the title beside it for who does not see it."""
    words = Image.open(io.BytesIO(KINDS[kind]())).text  # type: ignore[attr-defined]
    assert words == {"Title": "A title", "Description": LINE}


def test_few_points_are_drawn_singly_and_many_as_how_dense_they_lie(figures):
    few, many = np.linspace(0, 1, 30), np.tile(np.linspace(0, 1, 10), 300)
    relations.relation({"few": (few, few), "many": (many, many)}, x_label="x", y_label="y", **COMMON)
    singles, cells = (axes.collections[0] for axes in figures[0].axes[:2])
    np.testing.assert_allclose(singles.get_offsets(), np.column_stack([few, few]))
    assert cells.get_array().sum() == 3000
    assert cells.norm.vmax == 300


def test_rows_sorted_by_label_name_each_label_once(figures):
    names = maps.block_names(["a", "a", "a", "b", "c", "c"])
    assert names == ["", "a", "", "b", "", "c"]
    maps.heat_map(np.arange(36.0).reshape(6, 6), unit="rank", row_labels=names, column_labels=names, **COMMON)
    axes = figures[0].axes[0]
    assert [
        (tick, label.get_text()) for tick, label in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
    ] == [
        (1, "a"),
        (3, "b"),
        (5, "c"),
    ]
