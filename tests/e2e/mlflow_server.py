"""A real MLflow server for tests, on loopback and a free port."""

import os
import signal
import socket
import subprocess
import time
import urllib.request

import forked


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_server(folder, port, *options, store="", artifacts="", **environment):
    """Start a server; its store and artifacts lie in the folder where no others are named."""
    others = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    # Seven processes that wait for jobs of MLflow's own, which take longer to start than the server.
    others["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    process = subprocess.Popen(
        [
            *(forked.python(), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
            *("--backend-store-uri", store or f"sqlite:///{folder / 'mlflow.db'}"),
            *("--artifacts-destination", artifacts or str(folder / "artifacts"), "--workers", "1", *options),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=others | environment,
    )
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
            return process
        except OSError:
            time.sleep(0.3)
    stop_server(process)
    raise TimeoutError("the MLflow server did not start")


def stop_server(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
