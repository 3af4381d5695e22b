"""Python commands in processes of their own, forked from one that has imported the libraries they need.

A command starts within 0.1 s instead of 4 s, nearly all of which goes into importing MLflow, torch and scikit-learn.
Everything else is as for ``subprocess``: the project's modules are imported anew, from the working folder or
``PYTHONPATH``, with arguments, environment and streams of its own. Run as a script, this is the process that forks.
"""

import atexit
import contextlib
import fcntl
import gc
import importlib
import json
import multiprocessing
import os
import random
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from functools import cache
from pathlib import Path

LIBRARIES = (
    *("mlflow", "mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store"),
    *("mlflow.pyfunc", "torch", "pandas", "pyarrow.parquet", "scipy.stats", "scipy.optimize", "optuna", "yaml"),
    *("sklearn.linear_model", "sklearn.neighbors", "sklearn.svm", "sklearn.model_selection", "sklearn.preprocessing"),
    *("sklearn.metrics", "sklearn.datasets", "alembic.command", "sqlalchemy.orm", "pydantic", "PIL.Image", "psutil"),
    *("matplotlib.figure", "matplotlib.backends.backend_agg", "IPython", "simplejpeg", "threadpoolctl", "tqdm"),
    *("skops.io", "mlflow.cli", "mlflow.sklearn", "mlflow.models", "safetensors.torch", "filelock", "lightning_fabric"),
)
# Those that are not everywhere, or that few commands need.
FURTHER = (
    "graphene",
    "docker",
    "git",
    "psycopg",
    "distributed",
    "uvicorn.logging",
    "nbformat",
    "torch.distributed.run",
)
# Of the environment: the address of one that others have started.
SHARED = "TESTS_FORKED_BY"
TEXT = {"encoding": "utf-8", "errors": "replace"}


# Stands for ``python`` where somebody else starts it, such as ``mlflow run``: the command is forked, with the same
# descriptors; signals are passed on, and when this one is killed it is, too.
SHIM = """#!{python} -IS
import json, os, signal, socket, sys
arguments = sys.argv[1:]
while arguments and arguments[0] in ("-u", "-B"):
    del arguments[0]
if not arguments or arguments[0].startswith("-") and arguments[0] not in ("-m", "-c"):
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
listed = [int(one) for one in os.listdir("/proc/self/fd")]
numbers = [number for number in listed if os.path.exists(f"/proc/self/fd/{{number}}")]
connection = socket.socket(socket.AF_UNIX)
connection.connect({address!r})
request = dict(arguments=arguments, cwd=os.getcwd(), env=dict(os.environ), numbers=numbers, bound=True)
content = json.dumps(request).encode()
socket.send_fds(connection, [b"%08d" % len(content)], numbers)
connection.sendall(content)
answers = connection.makefile("r")
child = int(answers.readline())
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
    signal.signal(number, lambda received, frame: os.kill(child, received))
for number in numbers:
    if number != 2:
        os.close(number)
code = int(answers.readline())
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


class Process:
    """A command that runs; a part of ``subprocess.Popen``, with text streams."""

    def __init__(self, arguments, *, cwd=None, env=None, stdout=None, stderr=subprocess.PIPE):
        self.args, self.returncode = list(arguments), None
        environment = dict(os.environ if env is None else env)
        message = {"arguments": self.args, "cwd": str(cwd or Path.cwd()), "env": environment}
        message |= {"numbers": [1, 2], "bound": False}
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(_server())
        self.stdout, out = _stream(stdout)
        self.stderr, err = _stream(stderr)
        content = json.dumps(message).encode()
        socket.send_fds(self._connection, [b"%08d" % len(content)], [out, err])
        self._connection.sendall(content)
        os.close(out)
        os.close(err)
        self._answers = self._connection.makefile("r")
        self.pid = int(self._answers.readline())

    def poll(self):
        """Return the exit status, None while it runs."""
        if self.returncode is None and select.select([self._connection], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout=None):
        """Return the exit status once it has ended."""
        if self.returncode is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout)
            self.returncode = int(self._answers.readline())
            self._answers.close()
            self._connection.close()
        return self.returncode

    def send_signal(self, number):
        """Send a signal, where it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self):
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self):
        """End it."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout=None):
        """Return what it wrote, once it has ended."""
        found = {}

        def read(name):
            stream = getattr(self, name)
            found[name] = None if stream is None else stream.read()

        threads = [threading.Thread(target=read, args=(name,), daemon=True) for name in ("stdout", "stderr")]
        for thread in threads:
            thread.start()
        self.wait(timeout)
        for thread in threads:
            thread.join(timeout)
            if thread.is_alive():  # something that it started has the stream still
                raise subprocess.TimeoutExpired(self.args, timeout)
        for stream in filter(None, (self.stdout, self.stderr)):
            stream.close()
        return found["stdout"], found["stderr"]


def run(arguments, *, cwd=None, env=None, timeout=300):
    """Run ``python`` with arguments to its end, as ``subprocess.run`` with captured text does."""
    process = Process(arguments, cwd=cwd, env=env, stdout=subprocess.PIPE)
    try:
        stdout, stderr = process.communicate(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return subprocess.CompletedProcess(["python", *arguments], process.returncode, stdout, stderr)


def python():
    """Return the path of a ``python`` that is forked, for others to start."""
    return Path(_server()).with_name("bin") / "python"


def run_apart(arguments, *, cwd=None, env=None, timeout=300):
    """Run ``python`` with arguments in a process that has imported nothing."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=env, timeout=timeout)


