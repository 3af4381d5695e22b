"""Scores that detect images unlike the training images: one row each; functions in ``resnet_mlflow.uncertainty``."""

from dataclasses import dataclass

from resnet_mlflow.registry import Registry


@dataclass(frozen=True)
class OodScore:
    """A score of how much an image differs from the training images; higher means less alike.

    Attributes:
        name: Name for users.
        fit: ``(features, labels) -> arrays by name``, the fitted state from the training images, as
            ``module:attribute``; empty if there is none.
        score: ``(arrays, features, logits) -> (n_images,)``, as ``module:attribute``.
        reference: The paper that introduced it.
        graph: ``arrays -> torch module`` from features and logits to the score, as ``module:attribute``, for exports;
            empty if classifiers with this score cannot be exported.
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
