"""The table of a classifier's worst mistakes, and its page."""

import base64
import io

import numpy as np
from PIL import Image

from resnet_mlflow.evaluation.mistakes import mistakes_page, mistakes_table, thumbnail, worst_rows
from resnet_mlflow.evaluation.scores import Evaluation, evaluate

NAMES = ["<b>crow", "owl & co"]


def evaluation() -> Evaluation:
    p = np.array([0.9, 0.4, 0.1, 0.3, 0.2])
    return evaluate([0, 0, 0, 0, 1], np.stack([p, 1 - p], axis=1), list("abcde"), NAMES)


def read_image(row: int) -> np.ndarray:
    return np.full((300, 200 + row, 3), 40 * row, dtype=np.uint8)


def test_worst_rows_are_those_whose_prediction_leads_most() -> None:
    assert worst_rows(evaluation()).tolist() == [2, 3, 1]
    assert worst_rows(evaluation(), 1).tolist() == [2]


def test_mistakes_table_tells_what_and_where() -> None:
    rows = worst_rows(evaluation())
    table = mistakes_table(evaluation(), rows, read_image, [f"x/{i}.png" for i in range(5)], ["", "", "17", "", ""])
    assert table["path"].tolist() == ["x/2.png", "x/3.png", "x/1.png"]
    assert table["group"].tolist() == ["17", "", ""]
    assert (set(table["label"]), set(table["prediction"])) == ({NAMES[0]}, {NAMES[1]})
    assert np.allclose(table["p_prediction"], [0.9, 0.7, 0.6])
    assert np.allclose(table["p_label"], [0.1, 0.3, 0.4])
    assert table["item_id"].tolist() == ["c", "d", "b"]
    page = mistakes_page("Worst <mistakes>", table, 3)
    assert "Worst &lt;mistakes&gt;" in page
    assert "<b>crow" not in page
    # What screen readers need: a main landmark, and a header of every column.
    assert page.count("<main>") == page.count("</main>") == 1
    assert '<th scope="col">image</th>' in page
    assert "<th></th>" not in page
    assert page.count("<tr>") == 4
    assert page.count("data:image/jpeg;base64,/9j/") == 3
    assert '<th scope="col">group</th>' in page
    assert "<th>file</th>" not in mistakes_page("x", table.assign(path=""), 3)


def test_thumbnail_is_small_and_keeps_proportions() -> None:
    with Image.open(io.BytesIO(base64.b64decode(thumbnail(read_image(1))))) as small:
        assert small.size == (64, 96)
    with Image.open(io.BytesIO(base64.b64decode(thumbnail(np.zeros((8, 6, 3), dtype=np.uint8))))) as grown:
        assert grown.size == (72, 96)
