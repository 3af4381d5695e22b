"""Scores that detect images unlike the training images: a row each; functions in ``resnet_mlflow.uncertainty``."""

from dataclasses import dataclass

from resnet_mlflow.registry import Registry


@dataclass(frozen=True)
class OodScore:
    """One score of how unlike the training images an image is; higher is less alike.

    Attributes:
        name: What users call it.
        fit: ``(features, labels) -> arrays by name``, what it keeps of the training images, as ``module:attribute``;
            empty where it keeps nothing.
        score: ``(arrays, features, logits) -> (n_images,)``, as ``module:attribute``.
        reference: The paper that it is from.
        graph: ``arrays -> torch module`` from features and logits to the score, as ``module:attribute``, for exports;
            empty where classifiers with this score cannot be exported.
    """

    name: str
    score: str
    reference: str
    fit: str = ""
    graph: str = ""


_SCORES, _GRAPHS = "resnet_mlflow.uncertainty.scores", "resnet_mlflow.uncertainty.graphs"
OOD_SCORES = Registry(
    "ood_score",
    OodScore("knn", f"{_SCORES}:knn", "Sun et al. 2022", fit=f"{_SCORES}:fit_knn", graph=f"{_GRAPHS}:KnnScore"),
    OodScore(
        "mahalanobis",
        f"{_SCORES}:mahalanobis",
        "Lee et al. 2018",
        fit=f"{_SCORES}:fit_mahalanobis",
        graph=f"{_GRAPHS}:MahalanobisScore",
    ),
    OodScore("energy", f"{_SCORES}:energy", "Liu et al. 2020", graph=f"{_GRAPHS}:EnergyScore"),
    OodScore("max_softmax", f"{_SCORES}:max_softmax", "Hendrycks and Gimpel 2017", graph=f"{_GRAPHS}:MaxSoftmaxScore"),
)
