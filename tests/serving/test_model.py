"""What a request may hold: everything else is refused in one line, before an image is decoded."""

import base64
import io
import json
import zlib

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from resnet_mlflow.errors import InputError
from resnet_mlflow.serving.classifier import unconditional
from resnet_mlflow.serving.model import RequestError, ServedClassifier, read_images


def encode(width=4, height=3, kind="PNG", mode="RGB"):
    file = io.BytesIO()
    Image.new(mode, (width, height)).save(file, kind)
    return file.getvalue()


def text(content):
    return base64.b64encode(content).decode()


PNG = encode()
PIXELS = np.zeros((2, 3, 4, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "model_input",
    [
        pd.DataFrame({"image": [text(PNG), PNG]}),
        pd.DataFrame({"image": [text(PNG), PNG], "id": [1, 2]}, index=[7, 3]),
        pd.DataFrame({"image": [base64.encodebytes(PNG).decode(), PNG]}),
        {"image": [text(PNG), PNG]},
        {"image": np.array([text(PNG), text(PNG)])},
        [{"image": text(PNG)}, {"image": np.array(text(PNG))}],
        [text(PNG), text(PNG)],
        np.array([text(PNG), text(PNG)]),
    ],
    ids=["table", "index", "lines", "mapping", "array", "records", "list", "texts"],
)
def test_read_images_takes_files_as_text_and_bytes(model_input):
    assert list(read_images(model_input)) == [PNG, PNG]


@pytest.mark.parametrize("model_input", [PIXELS, PIXELS.astype(np.int64), PIXELS.tolist(), {"image": PIXELS}])
def test_read_images_takes_pixels(model_input):
    images = read_images(model_input)
    assert images.dtype == np.uint8
    assert images.shape == (2, 3, 4, 3)


@pytest.mark.parametrize(
    ("model_input", "line"),
    [
        (pd.DataFrame({"image": []}), "a request must contain at least one image, got none"),
        (pd.DataFrame(), "a request must contain at least one image, got none"),
        ([], "a request must contain at least one image, got none"),
        (pd.DataFrame({"picture": [PNG]}), r"a table must have a column 'image', got \['picture'\]"),
        (pd.DataFrame({"image": [PNG, "/etc/passwd"]}), "row 1: an image must be base64 text, got '/etc/passwd'"),
        (
            pd.DataFrame({"image": ["http://host/a.png"]}),
            "row 0: an image must be base64 text, got 'http://host/a.png'",
        ),
        (pd.DataFrame({"image": [b"hello"]}), r"row 0: bytes must be an image file \(JPEG, PNG, ...\), got 5"),
        (pd.DataFrame({"image": [None]}), "row 0: an image must be base64 text or bytes, got NoneType"),
        (pd.DataFrame({"image": [PNG[:20]]}), "row 0: an image must be undamaged"),
        (pd.DataFrame({"image": [encode(8193, 8193, mode="1")]}), "at most 67108864 pixels, got 8193 x 8193"),
        (np.zeros((3, 4, 3), dtype=np.uint8), r"pixels must be \(n_images, height, width, 3\), got shape \(3, 4, 3\)"),
        (PIXELS[..., :1], r"got shape \(2, 3, 4, 1\)"),
        (PIXELS / 255, "pixels must be whole numbers from 0 to 255, got float64"),
        (PIXELS.astype(np.int64) - 1, "pixels must be whole numbers from 0 to 255, got int64"),
        (3, "a request must be a table or uint8 pixels, got int"),
    ],
)
def test_read_images_refuses_in_one_line(model_input, line):
    with pytest.raises(InputError, match=line) as refused:
        read_images(model_input)
    assert "\n" not in str(refused.value)


def test_read_images_refuses_a_bomb_by_its_header():
    # 20000 x 20000 in the header and no pixels after it: whoever decoded it would say that it is truncated.
    header = bytearray(encode(1, 1, mode="L"))
    header[16:24] = (20_000).to_bytes(4, "big") * 2
    header[29:33] = zlib.crc32(header[12:29]).to_bytes(4, "big")
    with pytest.raises(InputError, match=r"at most 67108864 pixels, got 20000 x 20000; shrink it"):
        read_images([bytes(header)])


class TwoClasses:
    """Answers with the scores it is given."""

    class_names = ("cat", "dog")

    def __init__(self, scores):
        self.scores = np.array(scores)

    def iterate(self, images, **_):
        yield np.arange(len(images)), unconditional(self.scores)


def test_predict_orders_scores_and_lets_the_first_of_equal_classes_win():
    answer = ServedClassifier(TwoClasses([[0.25, 0.75], [0.5, 0.5]])).predict(PIXELS)
    assert answer.to_dict("records") == [
        {"label": "dog", "probability": 0.75, "scores": {"dog": 0.75, "cat": 0.25}},
        {"label": "cat", "probability": 0.5, "scores": {"cat": 0.5, "dog": 0.5}},
    ]


@pytest.mark.parametrize(("top_k", "n_scores"), [(0, 2), (1, 1), (2, 2), (9, 2)])
def test_predict_gives_as_many_scores_as_asked_for(top_k, n_scores):
    answer = ServedClassifier(TwoClasses([[0.25, 0.75]])).predict(PIXELS[:1], {"top_k": top_k})
    assert len(answer["scores"][0]) == n_scores


def test_predict_refuses_with_a_line_that_the_server_cannot_lengthen():
    with pytest.raises(RequestError, match="top_k must be at least 0") as refused:
        ServedClassifier(TwoClasses([[0.25, 0.75]])).predict(PIXELS[:1], {"top_k": -1})
    refused.value.message = f"Failed to predict data ...\n{refused.value.message}"  # as the scoring server does
    assert refused.value.get_http_status_code() == 400
    assert json.loads(refused.value.serialize_as_json())["message"].startswith("top_k must be at least 0")
