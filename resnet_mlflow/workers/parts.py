"""Gives parts of a piece of work to Dask workers, and yields their answers as they arrive."""

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
    """A piece of work for one worker.

    Attributes:
        key: Identifies the work: parts with equal keys are done once.
        content: Data for the worker: small plain values, such as a configuration.
        after: Keys of parts that must end first.
        priority: Of the parts that can start, those with higher numbers start first: long ones, so that none are left
            alone at the end.
        needs_gpu: Whether it must run on a worker with a GPU, if there are any.
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

    If a worker dies, hangs or leaves, another worker repeats its part. A part that cannot be completed has the answer
    ``{"failed": reason}``.

    Args:
        client: Client of the workers.
        function: Called with a part's content and with the answers of the parts in ``after``, which it may ignore.
        parts: Parts in an order in which each follows the parts in its ``after``.
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
