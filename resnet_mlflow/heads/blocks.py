"""Blocks of items, each worked on by one thread, so that results are the same whatever the number of threads.

A matrix product by several threads of BLAS is divided by their number, and its last digits change with it. NumPy and
SciPy bring a BLAS each, too, whose threads wait actively and take each other's cores.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache, partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from resnet_mlflow.devices import n_cores

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

InOrder = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]


@contextmanager
def thread_per_block() -> Iterator[InOrder]:
    """Yield what applies a function to blocks, by as many threads as there are cores, and gives results in their order.

    Blocks are read two per thread ahead of the results that are taken.
    """
    n_threads = n_cores()
    with on_one_blas_thread(), ThreadPoolExecutor(n_threads, "block") as pool:
        yield partial(_in_order, pool, 2 * n_threads)


def on_one_blas_thread() -> AbstractContextManager[Any]:
    """Return what lets each matrix product have one thread."""
    limits: AbstractContextManager[Any] = _controller().limit(limits=1, user_api="blas")
    return limits


def _in_order(
    pool: ThreadPoolExecutor, n_ahead: int, work: Callable[[Any], Any], blocks: Iterable[Any]
) -> Iterator[Any]:
    rest = iter(blocks)
    first = list(islice(rest, 2))
    if len(first) == 1:  # not worth another thread
        yield work(first[0])
        return
    waiting: deque[Future[Any]] = deque()
    for block in chain(first, rest):
        waiting.append(pool.submit(work, block))
        if len(waiting) > n_ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@lru_cache(maxsize=1)
def _controller() -> "ThreadpoolController":
    # Looking through the libraries of the process takes milliseconds. SciPy's BLAS is there once its solvers are.
    import scipy.linalg  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
