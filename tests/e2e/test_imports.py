"""What a command does not import: modules that take seconds and that it has no use for."""

import subprocess
import sys

import pytest

from resnet_mlflow.config import ENTRY_POINTS

# scikit-learn's tests come with skops' walk through its modules.
SCRIPT = """
import runpy, sys
name, heavy = sys.argv[1], sys.argv[2].split(",")
sys.argv = [name, *sys.argv[3:]]
try:
    runpy.run_module(f"entrypoints.{name}", run_name="__main__", alter_sys=True)
except SystemExit as exit:
    assert not exit.code, exit.code
never = ("torch._dynamo", "sympy", "_pytest", "sklearn.gaussian_process", "sklearn.tests")
print(*sorted({*heavy, *never} & set(sys.modules)))
"""
COMPILE = """
import torch
print(torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)).item(), "torch._dynamo" in sys.modules)
"""
REPORTER = """
import sys
from resnet_mlflow.process import claim
claim()
__import__(sys.argv[1])
"""
SMALL = ("--image_size", "16", "--weights", "random", "--precision", "fp32")


def run(script, name, heavy, *arguments):
    command = [sys.executable, "-c", script, name, heavy, *SMALL, *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split()


@pytest.mark.slow
def test_commands_import_only_what_they_use(store):
    # Networks are compiled on GPUs, after imports that went without the compiler.
    assert run(SCRIPT + COMPILE, "extract", "torchvision,skops") == ["2.0", "True"]
    assert run(SCRIPT, "fit_head", "torch,torchvision", "--head", "linear") == []
    policies = ("--train_layers", "layer4", "--epochs", "1", "--augmentation", "rand")
    assert run(SCRIPT, "finetune", "torchvision", *policies) == ["torchvision"]


# Before the first image or fit: scikit-learn and scipy.stats take 1.4 s, torchvision and torch's compiler 2.6 s.
SLOW = {
    "main": ("torch",),
    "extract": ("torch", "sklearn", "scipy.stats"),
    "audit": ("torch", "sklearn", "scipy.stats"),
    "fit_head": ("torch",),
    "finetune": ("sklearn", "scipy.stats"),
    "longtail": ("torch",),
    "promote": (),
    "predict": (),
    "robustness": (),
    "export": (),
    "monitor": (),
}
STAGE = """
import atexit, gc, os, sys
from resnet_mlflow.process import claim
# Called last. A search for garbage at the exit takes 0.7 s.
atexit.register(lambda: gc.get_freeze_count() or os._exit(1))
claim()
__import__("resnet_mlflow.stages." + sys.argv[1])
# With Python's own threshold it is 750 for finetune, and a sixth of the time.
assert gc.get_stats()[0]["collections"] < 300, gc.get_stats()
print(*sorted(set(sys.argv[2].split(",")) & set(sys.modules)))
"""


@pytest.mark.parametrize("stage", [name for name in ENTRY_POINTS if name != "compare"])
def test_stages_import_only_what_their_first_image_or_fit_needs(stage):
    never = (*SLOW[stage], "torch._dynamo", "torchvision", "optuna", "matplotlib", "captum", "dask", "skops")
    command = [sys.executable, "-c", STAGE, stage, ",".join(never)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (ran.returncode, ran.stdout.split()) == (0, []), ran.stderr


@pytest.mark.parametrize("library", ["onnx.onnx_cpp2py_export", "triton._C.libtriton"])
def test_libraries_have_nothing_to_say_about_the_exit(library):
    pytest.importorskip(library.split(".")[0])
    command = [sys.executable, "-c", REPORTER, library]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
