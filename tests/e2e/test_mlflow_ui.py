"""The runs in MLflow's own pages, in a real browser: they must be found, compared and understood there."""

import shutil

import mlflow
import pytest
from mlflow_server import free_port, start_server, stop_server

browser_module = pytest.importorskip("browser", reason="needs selenium")
pytestmark = pytest.mark.skipif(
    not browser_module.AVAILABLE, reason=f"needs {browser_module.CHROMIUM} and {browser_module.DRIVER}"
)
RUN_LINKS = "a[href*='/runs/']"


@pytest.fixture(scope="module")
def ui(demo_store, tmp_path_factory):
    """The address of a server on the demo's runs."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copyfile(demo_store.removeprefix("sqlite:///"), folder / "mlflow.db")
    port = free_port()
    server = start_server(folder, port)
    yield f"http://127.0.0.1:{port}"
    stop_server(server)


@pytest.fixture(scope="module")
def browser(ui, tmp_path_factory):
    opened = browser_module.Browser(tmp_path_factory.mktemp("profile"))
    opened.open(f"{ui}/#/experiments")
    opened.close_assistant()
    yield opened
    opened.quit()


@pytest.fixture(scope="module")
def experiment(demo_store):
    return mlflow.MlflowClient(demo_store).get_experiment_by_name("resnet-mlflow").experiment_id


@pytest.fixture
def runs_of(demo_store, experiment):
    client = mlflow.MlflowClient(demo_store)
    return lambda stage: client.search_runs([experiment], f"tags.stage = '{stage}'")


def run_names(browser):
    return [link.text for link in browser.all(RUN_LINKS)]


def open_runs(browser, ui, experiment, address=""):
    browser.open(f"{ui}/#/experiments/{experiment}/runs?workflowType=machine_learning{address}")
    browser.find(RUN_LINKS)


def test_experiment_page_says_what_it_holds_and_folds_studies(browser, ui, experiment):
    browser.open(f"{ui}/#/experiments")
    browser.click("a", "resnet-mlflow")
    open_runs(browser, ui, experiment)
    browser.wait_for_text("Image classifiers on ResNet backbones: filter by tags.stage")
    # Only runs without a parent are in sight: the study and its report.
    assert sorted(run_names(browser)) == ["compare resnet-mlflow", "study demo"]


def test_runs_are_filtered_by_stage_and_compared(browser, ui, experiment, runs_of):
    open_runs(browser, ui, experiment)
    browser.type("[data-testid='search-box']", "tags.stage = 'fit_head'")
    heads = runs_of("fit_head")
    browser.wait_for_text(f"{len(heads) + 1} matching runs")  # with the study above them
    browser.click("button[data-component-id*='runnamecellrenderer']")
    browser.wait(lambda: len(browser.all(RUN_LINKS)) == len(heads) + 1, "the study to unfold")
    one_each = {run.data.tags["head"]: run for run in heads}
    for run in one_each.values():
        browser.click(f".ag-row[row-id='{run.info.run_id}'] .ag-checkbox-input-wrapper")
    browser.click("[data-testid='runs-compare-button']")
    browser.wait_for_text(f"Comparing {len(one_each)} Runs from 1 Experiment", "Parallel Coordinates Plot")
    axes = browser.wait(lambda: [label.text for label in browser.all(".axis-title")], "the axes")
    assert "head" in axes
    assert "val/accuracy" in axes


def test_compared_runs_have_a_box_plot_of_validation_accuracy(browser, ui, experiment, runs_of):
    ids = ",".join(f'"{run.info.run_id}"' for run in runs_of("fit_head"))
    browser.open(f'{ui}/#/compare-runs?runs=[{ids}]&experiments=["{experiment}"]')
    browser.click("[role='tab']", "Box Plot")
    for axis, name in enumerate(("head", "val/accuracy")):
        browser.wait(lambda axis=axis: browser.all("[role='combobox']")[axis].click() or True, "the menu of an axis")
        browser.click("[role='option']", name)
    heads = {run.data.tags["head"] for run in runs_of("fit_head")}
    browser.wait(lambda: len(browser.all(".boxlayer .box")) == len(heads), "one box per head")
    assert "val/accuracy" in [title.text for title in browser.all(".ytitle")]


def test_charts_are_grouped_by_the_prefix_of_metrics(browser, ui, experiment):
    open_runs(
        browser, ui, experiment, "&orderByKey=metrics.%60val%2Faccuracy%60&orderByAsc=false&compareRunsMode=CHART"
    )
    browser.wait_for_text("val/accuracy")
    sections = [
        header.text.split("\n")[0]
        for header in browser.all("[data-testid='experiment-view-compare-runs-section-header']")
    ]
    assert {"val", "test", "train", "time"} <= set(sections)


def test_saved_view_lists_heads_by_validation_accuracy(browser, ui, experiment, runs_of):
    open_runs(browser, ui, experiment)
    browser.click("[data-testid='saved-views-trigger']")
    browser.click("span", "Heads by validation accuracy")
    full = [run for run in runs_of("fit_head") if not int(run.data.params.get("shots", "0"))]
    n_heads = len(full)
    assert n_heads < len(runs_of("fit_head")), "few-shot runs are not comparable with these"
    browser.wait_for_text(f"{n_heads} matching runs")
    browser.wait(lambda: len(browser.all(RUN_LINKS)) == n_heads, "the heads")
    rows = browser.all(".ag-row .ag-cell[col-id='metrics.`val/accuracy`']")
    # The page places rows by their height on it, not by their order in its source.
    shown = [float(cell.text) for cell in sorted(rows, key=lambda cell: cell.location["y"])]
    logged = [run.data.metrics["val/accuracy"] for run in full]
    message = {cell.text for cell in browser.all(".ag-cell[col-id='tags.`accuracy`']")}
    assert message == {run.data.tags["accuracy"] for run in full}
    assert shown == pytest.approx(sorted(logged, reverse=True))


def test_run_page_shows_note_and_confusion_matrix(browser, ui, experiment, runs_of):
    run = runs_of("fit_head")[0]
    browser.open(f"{ui}/#/experiments/{experiment}/runs/{run.info.run_id}")
    headers = browser.wait(lambda: [cell.text for cell in browser.all("th")], "the note's table")
    assert "balanced accuracy" in headers
    browser.open(
        f"{ui}/#/experiments/{experiment}/runs/{run.info.run_id}/artifacts/evaluation/test/confusion_matrix.png"
    )
    image = browser.find("img[alt='evaluation/test/confusion_matrix.png'], img[src^='blob:']")
    browser.wait(lambda: int(image.get_attribute("naturalWidth")) > 600, "the image")


def test_trials_fold_under_their_parent(browser, ui, experiment, runs_of):
    parents = {run.data.tags["mlflow.parentRunId"] for run in runs_of("trial")}
    assert len(parents) == 2  # one method with hyperparameters, two seeds
    browser.open(f"{ui}/#/experiments/{experiment}/runs/{parents.pop()}")
    browser.wait_for_text("Child runs", "trial 0 tau_norm s", "trial 1 tau_norm s")


def test_report_opens_as_an_artifact(browser, ui, experiment, runs_of):
    (run,) = runs_of("compare")
    browser.open(f"{ui}/#/experiments/{experiment}/runs/{run.info.run_id}/artifacts/report/report.html")
    browser.driver.switch_to.frame(browser.find("iframe"))
    browser.wait_for_text("How to read this", "What is missing or unfair in this comparison")
    assert browser.wait(lambda: browser.all(".chart .main-svg"), "the charts")
    browser.driver.switch_to.default_content()
