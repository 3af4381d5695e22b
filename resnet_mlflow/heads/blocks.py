"""Blocks of items, one thread each, so that results do not depend on the number of threads.

BLAS splits a matrix product by the number of its threads, and the last digits change with that number. NumPy and SciPy
also each bring their own BLAS, and their threads busy-wait and take cores from each other.
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
    """Yield a function that maps over blocks with one thread per core and gives the results in order.

    Blocks are read ahead of the results, two per thread.
    """
    n_threads = n_cores()
    with on_one_blas_thread(), ThreadPoolExecutor(n_threads, "block") as pool:
        yield partial(_in_order, pool, 2 * n_threads)


def on_one_blas_thread() -> AbstractContextManager[Any]:
    """Return a context in which each matrix product uses one thread."""
    limits: AbstractContextManager[Any] = _controller().limit(limits=1, user_api="blas")
    return limits


def _in_order(
    pool: ThreadPoolExecutor, n_ahead: int, work: Callable[[Any], Any], blocks: Iterable[Any]
) -> Iterator[Any]:
    rest = iter(blocks)
    first = list(islice(rest, 2))
    if len(first) == 1:  # not worth a second thread
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
    # Scanning the libraries of the process takes milliseconds. SciPy's BLAS is loaded with its solvers.
    import scipy.linalg  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
