"""What a figure shows, apart from how it is drawn: on paper by ``figures``, in a browser by ``interactive``."""

from dataclasses import dataclass

Values = tuple[float, ...]


@dataclass(frozen=True)
class Series:
    """Values of one thing compared, with the ends of their 95 % intervals (NaN where there are none).

    Attributes:
        name: Stands in the legend, and chooses the colour.
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
    """Scores of many things, a line each, as a dot on its interval.

    Attributes:
        title: The question.
        axis: What is scored.
        labels: One per line, from the top.
        groups: What gives each line its colour, as many as labels; several series are coloured by their own names.
        series: Scores, one per label.
        zero: Whether 0, no difference, is marked.
    """

    title: str
    axis: str
    labels: tuple[str, ...]
    groups: tuple[str, ...]
    series: tuple[Series, ...]
    zero: bool = False


@dataclass(frozen=True)
class Lines:
    """Scores along numbers or steps, with a band of their intervals.

    Attributes:
        title: The question.
        x_axis: What the positions are.
        y_axis: What is scored.
        positions: Texts, evenly spaced; for numbers, ``numbers`` holds where they stand on a logarithmic axis.
        series: Scores, one per position.
        numbers: Positions as numbers; empty where they are steps.
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
        labels: What each point is: its method, whose first word gives the colour, ``on`` a backbone.
        costs: Positive.
        scores: One per label, with their intervals.
        front: Positions of the points that no other beats in both, cheapest first.
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
    """A score by two things.

    Attributes:
        title: The question.
        axis: What is scored.
        rows: Names of the rows, from the top.
        columns: Names of the columns.
        scores: ``(n_rows, n_columns)``; NaN where there is none.
        x_axis: What the columns are, where their names do not say it.
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
    """Mean ranks over datasets, and which of them do not differ significantly.

    Attributes:
        title: The question.
        names: What is ranked.
        ranks: Mean ranks, 1 is best.
        cliques: Names that do not differ significantly, one group per bar.
    """

    title: str
    names: tuple[str, ...]
    ranks: Values
    cliques: tuple[tuple[str, ...], ...]


# Accuracies end here; a t interval over few seeds may not.
MOST = 1.005
# Columns of a grid whose numbers still fit beside each other with three decimals.
WIDE_COLUMNS = 12

Chart = Intervals | Lines | Points | HeatMap | Ranks
