"""CSV tables with text that no spreadsheet interprets as a formula."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

# Characters that a spreadsheet interprets as the start of a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_of(frame: "pd.DataFrame") -> str:
    """Return a frame as CSV in which no text is a formula for spreadsheets: texts that start like one get a quote.

    Example:
        >>> import pandas as pd
        >>> print(csv_of(pd.DataFrame({"class": ["=cmd()", "a"], "n": [-1, 2]})), end="")
        class,n
        '=cmd(),-1
        a,2
    """
    from pandas.api.types import is_numeric_dtype

    quoted = frame.copy()
    for name in quoted.columns:
        if not is_numeric_dtype(quoted[name]):
            quoted[name] = [_no_formula(value) for value in quoted[name]]
    return quoted.rename(columns=_no_formula).to_csv(index=False)


def without_quote(text: str) -> str:
    """Return a text without the quote that ``csv_of`` added.

    Example:
        >>> without_quote("'=a.png"), without_quote("'a.png"), without_quote("a.png")
        ('=a.png', "'a.png", 'a.png')
    """
    return text[1:] if text[:1] == "'" and text[1:].startswith(FORMULA) else text


def _no_formula(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
