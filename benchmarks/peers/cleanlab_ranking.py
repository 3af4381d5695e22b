"""cleanlab's ranking of labels, in a separate environment because of its licence (AGPL).

``CLEANLAB_PYTHON`` names a Python with cleanlab installed: ``python -m venv peer && peer/bin/pip install cleanlab``.
"""

import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

METHODS = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
_PROGRAM = """
import sys
import numpy as np
from cleanlab.rank import get_label_quality_scores
given = np.load(sys.argv[1])
names = sys.argv[3].split(",")
np.savez(sys.argv[2], **{
    name: get_label_quality_scores(given["labels"], given["probabilities"], method=name) for name in names
})
"""


def scores(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, NDArray[np.float64]] | None:
    """Return the quality of each label by method, low if it is suspicious; None without cleanlab."""
    python = os.environ.get("CLEANLAB_PYTHON")
    if not python:
        return None
    with tempfile.TemporaryDirectory() as name:
        given, found = Path(name, "given.npz"), Path(name, "found.npz")
        np.savez(given, labels=labels, probabilities=probabilities)
        subprocess.run([python, "-c", _PROGRAM, str(given), str(found), ",".join(METHODS)], check=True)
        with np.load(found) as stored:
            return {method: stored[method] for method in METHODS}
