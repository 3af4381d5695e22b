"""What a command does not import: modules that take seconds and that it has no use for."""

import subprocess
import sys

# torch is needed to extract features, not to fit heads on stored ones; scikit-learn's tests come with skops' walk.
SCRIPT = """
import runpy, sys
sys.argv = ["fit_head", *sys.argv[1:]]
try:
    runpy.run_module("entrypoints.fit_head", run_name="__main__", alter_sys=True)
except SystemExit as exit:
    assert not exit.code, exit.code
print(*sorted({"torch", "torchvision", "_pytest", "sklearn.gaussian_process", "sklearn.tests"} & set(sys.modules)))
"""


def test_fit_head_on_stored_features_imports_neither_torch_nor_all_of_scikit_learn(run_module):
    small = ("--image_size", "16", "--weights", "random", "--precision", "fp32", "--head")
    assert run_module("fit_head", *small, "knn").returncode == 0
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, *small, "linear"], capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == ""
