"""Take the docs' pictures of the report and of MLflow's pages, from the runs of ``make demo``: ``make screenshots``.

Everything is the real thing: a server on loopback with a copy of the store, a report of its runs, and Chromium at the
size that a user sees.
"""

import os
import shutil
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

import mlflow
from browser import AVAILABLE, CHROMIUM, DRIVER, Browser
from mlflow_server import free_port, start_server, stop_server

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
EXPERIMENT = "resnet-mlflow"
DESKTOP, PAGE, PHONE = (1280, 800), (1280, 1000), (390, 844)
# Charts and grids of MLflow move for a moment after they have appeared.
SETTLE_S = 3
RUN_LINKS = "a[href*='/runs/']"
LOCATIONS = (("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location"))
HEADS = "tags.stage = 'fit_head' and tags.protocol = 'full'"


class Photographer:
    """Opens pages of one server and one report, and writes pictures of them."""

    def __init__(self, browser, ui, experiment, report):
        self.browser, self.ui, self.experiment, self.report = browser, ui, experiment, report

    def take(self, name):
        time.sleep(SETTLE_S)
        self.browser.driver.save_screenshot(str(IMAGES / name))
        print(IMAGES / name)

    def open_runs(self, address=""):
        self.browser.resize(*DESKTOP)
        self.browser.open(f"{self.ui}/#/experiments/{self.experiment}/runs?workflowType=machine_learning{address}")
        self.browser.find(RUN_LINKS)

    def open_run(self, run_id, tab=""):
        self.browser.resize(*DESKTOP)
        self.browser.open(f"{self.ui}/#/experiments/{self.experiment}/runs/{run_id}{tab}?workflowType=machine_learning")

    def open_report(self, size, scheme="light", *, mobile=False):
        self.browser.resize(*size, mobile=mobile)
        self.browser.prefer(scheme)
        self.browser.open(self.report.as_uri())
        self.browser.wait(lambda: self.browser.all(".chart .main-svg"), "the charts")


def picture_report(photographer):
    photographer.open_report(PAGE)
    photographer.take("report.png")
    photographer.open_report(PAGE, "dark")
    photographer.browser.driver.execute_script("document.getElementById('robustness_tiers').scrollIntoView()")
    photographer.take("report-dark.png")
    photographer.open_report(PHONE, mobile=True)
    photographer.take("report-phone.png")
    photographer.browser.prefer("light")


def picture_run_list(photographer):
    browser = photographer.browser
    photographer.open_runs()
    browser.click("[data-testid='saved-views-trigger']")
    browser.wait_for_text("Heads by validation accuracy")
    photographer.take("mlflow-views.png")
    browser.click("span", "Heads by validation accuracy")
    browser.wait_for_text("matching runs")
    photographer.take("mlflow-runs.png")


def picture_comparison(photographer, runs):
    ids = ",".join(f'"{run.info.run_id}"' for run in runs)
    browser = photographer.browser
    browser.resize(*DESKTOP)
    browser.open(f'{photographer.ui}/#/compare-runs?runs=[{ids}]&experiments=["{photographer.experiment}"]')
    browser.wait_for_text("Parallel Coordinates Plot")
    browser.wait(lambda: browser.all(".axis-title"), "the axes")
    photographer.take("compare.png")


def picture_run(photographer, run):
    browser = photographer.browser
    photographer.open_run(run.info.run_id)
    browser.wait(lambda: browser.all("th"), "the note's table")
    photographer.take("mlflow-run.png")
    photographer.open_run(run.info.run_id, "/artifacts/evaluation/test/confusion_matrix.png")
    image = browser.find("img[src^='blob:'], img[alt$='confusion_matrix.png']")
    browser.wait(lambda: int(image.get_attribute("naturalWidth")) > 600, "the figure")
    photographer.take("mlflow-artifacts.png")


def take_all(folder):
    """Take every picture of the runs in ``folder``, which holds ``mlflow.db`` as ``make demo`` leaves it."""
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        artifacts = _copy_store(folder / "mlflow.db", scratch / "mlflow.db")
        port = free_port()
        server = start_server(scratch, port, artifacts=artifacts)
        os.environ["MLFLOW_TRACKING_URI"] = ui = f"http://127.0.0.1:{port}"
        browser = Browser(scratch / "profile", "--hide-scrollbars")
        try:
            client = mlflow.MlflowClient()
            experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
            order = ["metrics.`val/accuracy` DESC"]
            heads = client.search_runs([experiment], f"{HEADS} and attributes.status = 'FINISHED'", order_by=order)
            with_defaults = [run for run in heads if not int(run.data.params.get("n_trials", "0"))]
            browser.open(f"{ui}/#/experiments")
            browser.close_assistant()
            photographer = Photographer(browser, ui, experiment, _write_report(scratch))
            picture_report(photographer)
            picture_run_list(photographer)
            picture_comparison(photographer, with_defaults)
            picture_run(photographer, heads[0])
        finally:
            browser.quit()
            stop_server(server)


def _copy_store(source, target):
    """Copy a store, whose artifacts the server then serves by its own addresses, and return their folder."""
    shutil.copyfile(source, target)
    with sqlite3.connect(target) as store:
        query = "SELECT artifact_location FROM experiments WHERE name = ?"
        artifacts = str(Path(store.execute(query, (EXPERIMENT,)).fetchone()[0].removeprefix("file://")).parent)
        for table, column in LOCATIONS:
            store.execute(f"UPDATE {table} SET {column} = replace({column}, ?, 'mlflow-artifacts:')", (artifacts,))
    return artifacts


def _write_report(scratch):
    from analysis.report import write_report

    return write_report(EXPERIMENT, scratch / "report", ui_url="http://127.0.0.1:5000")


if __name__ == "__main__":
    if not AVAILABLE:
        sys.exit(f"error: pictures are taken by Chromium, got no {CHROMIUM} or {DRIVER}; install both")
    take_all(Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve())
