"""What figures show, independent of how they are drawn: on paper by ``figures``, in a browser by ``interactive``."""

from dataclasses import dataclass

Values = tuple[float, ...]


@dataclass(frozen=True)
class Series:
    """Values of one of the things compared, with the ends of their 95 % intervals (NaN if there are none).

    Attributes:
        name: Label in the legend; determines the colour.
        means: One per position of the chart.
        low: Lower ends.
        high: Upper ends.
    """

    name: str
    means: Values
    low: Values
    high: Values


@dataclass(frozen=True)
class Intervals:
    """Scores of many things, one line each, as dots on their intervals.

    Attributes:
        title: The question.
        axis: Name of the score.
        labels: One per line, from the top.
        groups: What determines the colour of each line, one per label; several series are coloured by their names.
        series: Scores, one per label.
        zero: Whether 0 (no difference) is marked.
    """

    title: str
    axis: str
    labels: tuple[str, ...]
    groups: tuple[str, ...]
    series: tuple[Series, ...]
    zero: bool = False


@dataclass(frozen=True)
class Lines:
    """Scores along numbers or steps, with their intervals as a band.

    Attributes:
        title: The question.
        x_axis: Name of the positions.
        y_axis: Name of the score.
        positions: Texts, evenly spaced; for numbers, ``numbers`` has their positions on a logarithmic axis.
        series: Scores, one per position.
        numbers: Positions as numbers; empty if they are steps.
    """

    title: str
    x_axis: str
    y_axis: str
    positions: tuple[str, ...]
    series: tuple[Series, ...]
    numbers: Values = ()


@dataclass(frozen=True)
class Points:
    """Accuracy against cost, one point per classifier; cost is on a logarithmic axis.

    Attributes:
        title: The question.
        x_axis: The cost.
        y_axis: The score.
        labels: Name of each point: its method, ``on`` and a backbone; the first word determines the colour.
        costs: Positive.
        scores: One per label, with their intervals.
        front: Positions of the points on the Pareto front, cheapest first.
    """

    title: str
    x_axis: str
    y_axis: str
    labels: tuple[str, ...]
    costs: Values
    scores: Series
    front: tuple[int, ...]


@dataclass(frozen=True)
class HeatMap:
    """A score by rows and columns.

    Attributes:
        title: The question.
        axis: Name of the score.
        rows: Names of the rows, from the top.
        columns: Names of the columns.
        scores: ``(n_rows, n_columns)``; NaN if there is none.
        x_axis: What the columns are, unless their names say so.
        y_axis: What the rows are.
    """

    title: str
    axis: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    scores: tuple[Values, ...]
    x_axis: str = ""
    y_axis: str = ""


@dataclass(frozen=True)
class Ranks:
    """Mean ranks over datasets, and which of these do not differ significantly.

    Attributes:
        title: The question.
        names: Names of the ranked methods.
        ranks: Mean ranks, 1 is best.
        cliques: Names that do not differ significantly, one group per bar.
    """

    title: str
    names: tuple[str, ...]
    ranks: Values
    cliques: tuple[tuple[str, ...], ...]


# Accuracies are at most 1; a t interval over few seeds may extend further.
MOST = 1.005
# The most columns of a grid whose numbers still fit side by side with three decimals.
WIDE_COLUMNS = 12

Chart = Intervals | Lines | Points | HeatMap | Ranks
