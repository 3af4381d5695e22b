"""The available heads: one row each, and an estimator in ``resnet_mlflow.heads``."""

from dataclasses import dataclass

from resnet_mlflow.registry import Registry


@dataclass(frozen=True)
class Head:
    """A head.

    Its parameters and search spaces are those of the estimator: ``_parameter_constraints`` and ``SEARCH_SPACES``.

    Attributes:
        name: Name for users.
        estimator: Its class, ``module:attribute``; a ``HeadBase``.
        colour: Colour in all figures; empty means any free one.
        has_gradients: Whether ``to_torch`` returns a module, as Grad-CAM needs for gradients.
        has_epochs: Whether it is trained by gradient descent, epoch by epoch, and ends in a linear layer: long-tail
            losses and schedules need such a head.
        depends_on_class_sizes: Whether it depends on the number of items per class; class means do not.
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
