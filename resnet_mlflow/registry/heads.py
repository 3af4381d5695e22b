"""Which heads there are: a row each, and an estimator in ``resnet_mlflow.heads``."""

from dataclasses import dataclass

from resnet_mlflow.registry import Registry


@dataclass(frozen=True)
class Head:
    """One head.

    Its parameters and search spaces are the estimator's: ``_parameter_constraints`` and ``SEARCH_SPACES``.

    Attributes:
        name: What users call it.
        estimator: Its class, ``module:attribute``; a ``HeadBase``.
        colour: In every figure; empty means one that is free.
        has_gradients: Whether ``to_torch`` gives a module, which Grad-CAM follows gradients through.
        has_epochs: Whether it is trained by gradient descent, epoch by epoch, and ends in a linear layer: long-tail
            losses and schedules need such a head.
        depends_on_class_sizes: Whether it changes with the number of items per class; class means do not.
    """

    name: str
    estimator: str
    colour: str = ""
    has_gradients: bool = False
    has_epochs: bool = False
    depends_on_class_sizes: bool = True


HEADS = Registry(
    "head",
    Head("svm", "resnet_mlflow.heads.svm:SVMHead", "#0072b2"),
    Head("knn", "resnet_mlflow.heads.knn:KNNHead", "#e69f00"),
    Head("mlp", "resnet_mlflow.heads.mlp:MLPHead", "#009e73", has_gradients=True, has_epochs=True),
    Head(
        "prototype",
        "resnet_mlflow.heads.prototype:PrototypeHead",
        "#cc79a7",
        has_gradients=True,
        depends_on_class_sizes=False,
    ),
    Head("linear", "resnet_mlflow.heads.linear:LinearHead", "#56b4e9", has_gradients=True, has_epochs=True),
)
