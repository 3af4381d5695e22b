"""Properties of the figures that a reader would miss: texts, overlaps, things cut off, sizes, colours."""

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from resnet_mlflow.evaluation.canvas import Page, Tile
from resnet_mlflow.evaluation.figures import (
    confusion_matrix_figure,
    display_name,
    display_names,
    learning_curves_figure,
    pool_largest,
    tick_step,
    write_confusion_matrix,
)
from resnet_mlflow.evaluation.image_figures import attention_figure, confused_pairs_page, file_name
from resnet_mlflow.evaluation.scores import Evaluation, evaluate
from resnet_mlflow.training.loop import EpochResult


def make_confusion(n_classes: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    labels = rng.integers(n_classes, size=40 * n_classes)
    predictions = np.where(rng.random(len(labels)) < 0.8, labels, rng.integers(n_classes, size=len(labels)))
    return np.bincount(labels * n_classes + predictions, minlength=n_classes**2).reshape(n_classes, n_classes)


def names_of(n_classes: int) -> list[str]:
    return [f"a rather long class name {index}" for index in range(n_classes)]


def visible_texts(figure: Figure) -> list[Text]:
    texts = [text for text in figure.findobj(Text) if isinstance(text, Text)]
    ticks = {
        label for axes in figure.axes if not axes.axison for label in axes.get_xticklabels() + axes.get_yticklabels()
    }
    return [text for text in texts if text.get_visible() and text.get_text() and text not in ticks]


def boxes_of(texts: Sequence[Text]) -> list[Bbox]:
    return [text.get_window_extent() for text in texts]


def overlapping(texts: Sequence[Text]) -> list[tuple[str, str]]:
    return overlapping_boxes([text.get_text() for text in texts], boxes_of(texts))


def overlapping_boxes(names: Sequence[str], boxes: Sequence[Bbox]) -> list[tuple[str, str]]:
    pairs = itertools.combinations(zip(names, boxes, strict=True), 2)
    # Padded boxes of neighbours may touch by a fraction of a pixel.
    return [
        (a, b)
        for (a, first), (b, second) in pairs
        if (shared := Bbox.intersection(first, second)) is not None and min(shared.width, shared.height) > 1
    ]


def assert_inside(figure: Figure, texts: Sequence[Text]) -> None:
    width, height = figure.canvas.get_width_height()
    for text, box in zip(texts, boxes_of(texts), strict=True):
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= width, text
        assert box.y1 <= height, text


def pixels_of(figure: Figure) -> np.ndarray:
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]  # type: ignore[attr-defined]


@pytest.mark.parametrize("n_classes", [2, 3, 10, 20, 21, 37, 100, 301, 1000])
def test_confusion_matrix_figure_is_legible(n_classes: int) -> None:
    confusion = make_confusion(n_classes)
    figure = confusion_matrix_figure(confusion, names_of(n_classes))
    figure.canvas.draw()
    width, height = figure.canvas.get_width_height()
    assert width == 902
    assert 600 < height < 1100
    axes, bar = figure.axes
    texts = visible_texts(figure)
    shown = [text for text in texts if text.axes in (None, axes)]
    assert overlapping(shown) == []
    assert overlapping([text for text in texts if text.axes is bar]) == []
    assert_inside(figure, texts)
    assert 2 <= len(axes.get_yticklabels()) <= 50
    accuracy = np.trace(confusion) / confusion.sum()
    assert axes.get_title() == f"{confusion.sum():,} items, {n_classes} classes, accuracy {accuracy:.1%}"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("prediction", "label")
    square = axes.get_window_extent()
    assert square.width == pytest.approx(square.height, abs=1)
    assert square.width > 500


def test_confusion_matrix_figure_writes_every_non_zero_count() -> None:
    confusion = np.array([[8, 2, 0], [0, 10, 0], [0, 0, 12345]])
    figure = confusion_matrix_figure(confusion, ["a", "b", "c"])
    cells = {(round(text.get_position()[1]), round(text.get_position()[0])): text for text in figure.axes[0].texts}
    assert {cell: text.get_text().split()[0] for cell, text in cells.items()} == {
        (0, 0): "8", (0, 1): "2", (1, 1): "10", (2, 2): "12345",
    }  # fmt: skip
    assert cells[0, 1].get_text() == "2\n20.0%"
    assert cells[0, 0].get_color() == "white"
    assert cells[0, 1].get_color() == "black"


