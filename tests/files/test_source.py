import forked

from resnet_mlflow.files.source import copy_source

IMPORT_ALL = """
import importlib, pathlib, sys
for path in pathlib.Path(sys.argv[1], "resnet_mlflow").rglob("*.py"):
    name = ".".join(path.relative_to(sys.argv[1]).with_suffix("").parts).removesuffix(".__init__")
    assert importlib.import_module(name).__file__ == str(path), path
"""


def test_copy_source_takes_what_is_named_and_leaves_the_rest(tmp_path):
    package = copy_source("resnet_mlflow.serving", tmp_path)

    copied = {path.relative_to(package).as_posix() for path in package.rglob("*.py")}
    assert {"__init__.py", "serving/__init__.py", "serving/model.py", "heads/svm.py", "backbones/resnet.py"} <= copied
    assert "longtail/adjusted.py" in copied  # a text names a class in it
    rooms = {name.split("/")[0] for name in copied}
    assert not {"stages", "tracking", "tuning", "api.py", "study"} & rooms


def test_copied_source_imports_by_itself(tmp_path):
    copy_source("resnet_mlflow.serving", tmp_path)

    ran = forked.run(["-c", IMPORT_ALL, str(tmp_path)], cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
