"""Work on a CPU that does not depend on the number of cores: each piece by one thread, as many at once as cores."""

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


def each_by_one_thread(function: Callable[[T], R], pieces: Iterable[T]) -> Generator[R, None, None]:
    """Yields what the function makes of each piece, in order.

    Matrix kernels choose their order of summation by the number of threads: with one, a result has the same bits on
    any number of cores, and cores do not wait for each other.
    """
    cores = torch.get_num_threads()
    pool = ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield from pool.map(function, pieces)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(cores)
