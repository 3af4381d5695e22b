"""Parts of a piece of work, given to Dask workers, and their answers as they come."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resnet_mlflow.process import raise_if_stopped
from resnet_mlflow.workers.cluster import GPU

if TYPE_CHECKING:
    from distributed import Client

POLL_S = 0.5


@dataclass(frozen=True)
class Part:
    """What one worker does at a time.

    Attributes:
        key: Stands for what is done: parts of equal keys are done once.
        content: What the worker receives: small plain values, such as a configuration.
        after: Keys of parts that must have ended before.
        priority: Of those that can begin, parts of higher numbers do: long ones, so that none remain alone at the end.
        needs_gpu: Whether only a worker with a GPU can do it, where there are such workers.
    """

    key: str
    content: Mapping[str, Any]
    after: Sequence[str] = ()
    priority: int = 0
    needs_gpu: bool = False


def do_parts(
    client: "Client", function: Callable[..., dict[str, str]], parts: Sequence[Part]
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield key and answer of each part as it ends.

    A part whose worker dies, hangs or leaves is done again by another. One that cannot be done so answers
    ``{"failed": reason}``.

    Args:
        client: Of the workers.
        function: Called with a part's content, and with the answers of those that it comes after, which it may ignore.
        parts: In an order in which each comes after those it names.
    """
    futures: dict[str, Any] = {}
    for part in parts:
        if part.key not in futures:
            futures[part.key] = client.submit(
                function,
                dict(part.content),
                *(futures[key] for key in part.after),
                key=part.key,
                pure=False,
                priority=part.priority,
                resources={GPU: 1} if part.needs_gpu else None,
            )
    try:
        yield from _as_they_end(client, futures)
    finally:
        client.cancel([future for future in futures.values() if not future.done()], force=True)


def _as_they_end(client: "Client", futures: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    from distributed import wait

    pending = dict(futures)
    while pending:
        raise_if_stopped()
        try:
            with client.as_current():
                done = wait(list(pending.values()), timeout=POLL_S, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            continue
        ended = [key for key, future in pending.items() if future in done]
        for key in ended:
            yield key, _answer(pending.pop(key))


def _answer(future: Any) -> dict[str, str]:
    error = future.exception()
    if error is None:
        answer: dict[str, str] = future.result()
        return answer
    return {"failed": (str(error).splitlines() or [type(error).__name__])[0]}
