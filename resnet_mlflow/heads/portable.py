"""The accelerator if it is installed, and plain scikit-learn objects in stored heads."""

from importlib import import_module
from typing import Any

import numpy as np

from resnet_mlflow.devices import n_cores


def accelerated(module: str, name: str) -> Any:
    """Return the class ``name`` of scikit-learn-intelex if it can be imported, else scikit-learn's.

    Args:
        module: Submodule that both packages have, such as ``svm``.
        name: Class in it, such as ``SVC``.
    """
    try:
        found = getattr(import_module(f"sklearnex.{module}"), name)
        # Outside the main thread, as in a worker, it would take all cores of the machine. At least two: on one it
        # takes another code path, with other last digits than on any larger number.
        import_module("daal4py").daalinit(max(2, n_cores()))
        return found
    except ImportError:
        return getattr(import_module(f"sklearn.{module}"), name)


def plain_svc(fitted: Any, X: Any, labels: Any) -> Any:
    """Return a scikit-learn ``SVC`` with the same decisions as the fitted one, whichever package fitted it.

    The accelerator's object cannot be loaded without it, holds int64 counts where libsvm reads int32, and
    has the features' precision. libsvm's private attributes are the public ones, with the sign flipped for two classes.

    Args:
        fitted: ``SVC`` of scikit-learn or scikit-learn-intelex, with a number for ``gamma``.
        X: The features it was fitted on, of shape (n_items, n_features).
        labels: Their labels, 0 to ``n_classes - 1``, of shape (n_items,).
    """
    from sklearn.svm import SVC

    if type(fitted) is SVC:
        return fitted
    plain = SVC(**{name: value for name, value in fitted.get_params().items() if name in SVC().get_params()})
    sign = -1.0 if len(fitted.classes_) == 2 else 1.0
    # libsvm sorts support vectors by class; the accelerator does so only for three or more classes.
    order = np.argsort(labels[fitted.support_], kind="stable")
    support = np.asarray(fitted.support_, dtype=np.int32)[order]
    iterations = np.asarray(fitted.n_iter_, dtype=np.int32)
    dual_coef = np.ascontiguousarray(fitted.dual_coef_[:, order], dtype=np.float64)
    intercept = np.array(fitted.intercept_, dtype=np.float64).reshape(-1)
    plain.__dict__.update(
        classes_=np.asarray(fitted.classes_),
        class_weight_=np.ones(len(fitted.classes_)),
        support_=support,
        support_vectors_=np.ascontiguousarray(X[support], dtype=np.float64),
        _n_support=np.asarray(fitted._n_support, dtype=np.int32),
        dual_coef_=dual_coef,
        intercept_=intercept,
        _dual_coef_=sign * dual_coef,
        _intercept_=sign * intercept,
        _probA=np.empty(0),
        _probB=np.empty(0),
        _gamma=float(fitted.gamma),
        _sparse=False,
        _effective_probability=False,
        _num_iter=iterations,
        n_iter_=iterations,
        fit_status_=0,
        shape_fit_=tuple(X.shape),
        n_features_in_=int(X.shape[1]),
    )
    return plain
