"""The accelerator where it is installed, and plain scikit-learn objects in what is stored."""

from importlib import import_module
from typing import Any

import numpy as np

from resnet_mlflow.devices import n_cores


def accelerated(module: str, name: str) -> Any:
    """Return the class ``name`` of scikit-learn-intelex where it can be imported, else scikit-learn's own.

    Args:
        module: Submodule that both packages have, such as ``svm``.
        name: Class in it, such as ``SVC``.
    """
    try:
        found = getattr(import_module(f"sklearnex.{module}"), name)
        # Outside the main thread, as in a worker, it would take all cores of the machine. Two at least: on one it
        # goes another way, to other last digits than on any number of them.
        import_module("daal4py").daalinit(max(2, n_cores()))
        return found
    except ImportError:
        return getattr(import_module(f"sklearn.{module}"), name)


def plain_svc(fitted: Any, X: Any, labels: Any) -> Any:
    """Return a scikit-learn ``SVC`` that decides as the fitted one does, whichever package fitted it.

    The accelerator's object cannot be loaded without it, holds int64 counts where libsvm reads int32, and
    has the features' precision. libsvm's private attributes are those with the sign of two classes turned.

    Args:
        fitted: ``SVC`` of scikit-learn or scikit-learn-intelex, with a number for ``gamma``.
        X: The features it was fitted on, of shape (n_items, n_features).
        labels: Of those, 0 to ``n_classes - 1``, of shape (n_items,).
    """
    from sklearn.svm import SVC

    if type(fitted) is SVC:
        return fitted
    plain = SVC(**{name: value for name, value in fitted.get_params().items() if name in SVC().get_params()})
    sign = -1.0 if len(fitted.classes_) == 2 else 1.0
    # libsvm keeps support vectors class by class; the accelerator does so from three classes on.
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