def _stream(kind):
    """Return the end of a stream to read here, if any, and the descriptor for the command."""
    if kind != subprocess.PIPE:
        return None, os.open(os.devnull, os.O_WRONLY)
    mine, theirs = os.pipe()
    return os.fdopen(mine, "r", **TEXT), theirs


def serve_all():
    """Start the process that forks for all processes of a test run, which this one is to start."""
    _, address = _start()
    os.environ[SHARED] = address


@cache
def _server():
    """Return the address of the process that forks."""
    if SHARED in os.environ:
        address = os.environ[SHARED]
        while not Path(address).exists():
            time.sleep(0.05)
        return address
    process, address = _start()
    assert process.stdout.readline() == b"ready\n"
    return address


def _start():
    """Start the process that forks; it ends with this one, which holds its standard input."""
    folder = tempfile.mkdtemp()
    address = str(Path(folder) / "s")
    command = [sys.executable, __file__, address]
    (Path(folder) / "bin").mkdir()
    shim = Path(folder) / "bin" / "python"
    shim.write_text(SHIM.format(python=sys.executable, address=address))
    shim.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=folder)
    atexit.register(_end, process, folder)
    return process, address


def _end(process, folder):
    process.stdin.close()
    process.wait(60)
    shutil.rmtree(folder)


def serve(address):
    """Fork a process for every command that comes in, until standard input ends."""
    sys.path.pop(0)  # the folder of tests, where modules have names of libraries
    for name in LIBRARIES:
        importlib.import_module(name)
    for name in FURTHER:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    # MLflow looks once a process which packages are there.
    importlib.import_module("mlflow.utils.requirements_utils")._init_modules_to_packages_map()
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX)
    # There once it can be connected to.
    listener.bind(f"{address}.new")
    listener.listen(64)
    Path(f"{address}.new").rename(address)
    # Those that watch commands are nobody's to wait for.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("ready", flush=True)
    while True:
        readable, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in readable:
            os._exit(0)
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _watch(connection)
        connection.close()


def _watch(connection):
    """Fork a command and tell its number, then how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, streams, _, _ = socket.recv_fds(connection, 8, 250)
    content = b""
    while len(content) < int(length):
        content += connection.recv(1 << 16)
    message = json.loads(content)
    child = os.fork()
    if child == 0:
        if message["bound"]:
            os.setpgid(0, 0)
        connection.close()
        _become(message, streams)
    for stream in streams:
        os.close(stream)
    # The pipes of the process that forks are not for those that outlive it.
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    connection.sendall(f"{child}\n".encode())
    if message["bound"]:
        ended = os.pidfd_open(child)
        if ended not in select.select([ended, connection], [], [])[0]:
            # Who started it was killed, and so would its group have been.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(OSError):  # nobody waits
        connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _become(message, streams):
    """Do what ``python`` does with such arguments, and end."""
    code = 1
    try:
        _take_over(message["numbers"], streams)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(message["cwd"])
        os.environ.clear()
        os.environ.update(message["env"])
        # What a process draws or looks up once.
        tempfile.tempdir = None
        random.seed()
        sys.modules["numpy"].random.seed()
        # What it starts by this name is forked, too.
        sys.executable = str(Path(sys.argv[1]).with_name("bin") / "python")
        multiprocessing.set_executable(sys.executable)
        code = _run(message["arguments"])
    except SystemExit as error:
        code = _exit_code(error)
    except BaseException:
        traceback.print_exc()
    finally:
        threading._shutdown()
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # one that nobody reads, or that was closed
                stream.flush()
        os._exit(code)


def _take_over(numbers, streams):
    """Let what was received be the descriptors of these numbers; without a first one there is nothing to read."""
    aside = [fcntl.fcntl(stream, fcntl.F_DUPFD, 300) for stream in streams]
    for stream in streams:
        os.close(stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, stream in zip(numbers, aside, strict=True):
        os.dup2(stream, number)
        os.close(stream)


def _run(arguments):
    kind, program, *rest = arguments if arguments[0].startswith("-") else ("script", *arguments)
    first = {"-c": "", "-m": str(Path.cwd()), "script": str(Path(program).parent)}[kind]
    sys.path[:0] = [first, *filter(None, os.environ.get("PYTHONPATH", "").split(":"))]
    if kind == "-m":
        sys.argv = [program, *rest]
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv = ["-c", *rest]
        main = type(sys)("__main__")
        sys.modules["__main__"] = main
        exec(compile(program, "<string>", "exec"), main.__dict__)
    else:
        sys.argv = [program, *rest]
        runpy.run_path(program, run_name="__main__")
    return 0


def _exit_code(error):
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    print(error.code, file=sys.stderr)
    return 1


if __name__ == "__main__":
    serve(sys.argv[1])
