"""Optuna's figures of a study: what was tried in which order, what mattered, and where the good trials lie."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_mlflow.figures import DPI, TEXT_POINTS, WIDTH_INCHES

if TYPE_CHECKING:
    import optuna

Draw = Callable[[], Any]
HEIGHT_INCHES = 4.2
# Side by side, more slices than this would be too narrow to read.
SLICES_PER_ROW = 4


def write_study_figures(study: "optuna.Study", objective: str, folder: Path) -> list[str]:
    """Write the figures that a study's trials allow as PNG, and return their names.

    Importances need two trials that differ; two objectives also give their Pareto front.

    Args:
        study: With at least one trial that came to its end.
        objective: What the axis of values is called.
        folder: Where they go.
    """
    from optuna.visualization import matplotlib as plots

    several = len(study.directions) > 1
    target: Any = (lambda trial: trial.values[0]) if several else None
    options = {"target": target, "target_name": objective}
    drawings: dict[str, Draw] = {
        "optimization_history": lambda: plots.plot_optimization_history(study, **options),
        "parallel_coordinate": lambda: plots.plot_parallel_coordinate(study, **options),
        "slice": lambda: plots.plot_slice(study, **options),
    }
    if _values_differ(study):
        drawings["param_importances"] = lambda: plots.plot_param_importances(study, **options)
    if several:
        names = [objective, "inference, ms per image"]
        drawings["pareto_front"] = lambda: plots.plot_pareto_front(study, target_names=names)
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in drawings.items():
        with _pyplot() as plt:
            draw()
            figure = plt.gcf()
            _fit_size(figure, name)
            figure.savefig(folder / f"{name}.png", dpi=DPI)
            plt.close(figure)
    return sorted(drawings)


def _values_differ(study: "optuna.Study") -> bool:
    from optuna.trial import TrialState

    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return len(done) > 1 and len({trial.values[0] for trial in done}) > 1


def _fit_size(figure: Any, name: str) -> None:
    axes = figure.axes
    width = WIDTH_INCHES
    if name == "slice":
        width = max(width, 2.1 * (len(axes) - 1))
    figure.set_size_inches(width, HEIGHT_INCHES)
    if name != "parallel_coordinate":
        figure.set_layout_engine("constrained")


@contextmanager
def _pyplot() -> Iterator[Any]:
    """Yield pyplot, which Optuna draws with, and put its global style back afterwards."""
    import matplotlib
    from optuna.exceptions import ExperimentalWarning

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    with plt.rc_context({"font.size": TEXT_POINTS, "figure.dpi": DPI}), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.filterwarnings("ignore", module="optuna")
        yield plt