@pytest.mark.parametrize("n_classes", [10, 20])
def test_confusion_matrix_figure_numbers_fit_their_cells(n_classes: int) -> None:
    figure = confusion_matrix_figure(np.full((n_classes, n_classes), 98_765), [str(i) for i in range(n_classes)])
    figure.canvas.draw()
    cell = figure.axes[0].get_window_extent().width / n_classes
    assert max(box.width for box in boxes_of(figure.axes[0].texts)) < cell


def test_confusion_matrix_figure_labels_the_right_rows_when_it_thins_names() -> None:
    figure = confusion_matrix_figure(make_confusion(100), names_of(100))
    axes = figure.axes[0]
    for position, label in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True):
        assert label.get_text() == display_name(f"a rather long class name {round(position)}", 0)


def test_confusion_matrix_figure_lists_the_commonest_confusion_of_many_classes() -> None:
    confusion = 50 * np.eye(30, dtype=np.int64)
    confusion[3, 17] = 25
    texts = [text.get_text() for text in confusion_matrix_figure(confusion, [f"c{i}" for i in range(30)]).texts]
    assert "c3 → c17: 25 (33%)" in texts


def test_confusion_matrix_figure_shows_a_lone_confusion_among_1000_classes() -> None:
    confusion = 10 * np.eye(1000, dtype=np.int64)
    confusion[5, 900] = 1  # with it, both figures list confusions and are of one size
    perfect = pixels_of(confusion_matrix_figure(confusion, names_of(1000))).astype(int)
    confusion[700, 100] = 1
    figure = confusion_matrix_figure(confusion, names_of(1000))
    changed = np.abs(pixels_of(figure).astype(int) - perfect).max(axis=2)
    box = figure.axes[0].get_window_extent()
    row = int(figure.canvas.get_width_height()[1] - box.y1 + 0.7005 * box.height)
    column = int(box.x0 + 0.1005 * box.width)
    assert changed[row - 3 : row + 4, column - 3 : column + 4].max() > 60


def test_confusion_matrix_figure_greys_rows_without_items() -> None:
    figure = confusion_matrix_figure(np.array([[5, 0, 0], [0, 0, 0], [0, 1, 4]]), ["a", "b", "c"])
    (image,) = figure.axes[0].get_images()
    assert np.ma.getmaskarray(np.ma.asarray(image.get_array())).all(axis=1).tolist() == [False, True, False]


def test_confusion_matrix_figure_survives_names_that_matplotlib_would_trip_over() -> None:
    # Mathematics between dollars, glyphs that the font lacks (a warning, hence an error here), a line break.
    names = ["$x_{$", "金魚", "two\nlines", "  ", "_hidden"]
    figure = confusion_matrix_figure(np.eye(5, dtype=np.int64), names)
    pixels_of(figure)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [
        "$x_{$", "#1", "#2", "#3", "_hidden",
    ]  # fmt: skip


def written(path: Path, confusion: np.ndarray, names: Sequence[str]) -> np.ndarray:
    write_confusion_matrix(path, confusion, names)
    with Image.open(path) as image:
        return np.asarray(image)


def slice_of(box: Bbox, height: int, margin: int) -> tuple[slice, slice]:
    """Return where a box of a figure is among its pixels, which count from the top."""
    rows = slice(int(height - box.y1) - margin, int(height - box.y0) + margin)
    return rows, slice(int(box.x0) - margin, int(box.x1) + margin)


def ink_of(pixels: np.ndarray) -> tuple[float, float, float, float]:
    """Return the ink on a region's commonest colour, row and column of its centre, and how far rows spread."""
    ink = np.abs(pixels.astype(float) - np.median(pixels, axis=(0, 1))).mean(axis=2)
    rows, columns = np.indices(ink.shape)
    row = np.average(rows, weights=ink)
    return ink.sum(), row, np.average(columns, weights=ink), np.sqrt(np.average((rows - row) ** 2, weights=ink))


