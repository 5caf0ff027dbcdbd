"""Work on a CPU that does not depend on the number of cores: each piece by one thread, as many at once as cores.

Two threads of one matrix product wait for each other, and where another program has a core, both go at the pace of the
slower one. Pieces that wait for nothing lose the share of the machine that the other program takes.
"""

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


def each_by_one_thread(
    function: Callable[[T], R], pieces: Iterable[T], threads: int = 1, stop: Event | None = None
) -> Generator[R, None, None]:
    """Yields what the function makes of each piece, in order.

    Matrix kernels choose their order of summation by the number of threads: with one, a result has the same bits on
    any number of cores, and cores do not wait for each other.

    Args:
        function: called in threads of a pool; a context such as torch.inference_mode is its own matter.
        pieces: what is computed; who is free takes the next.
        threads: of each piece; more than one where there are fewer pieces than cores.
        stop: set when the caller wants no more (Ctrl-C): a long piece looks at it.
    """
    cores = torch.get_num_threads()
    pool = ThreadPoolExecutor(max(1, cores // threads), initializer=torch.set_num_threads, initargs=(threads,))
    try:
        yield from pool.map(function, pieces)
    finally:
        if stop:
            stop.set()
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(cores)
