"""Work in a process of its own, which can ask the one that started it.

For Unsloth: loading a model by it puts its own forward passes into transformers' and peft's classes, for as long as the
process lives. They return their keys and values instead of filling the cache they are given, so that whatever else
generates or scores there (a base, an adapter, an embedding model) breaks. Here that lasts as long as a training,
and the card's memory goes back with it.
"""

import multiprocessing
import os
import threading
import traceback
from collections.abc import Callable
from multiprocessing import connection
from typing import Any

Answerer = Callable[[Any], Any]


def in_own_process(work: Callable[..., None], *arguments: Any, answer: Answerer | None = None) -> None:
    """Calls `work(*arguments)`, or `work(ask, *arguments)` where there is an `answer`, in a fresh process.

    There, `ask(question)` gives what `answer(question)` gives here. All of them are pickled. The process ends with
    this one, also when this one is killed.

    Raises:
        ValueError: as the work did, or `answer`.
        RuntimeError: the work failed in another way, or its process was killed.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_run, args=(there, work, arguments, answer is not None), daemon=True)
    process.start()
    there.close()
    try:
        while True:
            try:
                kind, content = here.recv()
            except (EOFError, ConnectionResetError):
                process.join()
                raise RuntimeError(
                    f"the process of {work.__name__} was killed (exit code {process.exitcode}); out of memory?"
                ) from None
            match kind:
                case "done":
                    return
                case "ValueError":
                    raise ValueError(content)
                case "failed":
                    raise RuntimeError(content)
                case "asked":
                    assert answer is not None
                    here.send(answer(content))
    finally:
        here.close()
        process.join(timeout=10)
        if process.is_alive():
            process.kill()
            process.join()


def _run(there: connection.Connection, work: Callable[..., None], arguments: tuple[Any, ...], asks: bool) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()

    def ask(question: Any) -> Any:
        there.send(("asked", question))
        return there.recv()

    try:
        work(*([ask] if asks else []), *arguments)
    except EOFError:
        return  # nobody listens any more
    except Exception as error:  # told to the other process, which raises it
        if type(error) is ValueError:
            there.send(("ValueError", str(error)))
        else:
            traceback.print_exc()
            there.send(("failed", f"{work.__name__}: {type(error).__name__}: {error}"))
    else:
        there.send(("done", None))


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
