"""Optuna's figures of a study: the history of trials, the importance of parameters, and where the good trials are."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_mlflow.evaluation.canvas import DPI
from resnet_mlflow.evaluation.figures import TEXT_POINTS, WIDTH_INCHES

if TYPE_CHECKING:
    import optuna

Draw = Callable[[], Any]
HEIGHT_INCHES = 4.2
INCHES_PER_SLICE = 1.8


def write_study_figures(study: "optuna.Study", objective: str, folder: Path) -> list[str]:
    """Write the figures that a study's trials allow as PNG files, and return their names.

    Importances need two trials that differ; two objectives also give their Pareto front.

    Args:
        study: A study with at least one complete trial.
        objective: Label of the value axis.
        folder: Folder for the files.
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
            _mend(figure, name)
            figure.savefig(folder / f"{name}.png", dpi=DPI)
            plt.close(figure)
    return sorted(drawings)


def _values_differ(study: "optuna.Study") -> bool:
    from optuna.trial import TrialState

    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return len(done) > 1 and len({trial.values[0] for trial in done}) > 1


def _mend(figure: Any, name: str) -> None:
    """Give a figure the common width, and space for texts that Optuna cuts off or overlaps."""
    figure.set_size_inches(WIDTH_INCHES, HEIGHT_INCHES)
    if name == "parallel_coordinate":
        figure.subplots_adjust(left=0.06, right=1.06, bottom=0.2, top=0.92)
        # Names of choices are to the right of their axis: the colour bar must leave space for them.
        bar = figure.axes[0].collections[-1].colorbar if figure.axes[0].collections else None
        if bar is not None:
            bar.ax.set_position([0.91, 0.2, 0.02, 0.72])
            bar.set_label("")  # the axis to the left already has this label
        return
    if name == "slice" and len(figure.axes) > 2:
        figure.set_layout_engine("constrained")
    for axes in figure.axes:
        legend = axes.get_legend()
        if legend is not None:
            axes.legend(loc="best", fontsize=TEXT_POINTS)
        axes.tick_params(labelsize=TEXT_POINTS)
    if name == "param_importances":
        figure.axes[0].get_legend().remove()
    if name == "slice":
        figure.set_size_inches(max(WIDTH_INCHES, INCHES_PER_SLICE * (len(figure.axes) - 1)), HEIGHT_INCHES)
        for axes in figure.axes[:-1]:
            _turn_choices(axes)
    if figure.get_layout_engine() is None:
        figure.tight_layout()


def _turn_choices(axes: Any) -> None:
    """Rotate the labels of choices and remove their quotes."""
    texts = [label.get_text() for label in axes.get_xticklabels()]
    if axes.get_xscale() == "linear" and any(text.startswith("'") for text in texts):
        axes.set_xticks(axes.get_xticks(), [text.strip("'") for text in texts], rotation=90)


@contextmanager
def _pyplot() -> Iterator[Any]:
    """Yield pyplot, which Optuna draws with, and restore its global style afterwards."""
    import matplotlib
    from optuna.exceptions import ExperimentalWarning

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    with plt.rc_context({"font.size": TEXT_POINTS, "figure.dpi": DPI}), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.filterwarnings("ignore", module="optuna")
        yield plt