@pytest.mark.parametrize("n_classes", [2, 5, 10, 20, 21])
def test_write_confusion_matrix_gives_the_picture_of_the_figure(tmp_path: Path, n_classes: int) -> None:
    empty = make_confusion(n_classes, 3)
    empty[0] = 0
    for confusion in (make_confusion(n_classes, 1), make_confusion(n_classes, 2), empty):
        pixels = written(tmp_path / "matrix.png", confusion, names_of(n_classes)).astype(int)
        figure = confusion_matrix_figure(confusion, names_of(n_classes))
        expected = pixels_of(figure).astype(int)
        assert pixels.shape == expected.shape
        texts = [*figure.axes[0].texts, figure.axes[0].title]
        elsewhere = np.ones(pixels.shape[:2], dtype=bool)
        for text, box in zip(texts, boxes_of(texts), strict=True):
            place = slice_of(box, len(pixels), 4)
            elsewhere[place] = False
            (ink, row, column, spread), (other, y, x, height) = ink_of(pixels[place]), ink_of(expected[place])
            assert ink == pytest.approx(other, rel=0.1), text
            assert (row, column) == (pytest.approx(y, abs=3.5), pytest.approx(x, abs=2)), text
            assert spread == pytest.approx(height, abs=1), text
        # A cell's edge may be a pixel beside the figure's.
        shifts = itertools.product((0, -1, 1), repeat=2)
        differences = [np.abs(pixels - np.roll(expected, shift, axis=(0, 1))).max(axis=2) for shift in shifts]
        assert (differences[0][elsewhere] > 2).mean() < 0.02
        assert np.min(differences, axis=0)[elsewhere].max() <= 2


@pytest.mark.parametrize("n_classes", [2, 10, 20])
def test_write_confusion_matrix_keeps_spines(tmp_path: Path, n_classes: int) -> None:
    full = np.full((n_classes, n_classes), 7)
    pixels = written(tmp_path / "matrix.png", full, names_of(n_classes))
    box = confusion_matrix_figure(full, names_of(n_classes)).axes[0].get_window_extent()
    square = pixels[slice_of(box, len(pixels), 2)].max(axis=2)
    beside = len(square) // 4 // n_classes  # of ticks and numbers
    for line in (square[:5, beside], square[-5:, beside], square[beside, :5], square[beside, -5:]):
        assert line.min() < 60


@pytest.mark.parametrize("n_classes", [10, 20])
def test_write_confusion_matrix_numbers_fit_their_cells(tmp_path: Path, n_classes: int) -> None:
    full, names = np.full((n_classes, n_classes), 98_765), [str(i) for i in range(n_classes)]
    pixels = written(tmp_path / "matrix.png", full, names).astype(int)
    box = confusion_matrix_figure(full, names).axes[0].get_window_extent()
    square = pixels[slice_of(box, len(pixels), -2)]
    edges = (np.arange(1, n_classes) * len(square) / n_classes).round().astype(int)
    colour = square[edges[0], edges[0]]
    assert (np.abs(square - colour).max(axis=2) > 100).mean() > 0.02  # numbers there are
    assert np.abs(square[:, edges] - colour).max() <= 1
    assert np.abs(square[edges] - colour).max() <= 1


def test_write_confusion_matrix_gives_the_same_in_any_order_and_in_threads(tmp_path: Path) -> None:
    tasks = [(make_confusion(n, seed), names_of(n)) for n in (3, 10, 25) for seed in range(3)]
    expected = [written(tmp_path / f"{i}.png", *task) for i, task in enumerate(tasks)]
    mixed = [5, 0, 8, 3, 1, 7, 4, 2, 6, 0, 5, 8]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: written(tmp_path / f"thread{i[0]}.png", *tasks[i[1]]), enumerate(mixed)))
    for index, pixels in zip(mixed, found, strict=True):
        np.testing.assert_array_equal(pixels, expected[index])


def small_evaluation(n_wrong: int = 3) -> Evaluation:
    probabilities = np.tile([0.8, 0.1, 0.1], (10, 1))
    for row in range(n_wrong):
        probabilities[row] = [0.2, 0.5 + 0.1 * row, 0.3 - 0.1 * row]
    return evaluate(np.zeros(10, dtype=int), probabilities, [str(i) for i in range(10)], ["cat", "dog", "金"])


