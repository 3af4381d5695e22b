"""What a whole audit makes of its parts: one row per image and finding, and judges that saw nothing of a group."""

import numpy as np
from synthetic_pictures import textures

from resnet_mlflow.audit.audit import audit_dataset
from resnet_mlflow.audit.crossfit import cross_fit
from resnet_mlflow.audit.issues import build_issues
from resnet_mlflow.audit.labels import judge_labels
from resnet_mlflow.audit.pool import Pool
from resnet_mlflow.audit.twins import Twins
from resnet_mlflow.data.datasets import ImageDataset, build_dataset, regrouped, split_of_arrays
from resnet_mlflow.features.identity import FeatureSet, FeatureSplit

N_GROUPS, N_EACH = 20, 10


def burst(n_images: int, labels: list[int]) -> Pool:
    rows = np.arange(n_images)
    names = tuple(f"{row}.jpg" for row in rows)
    return Pool(("crow", "owl"), ("train",), rows * 0, rows, np.array(labels), np.array(names), names)


def issues_of(pool: Pool, pairs: list[tuple[int, int]], scores: list[float]) -> list[tuple[str, str, str]]:
    first, second = np.array(pairs).T
    nothing, n_images = np.zeros(0, np.int64), len(pool)
    twins = Twins(first, second, np.array(scores, np.float32), ("",) * len(pairs))
    judged = judge_labels(np.full((n_images, 2), 0.5), pool.labels)
    table = build_issues(
        pool, twins, (nothing, nothing), (judged, nothing), (nothing, np.zeros(n_images)), (nothing, judged.margin), []
    )
    return list(table[["kind", "path", "other_path"]].itertuples(index=False, name=None))


def test_build_issues_tells_each_image_of_a_burst_once_with_its_nearest():
    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert issues_of(burst(4, [0, 0, 0, 0]), pairs, [0.95, 0.96, 0.97, 0.99, 0.93, 0.94]) == [
        ("twin_within", "2.jpg", "1.jpg"),
        ("twin_within", "3.jpg", "0.jpg"),
        ("twin_within", "1.jpg", "0.jpg"),
    ]


def test_build_issues_tells_both_images_that_contradict_each_other():
    found = issues_of(burst(3, [0, 0, 1]), [(0, 1), (0, 2), (1, 2)], [0.99, 0.95, 0.96])
    assert [row for row in found if row[0] == "contradiction"] == [
        ("contradiction", "2.jpg", "1.jpg"),
        ("contradiction", "1.jpg", "2.jpg"),
        ("contradiction", "0.jpg", "2.jpg"),
    ]


def test_build_issues_says_how_far_the_suggested_class_lies_above_the_label():
    pool, nothing = burst(2, [0, 1]), np.zeros(0, np.int64)
    judged = judge_labels(np.array([[0.9, 0.1], [0.8, 0.2]]), pool.labels)
    twins = Twins(nothing, nothing, np.zeros(0, np.float32), ())
    others = (nothing, np.zeros(2))
    table = build_issues(pool, twins, (nothing, nothing), (judged, np.array([1])), others, others, [])
    assert table[["path", "label", "suggested", "details"]].to_numpy().tolist() == [
        ["1.jpg", "owl", "crow", "its own class gets 0.200, crow 0.800"]
    ]


def grouped() -> tuple[ImageDataset, FeatureSet, np.ndarray]:
    """Groups that features tell apart better than classes; all images of group 7 have the other class's label."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(N_GROUPS), N_EACH)
    labels = groups % 2
    features = rng.normal(size=(len(groups), 1 + N_GROUPS)).astype(np.float32) / 2
    features[:, 0] += 3 * (2 * labels - 1)
    features[np.arange(len(groups)), 1 + groups] += 6
    wrong = groups == 7
    given = split_of_arrays(textures(len(groups), seed=4), np.where(wrong, 1 - labels, labels))
    dataset = build_dataset(
        name="x", class_names=["a", "b"], splits={"train": given, "test": given.select([0, 10])}, default_image_size=48,
        source="here",
    )  # fmt: skip
    dataset = regrouped(dataset, np.concatenate([groups, groups[[0, 10]]]), [str(group) for group in range(N_GROUPS)])
    parts = {"train": features, "test": features[[0, 10]]}
    splits = {name: FeatureSplit(parts[name], one.labels, one.item_ids) for name, one in dataset.splits.items()}
    return dataset, FeatureSet("k", splits, {"skipped": []}), wrong


def test_audit_dataset_judges_labels_by_heads_that_saw_no_image_of_the_group():
    dataset, features, wrong = grouped()
    audit = audit_dataset(dataset, features)
    assert audit.wrong.self_confidence[: len(wrong)][wrong].max() < 0.5
    train = features.splits["train"]
    of_images = cross_fit(train.features, train.labels, np.arange(len(wrong)), 2)
    assert judge_labels(of_images.probabilities, train.labels).self_confidence[wrong].min() > 0.5
