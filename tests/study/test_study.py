import pytest
import yaml

from resnet_mlflow.errors import InputError
from resnet_mlflow.study import (
    STUDIES,
    cells,
    cells_under_test,
    comparisons,
    few_shot_cells,
    load_study,
    robustness_config,
)

STUDY = {"name": "small", "backbones": ["resnet18"], "heads": {"svm": {"C": 2}}, "seeds": [3]}


def write(folder, **changes):
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(STUDY | changes, sort_keys=False))
    return str(path)


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_study_loads_under_its_own_name(path):
    study = load_study(path.stem)
    assert study.name == path.stem
    assert len(list(cells(study))) >= 7


def test_cells_cross_backbones_heads_and_seeds(tmp_path):
    study = load_study(
        write(tmp_path, backbones=["resnet18", "resnet50"], heads={"svm": None, "knn": None}, seeds=[0, 1])
    )
    names = [cell.name for cell in cells(study)]
    assert names == [
        f"{head} {net} s{seed}" for net in ("resnet18", "resnet50") for seed in (0, 1) for head in ("svm", "knn")
    ]


def test_cells_carry_what_the_study_shares(tmp_path):
    study = load_study(
        write(tmp_path, features={"dataset": "cifar10", "image_size": 32}, evaluation={"calibration": "none"})
    )
    config = next(cells(study)).config
    assert (config.dataset, config.image_size, config.calibration, config.seed) == ("cifar10", 32, "none", 3)
    assert yaml.safe_load(config.head_params) == {"C": 2}


def test_finetune_can_be_limited_to_backbones(tmp_path):
    finetune = {"fc": {"epochs": 2}, "all": {"train_layers": "all", "backbones": ["resnet18"]}}
    study = load_study(write(tmp_path, backbones=["resnet18", "resnet50"], heads={}, finetune=finetune))
    assert [cell.name for cell in cells(study)] == [
        "finetune fc resnet18 s3",
        "finetune all resnet18 s3",
        "finetune fc resnet50 s3",
    ]


def test_tuned_heads_are_cells_beside_those_with_defaults(tmp_path):
    study = load_study(write(tmp_path, tuning={"svm": {"n_trials": 20, "sampler": "random"}}))
    plain, tuned = cells(study)
    assert [plain.name, tuned.name] == ["svm resnet18 s3", "svm tuned resnet18 s3"]
    assert (plain.config.tunes, tuned.config.n_trials, tuned.config.sampler) == (False, 20, "random")


def test_comparisons_run_over_the_seeds_of_the_study(tmp_path):
    tails = {"a": {"imbalance_factor": 20}, "b": {"head": "svm", "backbones": ["resnet50"]}}
    study = load_study(write(tmp_path, backbones=["resnet18", "resnet50"], seeds=[3, 5], longtail=tails))
    found = dict(comparisons(study))
    assert list(found) == ["longtail a resnet18", "longtail a resnet50", "longtail b resnet50"]
    assert {config.all_seeds for config in found.values()} == {(3, 5)}
    assert found["longtail a resnet50"].imbalance_factor == 20


