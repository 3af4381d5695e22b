"""CONTRIBUTING's recipes for a head, a backbone and a kind of dataset, followed to the letter in a copy of the project.

A row is written into its registry and, where the recipe says so, one file beside the others; nothing else is touched.
"""

import shutil
from pathlib import Path

import forked
import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml

from resnet_mlflow.backbones.complexity import backbone_complexity

PROJECT = Path(__file__).parents[2]
HERE = Path(__file__).parent
PARTS = (
    *("resnet_mlflow", "entrypoints", "analysis", "studies", "tests", "docs"),
    *("pyproject.toml", "README.md", "ARCHITECTURE.md", "MLproject", "search_spaces.yaml"),
)

RIDGE = '    Head("ridge", "resnet_mlflow.heads.ridge:RidgeHead"),\n'
RESNEXT = """\
    Backbone(
        "resnext50_32x4d_again",
        (3, 4, 6, 3),
        bottleneck=True,
        groups=32,
        width_per_group=4,
        weights_class="ResNeXt50_32X4D_Weights",
        weights={"IMAGENET1K_V1": "resnext50_32x4d-7cdf4587.pth"},
    ),
"""
NPZ = '    DatasetKind("npz", "resnet_mlflow.data.npz:load_npz", place="FILE"),\n'

STUDY = {
    "name": "one",
    "seeds": [0],
    "backbones": ["resnet18"],
    "heads": {"ridge": {"alpha": 2}, "prototype": None},
    "tuning": {"ridge": {"n_trials": 2}},
    "few_shot": {"heads": ["ridge"], "shots": [4], "samples": 1},
    "longtail": {"factor20": {"head": "ridge", "imbalance_factor": 20, "methods": "all"}},
    "robustness": {"one": {"corruptions": "contrast", "severities": "3"}},
}

pytestmark = pytest.mark.slow


class House:
    """A copy of the project, with the test's tracking store."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for part in PARTS:
            source = PROJECT / part
            if source.is_dir():
                shutil.copytree(source, root / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copyfile(source, root / part)

    def add_row(self, registry: str, what: str, row: str) -> None:
        path = self.root / "resnet_mlflow" / "registry" / f"{registry}.py"
        start = f'(\n    "{what}",\n'
        before, after = path.read_text().split(start)
        path.write_text(before + start + row + after)

    def add_file(self, source: str, room: str) -> None:
        shutil.copyfile(HERE / source, self.root / "resnet_mlflow" / room / source)

    def run(self, module: str, *arguments: str, returncode: int = 0) -> str:
        # pytest rewrites plugins while it imports them, for which they must be new.
        run = forked.run if module != "pytest" else forked.run_apart
        ran = run(["-m", module, *arguments], cwd=self.root)
        assert ran.returncode == returncode, ran.stderr[-3000:] + ran.stdout[-1000:]
        return ran.stdout + ran.stderr


@pytest.fixture
def house(tmp_path: Path, store: str) -> House:
    return House(tmp_path / "house")


def runs(**tags: str) -> pd.DataFrame:
    found = mlflow.search_runs(search_all_experiments=True)
    for name, value in tags.items():
        found = found[found[f"tags.{name}"] == value]
    return found


def test_a_head_is_one_file_and_one_row(house):
    house.add_file("ridge.py", "heads")
    house.add_row("heads", "head", RIDGE)

    assert "One of ridge, svm" in house.run("entrypoints.fit_head", "--help").replace("\n", " ").replace("  ", "")
    assert "valid parameters: preprocessing" in house.run(
        "entrypoints.fit_head", "--head", "ridge", "--head_params", "{alhpa: 3}", returncode=2
    )
    (house.root / "one.yaml").write_text(yaml.safe_dump(STUDY))
    printed = house.run("entrypoints.main", "--study", "one.yaml")
    assert "| ridge tuned " in printed
    assert "| ridge  " in (house.root / "report" / "report.md").read_text()

    fitted = runs(stage="fit_head", head="ridge")
    assert len(fitted) == 3
    assert fitted["metrics.test/accuracy"].min() > 0.5
    methods = runs(stage="longtail", head="ridge")["tags.method"]
    assert {"none", "reweight_inverse", "oversample", "logit_adjust_posthoc"} <= set(methods)
    assert "ridge" in set(runs(stage="robustness")["tags.head"])
    house.run("entrypoints.promote", "--run_id", fitted["run_id"].iloc[0], "--model_name", "ridge")

    house.run("resnet_mlflow.project_file")
    assert "ridge:\n  preprocessing" in (house.root / "search_spaces.yaml").read_text()
    assert "`ridge`, `svm`" in (house.root / "docs" / "parameters.md").read_text()
    checked = house.run("pytest", "-q", "-p", "no:cacheprovider", "tests/heads", "tests/tuning", "-k", "ridge or Ridge")
    assert " passed" in checked


def test_a_backbone_is_one_row(house):
    house.add_row("backbones", "backbone", RESNEXT)
    backbone = ("--backbone", "resnext50_32x4d_again", "--weights", "random")

    house.run("entrypoints.extract", *backbone)
    house.run("entrypoints.fit_head", *backbone, "--head", "linear")
    house.run("entrypoints.finetune", *backbone, "--train_layers", "fc", "--epochs", "1")
    assert "resnext50_32x4d-7cdf4587.pth" in house.run(
        "entrypoints.extract", *backbone[:2], "--weights", "imagenet", returncode=2
    )

    (fitted,) = runs(stage="fit_head").to_dict("records")
    assert fitted["tags.backbone"] == "resnext50_32x4d_again"
    assert fitted["metrics.test/accuracy"] > 0.5
    table = house.run("analysis", "table", "cost", "--experiment", "resnet-mlflow")
    assert f"{backbone_complexity('resnet50', 32).macs / 1e9:.4g}" not in table
    assert "resnext50_32x4d_again" in table


def test_a_kind_of_dataset_is_one_file_and_one_row(house, tmp_path):
    house.add_file("npz.py", "data")
    house.add_row("datasets", "dataset", NPZ)
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    images = rng.integers(0, 80, (60, 16, 16, 3), dtype=np.uint8)
    images[np.arange(60), :, :, labels] += 150
    np.savez(tmp_path / "colours.npz", images=images, labels=labels)

    assert "npz:FILE" in house.run("entrypoints.fit_head", "--help")
    house.run("entrypoints.fit_head", "--head", "prototype", "--dataset", f"npz:{tmp_path / 'colours.npz'}")
    house.run("entrypoints.fit_head", "--dataset", "nzp:x", returncode=2)

    (fitted,) = runs(stage="fit_head").to_dict("records")
    assert fitted["metrics.test/accuracy"] == 1.0