def texts_on(page: Page) -> list[str]:
    return [text.text for text in page.texts]


def text_boxes(page: Page) -> list[Bbox]:
    return [Bbox.from_extents(*text.box()) for text in page.texts]


def tile_box(tile: Tile) -> Bbox:
    return Bbox.from_bounds(tile.left, tile.top, *tile.image.size)


def black_image(row: int) -> np.ndarray:
    return np.zeros((8, 8, 3), dtype=np.uint8)


def test_confused_pairs_page_shows_the_surest_mistakes_first() -> None:
    asked: list[int] = []

    def read_image(row: int) -> np.ndarray:
        asked.append(row)
        return np.full((8, 8, 3), 20 * row, dtype=np.uint8)

    page = confused_pairs_page(small_evaluation(), read_image, n_images=2)
    texts = texts_on(page)
    assert asked == [2, 1]
    assert "cat  →  dog:  3 of 10 (30.0%)" in texts
    assert [text for text in texts if text.startswith("p =")] == ["p = 0.70", "p = 0.60"]
    first, second = page.tiles
    assert first.left < second.left
    assert [tile.image.getpixel((5, 5)) for tile in page.tiles] == [(40,) * 3, (20,) * 3]


def test_confused_pairs_page_names_files() -> None:
    paths = ["crow/0.png", "crow/a_very_long_name_of_a_file_1.png", "crow/$x$.png", *[""] * 7]
    page = confused_pairs_page(small_evaluation(), black_image, paths)
    message = [text for text in texts_on(page) if text.startswith("p =")]
    assert message == ["p = 0.70  $x$.png", "p = 0.60  …file_1.png", "p = 0.50  0.png"]
    assert overlapping_boxes(texts_on(page), text_boxes(page)) == []


def test_confused_pairs_page_keeps_wide_names_below_their_images() -> None:
    page = confused_pairs_page(small_evaluation(), black_image, [f"crow/WWWWWWWWWW{row}.JPG" for row in range(10)])
    message = [text for text in page.texts if text.text.startswith("p =")]
    for text, tile in zip(message, page.tiles, strict=True):
        assert text.text.endswith(".JPG")
        assert text.box()[2] <= tile_box(tile).x1 + 1


def test_confused_pairs_page_without_files_has_no_names() -> None:
    page = confused_pairs_page(small_evaluation(1), black_image, [""] * 10)
    assert texts_on(page)[-1] == "p = 0.50"


def test_confused_pairs_page_without_mistakes_says_so() -> None:
    page = confused_pairs_page(small_evaluation(0), black_image)
    assert "No confusions: all 10 images are correct." in texts_on(page)
    assert page.tiles == []
    assert max(box.y1 for box in text_boxes(page)) < page.height


def random_evaluation(n_items: int, n_classes: int) -> Evaluation:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(n_classes), size=n_items)
    labels = rng.integers(n_classes, size=n_items)
    return evaluate(labels, probabilities, [str(i) for i in range(n_items)], names_of(n_classes))


def test_confused_pairs_page_has_no_overlaps_and_keeps_proportions() -> None:
    shapes: list[tuple[int, int]] = []

    def read_image(row: int) -> np.ndarray:
        shapes.append([(300, 200), (40, 120), (1, 500), (8, 8)][row % 4])
        return np.zeros((*shapes[-1], 3), dtype=np.uint8)

    page = confused_pairs_page(random_evaluation(300, 3), read_image, [f"x/photo_of_{row}.jpg" for row in range(300)])
    assert (page.width, page.draw().size) == (902, (902, page.height))
    assert 600 < page.height < 1200
    texts, tiles = text_boxes(page), [tile_box(tile) for tile in page.tiles]
    assert len(tiles) == 30
    assert overlapping_boxes(texts_on(page), texts) == []
    for box in (*texts, *tiles):
        assert min(box.x0, box.y0) >= 0
        assert box.x1 <= page.width
        assert box.y1 <= page.height
    for shape, tile in zip(shapes, tiles, strict=True):
        longer = max(tile.width, tile.height)
        assert longer == pytest.approx(140, abs=1)
        # To half a pixel, of which there is one at least.
        assert (tile.height, tile.width) == pytest.approx(tuple(longer * n / max(shape) for n in shape), abs=0.75)
    for text, tile in itertools.product(texts, tiles):
        assert not text.overlaps(tile)
    for first, second in itertools.combinations(tiles, 2):
        assert not first.overlaps(second)


