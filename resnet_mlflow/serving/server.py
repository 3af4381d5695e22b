"""Makes MLflow's model server answer requests that it cannot parse with status 400 and one line, as for other errors.

By default it answers some with 500, others with 415, and quotes the whole request, images included, in its message.
There is no hook for this, so its function is wrapped, in the server's process only.
"""

import re
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from mlflow.exceptions import MlflowException

from resnet_mlflow.errors import printable
from resnet_mlflow.serving.requests import RequestError

_SERVER, _APP = "mlflow.pyfunc.scoring_server", "mlflow.pyfunc.scoring_server.app"
LONGEST_LINE = 300
# Text that may be an image in base64.
_ENCODED = re.compile(r"[A-Za-z0-9+/=]{40,}")

Invocations = Callable[..., Any]


def guard_server() -> None:
    """Make the model server that loads this model refuse requests in one line; other processes are not changed."""
    server = sys.modules.get(_SERVER)
    if server is not None and _APP in sys.modules:
        server.invocations = guarded(server.invocations)  # type: ignore[attr-defined]


def guarded(invocations: Invocations) -> Invocations:
    """Wrap the server's function of a request's body and content type so that every refusal is a ``RequestError``."""

    @wraps(invocations)
    def answer(data: bytes, content_type: str | None, *context: Any) -> Any:
        try:
            _check_encoding(data, _checked(content_type))
            return invocations(data, content_type, *context)
        except (RequestError, MemoryError):
            raise
        except RecursionError:
            raise RequestError(
                "a request must not be nested deeper than a table or pixels need, got hundreds of levels; flatten it"
            ) from None
        except MlflowException as error:
            raise RequestError(_one_line(error.message)) from None
        except Exception as error:  # MLflow's parsers can raise anything on JSON of another shape
            line = _one_line(f"{type(error).__name__}: {error}")
            raise RequestError(
                f"a request must be a table or pixels, as documented, got something else ({line})"
            ) from None

    return answer


def _check_encoding(data: bytes, content_type: str) -> None:
    if content_type.partition(";")[0].strip() not in ("application/json", "text/csv"):
        return
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise RequestError(
            f"a request must be UTF-8 text, got byte 0x{data[error.start]:02x} at {error.start}; encode it again"
        ) from None


def _checked(content_type: str | None) -> str:
    if content_type is None:
        raise RequestError("a request must have a content type, got none; send Content-Type: application/json")
    for part in content_type.split(";")[1:]:
        name, _, value = part.partition("=")
        charset = value.strip().strip('"').lower()
        if name.strip().lower() == "charset" and charset != "utf-8":
            raise RequestError(f"a request's charset must be utf-8, got {printable(charset)[:40]}; encode it again")
    return content_type


def _one_line(message: str) -> str:
    """Return an MLflow message without the request that it quotes before or after."""
    description = message.rpartition("\nError: ")[2].partition("\nInput:")[0]
    line = _ENCODED.sub("...", printable(" ".join(description.split())))
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}..."
