"""A backend's requests, answered by the workers of a Ray cluster: each worker opens the backend that the entry names.

The requests are planned here, as the backend itself plans them, and pieces of the plan go to whichever worker is free:
`transformers` gives the same bits as without Ray. The engines that make up their own batches (vllm, llama_cpp) get
slices of the requests. A server (openai) is asked from here: its workers are its own.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from stages.lib.llm.asking import make_backend
from stages.lib.llm.in_flight import FailureCount
from stages.lib.llm.protocol import Backend, DivisibleBackend, GenerateRequest, Plan, Reply, Score, ScoreRequest
from stages.lib.spread.cluster import Cluster
from stages.lib.spread.pieces import Compute, Failed
from stages.lib.spread.places import found_anywhere
from stages.lib.weights.models import ModelEntry

SLICE = 256  # requests that an engine with batches of its own gets at once

Request = GenerateRequest | ScoreRequest


def by_workers(cluster: Cluster | None) -> Callable[[ModelEntry, Backend], Backend] | None:
    """What asking.open_model takes to have requests answered by a cluster's workers; None: there is none."""
    if cluster is None:
        return None
    return lambda entry, backend: backend if entry.backend == "openai" else RayBackend(entry, backend, cluster)


class RayBackend:
    """A backend whose answers come from a cluster; this process loads no weights."""

    def __init__(self, entry: ModelEntry, backend: Backend, cluster: Cluster) -> None:
        """`backend`: plans and renders here."""
        self._entry = entry
        self._backend = backend
        self._cluster = cluster

    @property
    def version(self) -> str:
        """As the backend's own: an answer is the same, whoever computes it."""
        return self._backend.version

    def render(self, request: Request) -> str:
        """The text that the model reads."""
        return self._backend.render(request)

    def generate(
        self, requests: Sequence[GenerateRequest], missing: Sequence[int]
    ) -> Iterator[list[tuple[int, Reply]]]:
        """Replies to requests[i] for i in missing, piece by piece; one that fails for good is a refused reply.

        Raises:
            RuntimeError: no worker could be opened, or more requests fail than `max_failed` of the entry.
        """
        return self._answers(requests, missing, Reply.refused)

    def score(self, requests: Sequence[ScoreRequest], missing: Sequence[int]) -> Iterator[list[tuple[int, Score]]]:
        """Scores of requests[i] for i in missing, piece by piece; one that fails for good is a failed score.

        Raises:
            RuntimeError: no worker could be opened, or more requests fail than `max_failed` of the entry.
        """
        return self._answers(requests, missing, Score.failed)

    def close(self) -> None:
        """Frees what the backend holds here."""
        self._backend.close()

    def _answers(
        self, requests: Sequence[Any], missing: Sequence[int], failed: Callable[[str], Any]
    ) -> Iterator[list[tuple[int, Any]]]:
        plan = self._plan(requests, missing)
        failures = FailureCount(self._entry.max_failed, len(requests), len(requests) - len(missing))
        if plan.refused:
            yield plan.refused
        sent = [_sent(request) for request in requests]
        opener = partial(open_answering, found_anywhere(self._entry), plan.shared, plan.threads)
        for done in self._cluster.each(opener, sent, plan.pieces):
            found = [failed(one.error) if isinstance(one, Failed) else one for one in done.results]
            yield list(zip(done.places, found, strict=True))
            for answer in found:
                failures.enter(answer.error)

    def _plan(self, requests: Sequence[Any], missing: Sequence[int]) -> Plan:
        if isinstance(self._backend, DivisibleBackend):
            return self._backend.plan(requests, missing, on_cpu=not self._cluster.has_cards)
        size = max(1, min(SLICE, -(-len(missing) // self._cluster.workers)))
        return Plan([], [list(missing[start : start + size]) for start in range(0, len(missing), size)])


def open_answering(entry: ModelEntry, shared: int, threads: int) -> Compute[Request, Reply | Score]:
    """In a worker: what answers the requests of a piece; `shared` and `threads` are its plan's."""
    backend = make_backend(entry)

    def answer(requests: Sequence[Any]) -> Sequence[Reply | Score]:
        if isinstance(backend, DivisibleBackend):
            return backend.compute(requests, shared, threads)
        ask: Any = backend.generate if isinstance(requests[0], GenerateRequest) else backend.score
        found = dict(part for batch in ask(requests, range(len(requests))) for part in batch)
        return [found[i] for i in range(len(requests))]

    return answer


def _sent(request: Request) -> Request:
    """A request as it travels: what tells whether its reply can be read stays here, and may be any function."""
    return dataclasses.replace(request, readable=None) if isinstance(request, GenerateRequest) else request
