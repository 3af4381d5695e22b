"""Image classification with ResNet backbones, tracked in MLflow.

``load``, ``extract`` and ``fit`` are all that a notebook needs, see ``resnet_mlflow.api``. It is imported on first use
of one of them, since the libraries behind it take seconds.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resnet_mlflow.api import Data, Features, Fitted, extract, fit, load

__version__ = "0.2.0"
__all__ = ["Data", "Features", "Fitted", "__version__", "extract", "fit", "load"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("resnet_mlflow.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
