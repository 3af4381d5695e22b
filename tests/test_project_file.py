import os
import subprocess
import tomllib
from pathlib import Path

import yaml
from mlflow.projects import utils

from resnet_mlflow.config import ENTRY_POINTS
from resnet_mlflow.project_file import (
    render_project_file,
    render_search_spaces,
    with_decisions,
    with_layers,
    with_parameters,
)

PROJECT = Path(__file__).parents[1]


def test_project_file_equals_what_the_configuration_says():
    assert (PROJECT / "MLproject").read_text() == render_project_file(), "run `make mlproject`"


def test_project_file_is_read_by_mlflow_with_every_default_valid():
    project = utils.load_project(str(PROJECT))
    for name, config_class in ENTRY_POINTS.items():
        parameters = project.get_entry_point(name).parameters
        assert set(parameters) == set(config_class.model_fields)
        assert config_class(**{key: parameter.default for key, parameter in parameters.items()}) == config_class()


def test_entry_points_have_a_script_of_their_name():
    scripts = {path.stem for path in (PROJECT / "entrypoints").glob("*.py")} - {"__init__", "__main__"}
    assert scripts == set(ENTRY_POINTS)


def test_conda_environment_equals_project_dependencies():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    conda = yaml.safe_load((PROJECT / "conda.yaml").read_text())["dependencies"]
    assert conda[-1]["pip"] == project["dependencies"]


def test_constraints_name_no_host():
    assert "://" not in (PROJECT / "constraints.txt").read_text()


def test_page_of_parameters_is_as_the_configuration_says():
    page = (PROJECT / "docs" / "parameters.md").read_text()
    assert page == with_parameters(page), "run `make mlproject`"


def test_search_spaces_file_equals_what_the_heads_say():
    assert (PROJECT / "search_spaces.yaml").read_text() == render_search_spaces(), "run `make mlproject`"


def test_architecture_shows_the_layers_as_the_contract_has_them():
    page = (PROJECT / "ARCHITECTURE.md").read_text()
    assert page == with_layers(page, PROJECT), "run `make mlproject`"


def test_list_of_decisions_has_every_page():
    folder = PROJECT / "docs" / "decisions"
    page = (folder / "README.md").read_text()
    assert page == with_decisions(page, folder), "run `make mlproject`"


def test_every_command_of_docs_and_studies_names_the_environment():
    pages = [PROJECT / "README.md", *(PROJECT / "docs").rglob("*.md"), *(PROJECT / "studies").glob("*.yaml")]
    commands = [line for page in pages for line in page.read_text().splitlines() if "mlflow run . -" in line]
    assert commands
    # Without it MLflow looks for conda.
    assert [line for line in commands if "--env-manager" not in line] == []


def test_clean_store_deletes_what_was_made_here_and_only_when_confirmed(tmp_path):
    kept = [tmp_path / name for name in ("photos", "Makefile", "notes.md")]
    made = [tmp_path / name for name in ("mlflow.db", "mlruns", "report", "cache")]
    for path in (*kept, *made):
        path.mkdir()

    def clean(*confirmed, **more):
        environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"} | more
        environment["RESNET_MLFLOW_CACHE"] = str(tmp_path / "cache")
        command = ["make", "-f", str(PROJECT / "Makefile"), "clean-store", *confirmed]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert "would delete mlflow.db" in clean().stdout
    assert "must not be set" in clean("CONFIRM=yes", MLFLOW_TRACKING_URI="sqlite:///team.db").stdout
    assert all(path.exists() for path in (*kept, *made))
    assert clean("CONFIRM=yes").returncode == 0
    assert [path.exists() for path in made] == [False] * 4
    assert all(path.exists() for path in kept)
