"""A classifier packaged, loaded and served over HTTP, compared with the same classifier called in-process."""

import base64
import contextlib
import io
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from benchmarks.harness import Row, alternate, limit_row, rate, ratio_row, seconds
from benchmarks.images import make_photos
from resnet_mlflow.config import FitHeadConfig, PromoteConfig
from resnet_mlflow.stages.fit_head import run_fit_head
from resnet_mlflow.stages.promote import run_promote
from resnet_mlflow.tracking import load_served

BATCH = 64
STARTS_WITHIN_S = 120


def serving(folder: Path, quick: bool) -> list[Row]:
    """Return times for packaging, loading, a batch and a single image, with resnet18 on photos at 224 px."""
    dataset = f"folder:{make_photos(folder / 'photos', 80 if quick else 160)}"
    names = [f"classifier-{turn}" for turn in range(1 if quick else 3)]
    run_fit_head(FitHeadConfig(dataset=dataset, head="linear", weights="random"))
    packaging = [seconds(partial(run_promote, PromoteConfig(dataset=dataset, model_name=name))) for name in names]
    uri = f"models:/{names[0]}@champion"
    loading = [seconds(partial(load_served, uri)) for _ in range(3 if quick else 5)]
    files = [path.read_bytes() for path in sorted((folder / "photos").rglob("*.jpg"))[:BATCH]]
    with served(uri) as post:
        return [
            limit_row("`promote` with packaging and its check, resnet18", 10.0, packaging, unit="s"),
            limit_row("loading a packaged resnet18", 3.0, loading, unit="s"),
            _batch(load_served(uri).get_raw_model(), files, post, 3 if quick else 9),
            _single(load_served(uri).get_raw_model(), files, post, 10 if quick else 100),
        ]


def _batch(classifier: Any, files: list[bytes], post: Callable[[bytes], Any], turns: int) -> Row:
    body = request(files)
    taken = alternate(lambda: post(body), lambda: classifier.predict_proba(files), turns)
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files])
    decoded = rate(statistics.median(seconds(lambda: classifier.predict_proba(pixels)) for _ in range(3)), len(files))
    return ratio_row(
        f"{len(files)} photos of 500 x 375 served over HTTP, over the same files in-process",
        0.9,
        *taken,
        n_items=len(files),
        names=("HTTP, base64 of JPEG files", f"in the same process ({decoded} where they are decoded before)"),
    )


def _single(classifier: Any, files: list[bytes], post: Callable[[bytes], Any], turns: int) -> Row:
    """Return the latency of one photo; the HTTP share is the difference from the same call in-process."""
    body = request(files[:1])
    ours, peer = alternate(lambda: post(body), lambda: classifier.predict_proba(files[:1]), turns)
    share = 1 - statistics.median(peer) / statistics.median(ours)
    latencies_ms = [1000 * taken for taken in ours]
    return limit_row(
        "one photo served over HTTP",
        100.0,
        latencies_ms,
        unit="ms",
        ours=f"HTTP takes {share:.0%} of it",
        peer=f"{1000 * statistics.median(peer):.3g} ms in the same process",
    )


def request(files: list[bytes]) -> bytes:
    """Return the body of a request with image files."""
    rows = [{"image": base64.b64encode(file).decode()} for file in files]
    return json.dumps({"dataframe_records": rows, "params": {"top_k": 1}}).encode()


@contextlib.contextmanager
def served(uri: str) -> Iterator[Callable[[bytes], Any]]:
    """Yield a function that posts a body to ``mlflow models serve`` and returns the predictions; stop it afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
    port = address.rsplit(":", 1)[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", uri, "--env-manager", "local", "--port", port]
    # MLflow starts scripts such as uvicorn, which are next to this python.
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with tempfile.TemporaryFile("w+") as output:
        server = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        try:
            if not _answers(f"{address}/ping", server):
                output.seek(0)
                raise RuntimeError(f"{' '.join(command)} failed: {output.read()[-2000:]}")
            yield partial(_post, f"{address}/invocations")
            # Each process ends before its parent, so that their processor time counts as this benchmark's own.
            for process in reversed(psutil.Process(server.pid).children(recursive=True)):
                process.terminate()
            server.wait(STARTS_WITHIN_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _answers(address: str, server: "subprocess.Popen[bytes]") -> bool:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(address, timeout=2).close()
            return True
        time.sleep(0.2)
    return False


def _post(address: str, body: bytes) -> Any:
    call = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(call, timeout=300) as answer:
        return json.load(answer)["predictions"]
