"""scikit-learn's equivalents of heads, with settings that give the same results as ours."""

from typing import Any

from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC


def build(head: str) -> Any:
    """Return an unfitted estimator for the name of one of our heads, with our defaults."""
    if head == "svm":
        return SVC(C=9.0)
    if head == "knn":
        return KNeighborsClassifier(3, algorithm="brute")
    if head == "prototype":
        return NearestCentroid()
    if head == "linear":
        return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    # The same number of epochs as ours; neither stops early.
    return make_pipeline(StandardScaler(), MLPClassifier((512,), max_iter=10, batch_size=256, n_iter_no_change=10))
