"""The engine `ray`: pieces of a stage's work, computed by Ray Data's actor pools on one machine or many.

`RAY_ADDRESS` names the cluster (docs/ray.md); without it Ray runs on this machine's cores as long as the stage does.
The stage's process is the driver: it reads the inputs, plans the pieces, keeps the ledger, and writes the outputs.
Results come back to it as each piece is done, and what is paid for is in the ledger before it is used. So no worker has
to reach a store, no store can be away, and a run of any number of workers leaves what a run without Ray leaves.

What is lost costs no more than itself:
- a worker that dies, with its machine or alone: its pieces are computed again by another one;
- a record that fails: `Failed` in its place, and the rest of its piece is there (pieces.compute_each);
- a record that kills its worker: after `retries` its piece is tried record by record, and the record is `Failed`;
- the driver: what had come back is in the ledger, and the next run computes the rest.
"""

import logging
import os
import pickle
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar, assert_never, cast, get_args

from stages.lib.cache.place import cache_dir
from stages.lib.core.progress import doing
from stages.lib.spread.pieces import Done, Failed, Opener, Worker

T = TypeVar("T")
R = TypeVar("R")

Engine = Literal["local", "ray"]
STAGES = Path(__file__).parents[2]  # the package that workers import
MOST_BLOCKS = 10_000  # of one pass: Ray's bookkeeping is in memory
KNOCK_SECONDS = 20.0  # that the cluster may take to accept a connection
ADVICE = (
    "is it up, with the same RAY_AUTH_TOKEN and the same versions of Python and Ray? Without RAY_ADDRESS this machine "
    "is the cluster"
)
BLOCKS_PER_WORKER = 16  # or more: what a dead worker's successor does again, and how even the load is at the end
# Read by a worker's libraries. Keys to servers are not handed on: Ray shows a job's environment to who may see the job.
HANDED_ON = ("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")


@dataclass(frozen=True, kw_only=True)
class RayParams:
    """Section `ray` of params.yaml: the workers of a stage whose engine is ray. They decide no result."""

    workers: int  # at most; 0: as many as the cluster has room for
    cpus: float  # cores of one, > 0
    gpus: float  # cards of one, or a share; 0: none
    retries: int  # of a piece whose worker died, before its records are tried one by one, >= 0

    def __post_init__(self) -> None:
        """Checks the ranges."""
        if min(self.workers, self.retries, self.gpus) < 0 or self.cpus <= 0:
            raise ValueError("workers, gpus and retries must be >= 0, cpus > 0")


def check_engine(value: Any, key: str) -> Engine:
    """The engine that a param names.

    Raises:
        ValueError: naming the key, its value and what is allowed.
    """
    if value not in get_args(Engine):
        raise ValueError(f"params.yaml: {key}: {value!r} is not allowed; one of {list(get_args(Engine))}")
    return cast(Engine, value)


@contextmanager
def open_cluster(engine: Engine, params: Callable[[], RayParams]) -> Iterator["Cluster | None"]:
    """The cluster that a stage's `engine` asks for; None: local, all is computed by this process.

    `params` are read for a cluster alone: who has none needs no section `ray`. It is reached when the first piece is
    computed: a stage whose answers are all in the ledger does without.
    """
    match engine:
        case "local":
            yield None
        case "ray":
            cluster = Cluster(params())
            try:
                yield cluster
            finally:
                cluster.close()
        case _:
            assert_never(engine)