def test_robustness_takes_the_cells_it_is_limited_to(tmp_path):
    tests = {"a": {"corruptions": "noise", "methods": ["svm"], "seeds": [5]}, "b": {}}
    heads, features = {"svm": None, "knn": None}, {"cache_dir": "here", "dataset": "cifar10"}
    study = load_study(write(tmp_path, heads=heads, seeds=[3, 5], features=features, robustness=tests))
    assert [cell.name for cell in cells_under_test(study, "a")] == ["svm resnet18 s5"]
    assert len(cells_under_test(study, "b")) == 4
    config = robustness_config(study, "a", ["x", "y"])
    assert (config.corruptions, config.runs, config.cache_dir) == ("noise", "x,y", "here")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"bakcbones": ["resnet18"]}, "unknown parameter 'bakcbones'; did you mean 'backbones'"),
        ({"backbones": ["resnet20"]}, "backbones.0 must be one of .* got 'resnet20'"),
        ({"backbones": ["resnet18", "resnet18"]}, "backbones must not repeat a value"),
        ({"seeds": [0, 0]}, "seeds must not repeat a value"),
        ({"seeds": []}, "seeds"),
        ({"heads": {"smv": {}}}, "heads must be among svm, .* got 'smv'; did you mean 'svm'"),
        ({"heads": {}}, "heads or finetune must name at least one method, got neither"),
        ({"features": {"datset": "digits"}}, "features has no parameter 'datset'; did you mean 'dataset'"),
        ({"features": {"seed": 1}}, "features must not set 'seed', which the study varies; use seeds"),
        ({"finetune": {"fc": {"epoch": 3}}}, "finetune.fc: unknown parameter 'epoch'; did you mean 'epochs'"),
        ({"finetune": {"fc": {"epochs": -1}}}, "finetune.fc: epochs must be at least 1, got -1"),
        (
            {"finetune": {"a": {"backbones": ["resnet50"]}}},
            r"finetune.a.backbones must be among the study's \(resnet18\)",
        ),
        ({"tuning": {"smv": {"n_trials": 2}}}, "tuning must be among svm, .* got 'smv'; did you mean 'svm'"),
        ({"tuning": {"svm": {}}}, "tuning.svm must have n_trials above 0"),
        ({"tuning": {"svm": {"n_trials": 2, "sampler": "tep"}}}, "tuning.svm: sampler must be one of .* did you mean"),
        ({"tuning": {"svm": {"n_trials": 2, "search_space": "knn-dino"}}}, "tuning.svm: search_space of svm must be"),
        ({"longtail": {"a": {"imbalance": 3}}}, "longtail.a: unknown parameter 'imbalance'; did you mean"),
        ({"longtail": {"a": {"methods": "crtt"}}}, "longtail a resnet18: .* got 'crtt'; did you mean 'crt'"),
        ({"longtail": {"a": {"backbones": ["resnet50"]}}}, "longtail.a.backbones must be among the study's"),
        (
            {"robustness": {"a": {"methods": ["smv"]}}},
            r"robustness.a.methods .* \(svm\), got 'smv'; did you mean 'svm'",
        ),
        ({"robustness": {"a": {"corruptions": "smog"}}}, "robustness.a: corruptions must be among .* mean 'fog'"),
        (
            {"robustness": {"a": {"severity": 1}}},
            "robustness.a: unknown parameter 'severity'; did you mean 'severities'",
        ),
        (
            {"robustness": {"a": {"runs": "1"}}},
            "robustness.a must not set 'runs', because it tests the study's own cells",
        ),
    ],
)
def test_load_study_refuses_in_one_line(tmp_path, changes, line):
    with pytest.raises(InputError, match=line) as caught:
        load_study(write(tmp_path, **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line"), [("a: [", "must be valid YAML"), ("- a", "must be a mapping"), ("", "must be a mapping")]
)
def test_load_study_refuses_what_is_no_mapping(tmp_path, text, line):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=line):
        load_study(str(path))


def test_few_shot_cells_cross_heads_shots_and_samples(tmp_path):
    few = {"heads": ["svm", "knn"], "shots": [1, 4], "samples": 2, "backbones": ["resnet18"]}
    study = load_study(write(tmp_path, backbones=["resnet18", "resnet50"], few_shot=few))
    found = [(cell.name, cell.config.shots, yaml.safe_load(cell.config.head_params)) for cell in few_shot_cells(study)]
    assert found == [
        (f"{head} {shots} shots resnet18 s{seed}", shots, {"C": 2} if head == "svm" else {})
        for head in ("svm", "knn")
        for shots in (1, 4)
        for seed in (0, 1)
    ]


def test_few_shot_refuses_no_shots(tmp_path):
    with pytest.raises(InputError, match=r"few_shot\.shots\.0"):
        load_study(write(tmp_path, few_shot={"shots": [0]}))


def test_values_are_overridden_and_checked_like_the_file(tmp_path):
    path = write(tmp_path, audit={}, heads={"svm": {"C": 2}, "knn": None})
    study = load_study(path, "seeds=[0, 1],features.image_size=96,heads.svm.C=3,audit=null,description='a, b'")
    assert (study.seeds, study.features, study.audit, study.description) == ((0, 1), {"image_size": 96}, None, "a, b")
    assert study.heads == {"svm": {"C": 3}, "knn": None}
    assert len(list(cells(study))) == 4


@pytest.mark.parametrize(
    ("overrides", "rule"),
    [
        ("seed=[0]", "did you mean 'seeds'"),
        ("seeds=[0,0]", "must not repeat a value"),
        ("features.imagesize=96", "features has no parameter 'imagesize'; did you mean 'image_size'"),
        ("heads.svm.c=3", "got 'c'"),
        ("seeds", "set must be comma-separated pairs path=value, got 'seeds'; write seeds="),
        ("seeds=[0", "set must have values in YAML, got '[0' for seeds"),
        ("name.first=a", "set must point into sections, got name.first, where name is 'small'"),
        ("=3", "set must be comma-separated pairs path=value"),
    ],
)
def test_overrides_that_are_wrong_are_refused_in_one_line(tmp_path, overrides, rule):
    with pytest.raises(InputError) as refused:
        load_study(write(tmp_path), overrides)
    assert rule in str(refused.value)
    assert "\n" not in str(refused.value)