@pytest.mark.parametrize("is_grey", [True, False])
def test_confused_pairs_page_keeps_tiny_pixels_square_and_bright(is_grey: bool) -> None:
    checks = (255 * (np.indices((8, 8)).sum(axis=0) % 2)).astype(np.uint8)
    if not is_grey:
        checks = np.stack([checks] * 3, axis=2)
    page = confused_pairs_page(small_evaluation(1), lambda row: checks)
    (tile,) = page.tiles
    width, height = tile.image.size
    inside = np.asarray(page.draw())[tile.top : tile.top + height, tile.left : tile.left + width]
    assert set(np.unique(inside)) == {0, 255}  # smoothing would give greys
    for line in (inside[2, :, 0], inside[:, 2, 0]):
        changes = np.flatnonzero(np.diff(line.astype(int)))
        assert len(changes) == 7
        assert set(np.diff(changes)) <= {17, 18}


def test_confused_pairs_page_averages_large_images() -> None:
    checks = (255 * (np.indices((600, 900)).sum(axis=0) % 2)).astype(np.uint8)
    page = confused_pairs_page(small_evaluation(1), lambda row: np.stack([checks] * 3, axis=2))
    inside = np.asarray(page.tiles[0].image)[3:-3, 3:-3]
    assert inside.min() > 110
    assert inside.max() < 145


def test_file_name_has_no_characters_that_cannot_be_shown() -> None:
    assert file_name("x/金魚 1\n\udc80é.jpg", 20) == "?? 1??é.jpg"
    assert file_name("x/", 20) == ""


def epoch(number: int, accuracy: float, improved: bool, loss: float = 1.0) -> EpochResult:
    return EpochResult(
        epoch=number, train_loss=loss, learning_rate=0.1 / number, val_metrics={"accuracy": accuracy, "loss": 0.5},
        seconds=1.0, images_per_second=10.0, improved=improved,
    )  # fmt: skip


def test_learning_curves_figure_draws_what_it_was_given_and_marks_the_best() -> None:
    history = [epoch(1, 0.5, True), epoch(2, 0.8, True), epoch(3, 0.7, False)]
    figure = learning_curves_figure(history)
    loss, accuracy, rate = figure.axes
    assert np.array_equal(accuracy.lines[0].get_xydata(), [[1, 0.5], [2, 0.8], [3, 0.7]])
    assert [line.get_label() for line in loss.lines[:2]] == ["train", "validation"]
    assert np.asarray(rate.lines[0].get_ydata()).tolist() == [0.1, 0.05, 0.1 / 3]
    assert all(np.asarray(axes.lines[-1].get_xdata()).tolist() == [2, 2] for axes in figure.axes)
    assert figure.texts[0].get_text() == "best epoch 2: validation accuracy 80.0%"


@pytest.mark.parametrize("n_epochs", [1, 2, 30, 500])
def test_learning_curves_figure_has_whole_epochs_and_no_overlaps(n_epochs: int) -> None:
    figure = learning_curves_figure([epoch(i, 0.9, i == 1, 2.0e-5 * i) for i in range(1, n_epochs + 1)])
    figure.canvas.draw()
    assert figure.canvas.get_width_height() == (902, 341)
    for axes in figure.axes:
        low, high = axes.get_xlim()
        ticks = [label for label in axes.get_xticklabels() if low <= label.get_position()[0] <= high]
        assert all(float(label.get_text()).is_integer() for label in ticks)
    tight = [axes.get_tightbbox() for axes in figure.axes]
    for first, second in itertools.pairwise(tight):
        assert first is not None
        assert second is not None
        assert first.x1 < second.x0
    assert tight[0] is not None
    assert tight[0].x0 >= 0