@doing("reaching the Ray cluster")
def _connect() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ValueError("engine ray: Ray is not installed: make install-ray, or take engine local") from error

    address = os.environ.get("RAY_ADDRESS", "local")
    _knock(address)
    handed = {name: os.environ[name] for name in HANDED_ON if name in os.environ}
    environment = {
        # The running code, edited or queued as it is, and no more: neither data nor the project's other files.
        "py_modules": [str(STAGES)],
        "excludes": ["__pycache__"],
        "env_vars": {"LLMILL_CACHE": str(cache_dir().resolve()), **handed},
    }
    os.environ.setdefault("RAY_RUNTIME_ENV_LOG_TO_DRIVER_ENABLED", "0")
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        ray.init(
            address=address,
            namespace="llmill",
            runtime_env=environment,
            include_dashboard=False if address == "local" else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ValueError(f"{_unreachable(address)} ({error}); {ADVICE}") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # the stage's own bar says more
    context.max_errored_blocks = -1  # what a dead worker leaves out is asked for again, below
    context.log_internal_stack_trace_to_stdout = False
    return ray


def _knock(address: str) -> None:
    """Raises at once where nobody listens: Ray would go on for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # local, auto: Ray finds it
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_SECONDS).close()
    except OSError as error:
        raise ValueError(f"{_unreachable(address)} ({error}); {ADVICE}") from error


def _unreachable(address: str) -> str:
    return f"engine ray: the cluster at RAY_ADDRESS={address!r} cannot be reached"


def _room(ray: Any, params: RayParams) -> int:
    """Workers that the cluster has room for, at most `params.workers`."""
    there = ray.cluster_resources()
    room = int(there.get("CPU", 0) / params.cpus)
    if params.gpus:
        room = min(room, int(there.get("GPU", 0) / params.gpus))
    if not room:
        raise ValueError(
            f"engine ray: the cluster has {there.get('CPU', 0):g} cores and {there.get('GPU', 0):g} cards, and one "
            f"worker takes {params.cpus:g} and {params.gpus:g} (params.yaml, ray:)"
        )
    return min(room, params.workers or room)


class Cluster:
    """Workers of a Ray cluster, as many as there is room for."""

    def __init__(self, params: RayParams) -> None:
        self._params = params

    @property
    def has_cards(self) -> bool:
        """Whether a worker has a card."""
        return self._params.gpus > 0

    @cached_property
    def _ray(self) -> Any:
        """Ray, connected.

        Raises:
            ValueError: Ray is not installed, or the cluster cannot be reached.
        """
        return _connect()

    @cached_property
    def workers(self) -> int:
        """How many there are at most.

        Raises:
            ValueError: as `_ray`, or no worker has room in the cluster.
        """
        return _room(self._ray, self._params)

    def close(self) -> None:
        """Leaves the cluster, if it was reached; one that was started for this process ends."""
        if "_ray" in self.__dict__:
            self.__dict__.pop("_ray").shutdown()

    def each(self, opener: Opener[T, R], records: Sequence[T], pieces: Sequence[Sequence[int]]) -> Iterator[Done[R]]:
        """Yields the results of all pieces (places in `records`), each as soon as it is there, in any order.

        Args:
            opener: called once in each worker, and pickled: a function of a module, or a `partial` of one.
            records: what is computed; anything that can be pickled.
            pieces: which of them are computed together.

        Raises:
            ValueError: the cluster cannot be reached, or has no room.
            RuntimeError: no worker could be opened.
        """
        todo = {piece[0]: tuple(piece) for piece in pieces}
        for done in self._pass(opener, records, list(todo.values())):
            del todo[done.places[0]]
            yield done
        alone = {place: (place,) for piece in todo.values() for place in piece}
        if not alone:
            return
        print(
            f"ray: workers died over {len(todo):,} pieces; their {len(alone):,} records go one by one", file=sys.stderr
        )
        for done in self._pass(opener, records, list(alone.values())):
            del alone[done.places[0]]
            yield done
        for place in alone:
            yield Done((place,), (Failed(f"its worker died, {self._params.retries + 1} times"),))

    def _pass(self, opener: Opener[T, R], records: Sequence[T], pieces: Sequence[tuple[int, ...]]) -> Iterator[Done[R]]:
        """Yields what comes back; pieces whose workers died too often do not."""
        if not pieces:
            return
        data = self._ray.data
        rows = [{"places": list(piece), "records": pickle.dumps([records[i] for i in piece])} for piece in pieces]
        workers = min(self.workers, len(pieces))
        blocks = min(len(pieces), max(MOST_BLOCKS, workers * BLOCKS_PER_WORKER))
        computed = data.from_items(rows, override_num_blocks=blocks).map(
            Worker,
            fn_constructor_args=(opener,),
            compute=data.ActorPoolStrategy(size=workers),
            num_cpus=self._params.cpus,
            num_gpus=self._params.gpus or None,
            max_restarts=-1,
            max_task_retries=self._params.retries,
        )
        try:
            for row in computed.iter_rows():
                yield Done(tuple(map(int, row["places"])), tuple(pickle.loads(row["results"])))
        except self._ray.exceptions.RayError as error:
            raise RuntimeError(f"engine ray: no worker could be opened: {_cause(error)}") from error


def _cause(error: BaseException) -> str:
    """The innermost error that a chain of Ray's tells, on one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
