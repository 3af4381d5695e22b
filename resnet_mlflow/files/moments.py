"""Days and times from users."""

from datetime import UTC, datetime

from resnet_mlflow.errors import InputError


def seconds_of(name: str, text: str) -> float:
    """Return the seconds since 1970 of a day or time in ISO 8601, in UTC if it has no time zone.

    Args:
        name: Name of the parameter, for the error.
        text: The given text.

    Raises:
        InputError: If it is neither.

    Example:
        >>> seconds_of("since", "1970-01-02"), seconds_of("since", "1970-01-01T02:00+01:00")
        (86400.0, 3600.0)
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"{name} must be a date or time in ISO 8601, got {text!r}; write 2026-11-24") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
