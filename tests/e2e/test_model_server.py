"""A champion behind MLflow's own model server: real HTTP, good requests and bad ones, and the command line."""

import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import psutil
import pytest
from mutations import FORMATS, mutated
from PIL import Image

from resnet_mlflow.config import FitHeadConfig
from resnet_mlflow.data.digits import load_digits
from resnet_mlflow.stages.fit_head import run_fit_head
from resnet_mlflow.tracking import load_predictions

MODEL = "models:/digits-classifier@champion"
PROJECT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def serving_environment():
    # Where the model is served, nothing of the project is on the path but what the model brings.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return environment | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture(scope="module")
def champion(module_store):
    """The run whose classifier `mlflow run -e promote` made champion."""
    run_id = run_fit_head(FitHeadConfig(head="linear", weights="random")).run_id
    command = [str(BIN / "mlflow"), "run", str(PROJECT), "-e", "promote", "--env-manager", "local"]
    ran = subprocess.run(
        [*command, "-P", "dataset=digits"], capture_output=True, text=True, check=False, env=serving_environment()
    )
    assert ran.returncode == 0, ran.stderr
    assert "digits-classifier version 1 is champion" in ran.stderr
    assert "WARNING" not in ran.stderr
    return run_id


@pytest.fixture(scope="module")
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def server_process(champion, port):
    """``mlflow models serve`` with the champion, started once."""
    command = [str(BIN / "mlflow"), "models", "serve", "-m", MODEL, "--env-manager", "local", "--port", str(port)]
    with Path("serve.log").open("w") as log:
        server = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=serving_environment(), start_new_session=True
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/ping", server)
        yield server
        assert server.poll() is None, "the server outlives every request"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.fixture(scope="module")
def url(server_process, port):
    return f"http://127.0.0.1:{port}"


def wait_for(address, server):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=2).close()
            return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(Path("serve.log").read_text()[-2000:])


def post(url, body, content_type="application/json"):
    """Status and JSON body of the server's answer; bytes are sent as they are."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/invocations", content, {"Content-Type": content_type})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def digit(row):
    return Image.fromarray(load_digits().splits["test"].read_image(row))


def encode(image, kind="PNG"):
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def text(content):
    return base64.b64encode(content).decode()


def records(*contents, **params):
    body = {"dataframe_records": [{"image": text(content)} for content in contents]}
    return body | ({"params": params} if params else {})


def test_served_batch_of_64_equals_what_the_run_logged(url, champion):
    status, answer = post(url, records(*(encode(digit(row)) for row in range(64))))
    assert status == 200
    logged = load_predictions(champion)
    assert [row["label"] for row in answer["predictions"]] == logged.predictions[:64].tolist()
    scores = [[row["scores"][name] for name in logged.class_names] for row in answer["predictions"]]
    np.testing.assert_allclose(scores, logged.scores[:64], atol=0.01)


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "RGB"), ("PNG", "L"), ("JPEG", "RGB"), ("JPEG", "CMYK")])
def test_served_model_takes_every_common_kind_of_image(url, kind, mode):
    image = digit(0).convert("RGB").convert(mode).resize((80, 64))
    status, answer = post(url, records(encode(image, kind), top_k=3))
    assert status == 200
    (prediction,) = answer["predictions"]
    assert len(prediction["scores"]) == 3
    assert prediction["probability"] == max(prediction["scores"].values()) == prediction["scores"][prediction["label"]]


@pytest.mark.parametrize("key", ["inputs", "instances", "dataframe_split"])
def test_served_model_takes_every_form_of_request(url, key):
    pixels = np.array(digit(0).convert("RGB"))[None].tolist()
    as_table = {"columns": ["image"], "data": [[text(encode(digit(0)))]]}
    status, answer = post(url, {key: as_table if key == "dataframe_split" else pixels})
    assert status == 200
    assert answer["predictions"] == post(url, records(encode(digit(0))))[1]["predictions"]


def test_served_model_says_when_its_answer_is_none(url):
    status, answer = post(url, records(encode(digit(0)), encode(Image.new("L", (64, 64), 3)), encode(NOISE_64)))
    assert status == 200
    good, dark, strange = answer["predictions"]
    assert (good["answered"], good["reason"]) == (True, "")
    assert good["label"] in good["set"]
    assert (dark["answered"], dark["reason"]) == (False, "too dark")
    assert strange["answered"] is False
    assert strange["reason"] in ("unlike training images", "too dark", "too bright", "too little contrast")


def bomb():
    """A PNG of 20 000 x 20 000 pixels: 49 kB that would take 1.2 GB."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        return encode(Image.new("1", (20_000, 20_000)))
    finally:
        Image.MAX_IMAGE_PIXELS = limit


