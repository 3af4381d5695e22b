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
        function: Called with a part's content.
        parts: Parts; those in the ``after`` of another are among them.
    """
    waiting = {part.key: part for part in sorted(parts, key=lambda part: -part.priority)}
    running: dict[str, tuple[Part, Any]] = {}
    ended: dict[str, Any] = {}
    try:
        while waiting or running or ended:
            raise_if_stopped()
            for part in _startable(client, waiting, [part for part, _ in running.values()]):
                del waiting[part.key]
                running[part.key] = part, _submit(client, function, part)
            # Workers continue while the caller handles the answers.
            for key, future in ended.items():
                yield key, _answer(future)
            ended = _wait(client, {key: future for key, (_, future) in running.items()})
            for key in ended:
                del running[key]
    finally:
        client.cancel([future for _, future in running.values() if not future.done()], force=True)


def _startable(client: "Client", waiting: Mapping[str, Part], running: Sequence[Part]) -> list[Part]:
    """Return the parts for workers that are free, in order.

    Dask would give every part to a worker as soon as it can start. It estimates by the names of tasks how long they
    take, and here each name is new: several long parts went to one worker.
    """
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    # Without a worker, one part waits for the first that arrives.
    n_free = max(1, sum(worker["nthreads"] for worker in workers)) - len(running)
    n_gpus = sum(worker["resources"].get(GPU, 0) for worker in workers) - sum(part.needs_gpu for part in running)
    unfinished = {*waiting, *(part.key for part in running)}
    found: list[Part] = []
    for part in waiting.values():
        if len(found) >= n_free:
            break
        if unfinished.isdisjoint(part.after) and (not part.needs_gpu or n_gpus > 0):
            found.append(part)
            n_gpus -= part.needs_gpu
    return found


def _submit(client: "Client", function: Callable[..., dict[str, str]], part: Part) -> Any:
    resources = {GPU: 1} if part.needs_gpu else None
    return client.submit(function, dict(part.content), key=part.key, pure=False, resources=resources)


def _wait(client: "Client", running: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts that have ended, after at most ``POLL_S``."""
    from distributed import wait

    if not running:
        return {}
    try:
        with client.as_current():
            done = wait(list(running.values()), timeout=POLL_S, return_when="FIRST_COMPLETED").done
    except TimeoutError:
        return {}
    return {key: future for key, future in running.items() if future in done}


def _answer(future: Any) -> dict[str, str]:
    error = future.exception()
    if error is None:
        answer: dict[str, str] = future.result()
        return answer
    return {"failed": (str(error).splitlines() or [type(error).__name__])[0]}