def test_learning_curves_figure_of_a_diverged_run() -> None:
    figure = learning_curves_figure([epoch(1, 0.1, False, float("nan")), epoch(2, 0.1, False, float("nan"))])
    pixels_of(figure)
    assert figure.texts[0].get_text() == "no epoch improved the validation accuracy"
    assert figure.axes[0].get_xlim() == (0.5, 2.5)


@pytest.mark.parametrize("n_items", [1, 3, 4, 16])
def test_attention_figure_names_label_and_prediction(n_items: int) -> None:
    evaluation = random_evaluation(20, 4)
    rows = np.arange(n_items)
    images = np.full((n_items, 32, 32, 3), 128, dtype=np.uint8)
    maps = np.zeros((n_items, 32, 32), dtype=np.float32)
    maps[:, :8, :8] = 1
    paths = [f"crow/a_long_name_of_a_photograph_{row:04d}.jpg" for row in range(20)]
    figure = attention_figure(evaluation, rows, images, maps, paths)
    figure.canvas.draw()
    texts = visible_texts(figure)
    assert sum(text.get_text().endswith("_of_a_photograph_0000.jpg") for text in texts) == 1
    assert overlapping(texts) == []
    assert_inside(figure, texts)
    first = next(text.get_text() for text in texts if text.get_text().startswith(("right", "wrong")))
    right = evaluation.labels[0] == evaluation.predictions[0]
    name = display_name(f"a rather long class name {evaluation.predictions[0]}", 0, 22)
    assert first == f"{'right' if right else 'wrong'}: {name} ({evaluation.probabilities[0].max():.2f})"
    drawn = figure.axes[0].get_images()
    assert len(drawn) == 2 * n_items
    plain, heated = (np.asarray(image.get_array()) for image in drawn[:2] if isinstance(image, AxesImage))
    assert (plain == 128).all()
    assert (heated[8:, 8:] == 128).all()  # without attention the image shows as it is
    assert heated[0, 0].tolist() == pytest.approx([208, 194, 68], abs=2)  # 65 % of viridis' yellow


def test_figures_leave_pyplots_state_alone() -> None:
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    confusion_matrix_figure(make_confusion(3), names_of(3))
    assert pyplot.get_fignums() == before


def test_display_name_keeps_both_ends() -> None:
    first, second = (display_name(f"American Staffordshire terrier {number}", 0) for number in (1, 2))
    assert first != second
    assert len(first) == 18
    assert display_name("short", 3) == "short"


@pytest.mark.parametrize(
    "names",
    [
        ["#1", "金魚", "鶴"],
        ["#1", "##1", "金魚"],
        ["金魚", "#0", "#1"],
        ["crow", "crow\u200b", "crow\n", "crow ", "\ncrow", "cr\x00ow", "crow\x1b[0m"],
        ["", " ", "\t"],
        [
            "American Staffordshire terrier",
            "American Staff or dshire terrier",
            "American bull terrier",
            "American…terrier",
        ],
        [f"a very long name of a class that differs in its {middle} middle, as all of these do" for middle in "abc"],
        ["é", "e\u0301", "\ue000", "#2"],
        ["\ud800", "#0"],
    ],
)
def test_display_names_never_show_one_class_as_another(names: list[str]) -> None:
    for length in (10, 18, 30):
        shown = display_names(names, length)
        assert len(set(shown)) == len(names)
        for index, text in enumerate(shown):
            assert text.isprintable()
            assert text == text.strip()
            assert text not in names or text == names[index]


def test_display_names_numbers_stand_out_from_classes_that_are_called_so() -> None:
    assert display_names(["#1", "金魚"]) == ["#1", "##1"]
    assert display_names(["crow", "金魚"]) == ["crow", "#1"]


@pytest.mark.parametrize(("n_classes", "step"), [(2, 1), (50, 1), (51, 2), (100, 2), (101, 5), (1000, 20)])
def test_tick_step_is_round(n_classes: int, step: int) -> None:
    assert tick_step(n_classes) == step


def test_pool_largest_ignores_nan_beside_numbers() -> None:
    matrix = np.full((4, 4), np.nan)
    matrix[0, 1] = 0.5
    pooled = pool_largest(matrix, 2)
    assert pooled[0, 0] == 0.5
    assert np.isnan(pooled[1, 1])