NOISE_64 = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
PNG = encode(Image.new("RGB", (100, 100)))
NOISE = encode(NOISE_64, "JPEG")


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ({"dataframe_records": [{"image": "not base64!"}]}, "row 0: an image must be base64 text"),
        ({"dataframe_records": [{"image": "/etc/passwd"}]}, "row 0: an image must be base64 text"),
        (records(PNG, b"a text, not an image"), "row 1: bytes must be an image file"),
        (records(PNG[:60]), "row 0: an image must be undamaged"),
        (records(PNG, NOISE[: len(NOISE) // 2]), "row 1: an image must be undamaged"),
        (records(bomb()), "row 0: an image must have at most 67108864 pixels"),
        ({"dataframe_records": []}, "a request must contain at least one image"),
        ({"dataframe_split": {"columns": ["image"], "data": []}}, "a request must contain at least one image"),
        ({"inputs": []}, "a request must contain at least one image"),
        ({"dataframe_records": [{"picture": text(PNG)}]}, "a table must have a column 'image'"),
        (records(PNG, top_k=-1), "top_k must be at least 0"),
    ],
    ids=["text", "path", "other", "png", "jpeg", "bomb", "records", "split", "inputs", "column", "top_k"],
)
def test_served_model_refuses_in_one_line_and_lives(url, body, line):
    status, answer = post(url, body)
    assert status == 400
    assert answer["message"].startswith(line)
    assert "\n" not in answer["message"]
    assert post(url, records(encode(digit(0))))[0] == 200


NESTED = b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
LATIN = json.dumps(records(PNG)).encode().replace(b"image", "im\xe4ge".encode("latin-1"))


@pytest.mark.parametrize(
    ("body", "content_type", "line"),
    [
        (NESTED, "application/json", "a request must not be nested"),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "application/json", "a request must not be nested"),
        (LATIN, "application/json", "a request must be UTF-8 text, got byte 0xe4 at 27"),
        (LATIN, "application/json; charset=latin-1", "a request's charset must be utf-8, got latin-1"),
        (json.dumps(records(PNG)).encode("utf-16"), "application/json; charset=utf-16", "a request's charset must be"),
        (records(PNG), "application/json; charset=no-such", "a request's charset must be utf-8, got no-such"),
        (LATIN, "text/csv", "a request must be UTF-8 text, got byte 0xe4 at 27"),
        (b"\xff\xfe no parquet", "application/vnd.apache.parquet", "Failed to parse input"),
        (records(PNG, top_k="three"), "application/json", "Invalid parameters found"),
        (records(PNG, top_k=[1, 2]), "application/json", "Invalid parameters found"),
        (records(PNG, top_k=None), "application/json", ""),
        (records(PNG) | {"params": "top_k"}, "application/json", ""),
        ({"dataframe_split": {"columns": ["image"]}}, "application/json", ""),
        ({"dataframe_records": 7}, "application/json", ""),
        ({"inputs": {"image": {"a": [1]}}}, "application/json", ""),
        (records(PNG) | {"inputs": [1]}, "application/json", ""),
        ([1, 2], "application/json", ""),
        (b"", "application/json", ""),
        (b"null", "application/json", ""),
        (b'{"inputs": NaN}', "application/json", ""),
        (b'{"inputs": [1e999]}', "application/json", ""),
        (b'{"dataframe_records": [{"image": "\\ud800"}]}', "application/json", ""),
    ],
)
def test_served_model_refuses_what_cannot_be_parsed_in_one_line(url, body, content_type, line):
    status, answer = post(url, body, content_type)
    if body == records(PNG, top_k=None) and status == 200:
        return  # MLflow takes null for the default
    assert status == 400
    assert answer["message"].startswith(line)
    assert "\n" not in answer["message"]
    assert len(answer["message"]) < 400
    assert text(PNG)[:40] not in json.dumps(answer)
    assert "Traceback" not in json.dumps(answer)


# Few, unless `make fuzz` asks for more.
N_DAMAGED = int(os.environ.get("FUZZ_REQUESTS", "200"))


@pytest.mark.slow
def test_served_model_outlives_damaged_files_of_every_format(url, server_process):
    statuses, resident = Counter(), []
    for number in range(N_DAMAGED):
        content = mutated(FORMATS[number % len(FORMATS)], seed=5, number=number)
        status, answer = post(url, records(content, PNG))
        statuses[status] += 1
        assert status in (200, 400), (number, answer)
        assert status == 200 or "\n" not in answer["message"], (number, answer)
        if number % (N_DAMAGED // 20) == 0:
            resident.append(memory_of(server_process))
    # The first tenth makes libraries load and memory pools grow.
    print(f"{N_DAMAGED} requests: {dict(statuses)}, memory in MiB {[round(used / 2**20) for used in resident]}")
    assert statuses[200] > 0 < statuses[400]
    assert post(url, records(encode(digit(0))))[0] == 200
    if N_DAMAGED >= 1000:
        assert resident[-1] < 1.05 * resident[2]


def memory_of(process):
    """Resident memory of a process and all it started, in bytes."""
    parent = psutil.Process(process.pid)
    return sum(each.memory_info().rss for each in [parent, *parent.children(recursive=True)])


def test_mlflow_models_predict_answers_a_csv_by_the_source_that_the_model_brings(champion, tmp_path):
    rows = [text(encode(digit(row))) for row in range(3)]
    pd.DataFrame({"image": rows}).to_csv(tmp_path / "images.csv", index=False)
    command = ["mlflow", "models", "predict", "-m", MODEL, "-i", "images.csv", "-t", "csv", "-o", "answers.json"]
    ran = subprocess.run(
        [str(BIN / command[0]), *command[1:], "--env-manager", "local"],
        capture_output=True,
        text=True,
        check=False,
        env=serving_environment() | {"PYTHONVERBOSE": "1"},  # tells every import
        cwd=tmp_path,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert "/artifacts/code/resnet_mlflow/serving/model.py" in ran.stderr
    assert f"{PROJECT}/resnet_mlflow/" not in ran.stderr
    for unneeded in ("matplotlib", "lightning_fabric", "optuna", "captum", "imblearn", "plotly"):
        assert f"import '{unneeded}'" not in ran.stderr, "requirements.txt does not name it"
    answers = json.loads((tmp_path / "answers.json").read_text())["predictions"]
    assert [row["label"] for row in answers] == load_predictions(champion).predictions[:3].tolist()


def test_mlflow_registry_knows_the_champion(champion):
    version = mlflow.MlflowClient().get_model_version_by_alias("digits-classifier", "champion")
    assert version.tags["run_id"] == champion
