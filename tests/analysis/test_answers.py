import numpy as np
import pytest
from run_records import cell, log_predictions

from analysis.answers import MOST, answers_of
from analysis.report import build_report


def message(runs):
    return {answer.table: answer.text for answer in build_report(runs).answers}


@pytest.fixture
def scored(written, tmp_path):
    """Write runs whose test predictions have the accuracy they logged, those of 200 items from the first on."""

    def write(*records):
        runs = written(*records)
        for row in runs.frame.itertuples():
            right = np.arange(200) < 200 * runs.frame.loc[row.Index, "test/accuracy"]
            log_predictions(row.run_id, tmp_path, right)
        return runs

    return write


def test_answers_name_what_is_significantly_better_and_what_it_costs(scored):
    slow = {"time/fit_s": 30.0}
    runs = scored(
        cell(0, 0.5, "linear"),
        cell(0, 0.9, "linear", stage="finetune", params={"train_layers": "all"}, metrics=slow),
    )
    answers = message(runs)
    assert answers["leaderboard"] == (
        "Use resnet18 with all layers trained: it is the best on validation data, with a test accuracy of 0.900 "
        "(0.850 to 0.950). It differs significantly from each of the others."
    )
    assert answers["strategies"].startswith("Training all layers of resnet18 gains 40.0 points (+")
    assert answers["strategies"].endswith(" over a linear head on its frozen features; fitting takes 30 times as long.")


def test_answers_say_so_where_the_data_do_not_tell(scored):
    runs = scored(
        cell(0, 0.5, "linear"),
        cell(0, 0.505, "linear", stage="finetune", params={"train_layers": "all"}, metrics={"time/fit_s": 3.0}),
        cell(0, 0.51, "svm", metrics={"time/fit_s": 2.0}),
    )
    answers = message(runs)
    assert "Use svm on frozen resnet18: " in answers["leaderboard"]
    assert answers["leaderboard"].endswith(
        "On these data it is not significantly better than any of the 2 others; the cheapest of these is linear "
        "on frozen resnet18 with 0.500 "
        "(1.00 s to fit)."
    )
    assert answers["strategies"].startswith(
        "The data do not show whether training all layers of resnet18 beats a linear head on its frozen features: +0.5"
    )


def test_answers_of_one_classifier_and_of_none(scored, written):
    assert message(written(cell(0, 0.5, stage="extract"))) == {}
    (answer,) = message(scored(cell(0, 0.5))).values()
    assert answer.endswith("Nothing else was run to compare it with.")
    assert answers_of([]) == []


def test_each_of_several_datasets_has_an_answer(scored):
    runs = scored(*(cell(0, 0.5, head, f"d{n}") for n in range(MOST + 2) for head in ("svm", "knn")))
    texts = [answer.text for answer in build_report(runs).answers]
    assert len(texts) == MOST
    assert len({text.partition(": Use svm on frozen resnet18: ")[0] for text in texts}) == MOST
