"""A language model by its entry of `models:`, with the ledger between the stage and the backend.

Every request is looked up in `.cache/llm/ledger.sqlite` first; what is missing is asked, each
distinct request once, and kept batch by batch as soon as it is answered. So a killed stage
resumes with nothing asked twice, and editing one chunk asks for that chunk alone.
"""

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, TypeVar, assert_never

from stages.lib.cache.code_identity import code_identity
from stages.lib.cache.ledger import Ledger
from stages.lib.cache.place import cache_dir
from stages.lib.core.hashes import ledger_key
from stages.lib.core.progress import bar
from stages.lib.llm.protocol import Backend, GenerateRequest, Reply, Sampling, Score, ScoreRequest
from stages.lib.weights.models import ModelEntry, weights_identity

# Distinct requests that a backend plans and holds together (their token ids take it 10 kB and more each), and that are
# read from the ledger together. A million in one list would take more than this machine has.
BLOCK = 8192
R = TypeVar("R", GenerateRequest, ScoreRequest)
A = TypeVar("A", Reply, Score)


@contextmanager
def open_model(
    entry: ModelEntry, handed_on: Callable[[ModelEntry, Backend], Backend] | None = None
) -> Iterator["AskedModel"]:
    """Opens a model; its weights load when the first request is not in the ledger.

    `handed_on`: makes of a backend one whose requests others answer (spread/language_models.py). The ledger stays here.

    Raises:
        ValueError: no language model, weights that are absent or not the pinned ones, or a backend
            whose package is not installed.
    """
    with closing(make_backend(entry)) as own, closing(Ledger(cache_dir() / "llm" / "ledger.sqlite")) as ledger:
        yield AskedModel(entry, handed_on(entry, own) if handed_on else own, ledger, answered_by=type(own))


def make_backend(entry: ModelEntry) -> Backend:
    """The engine that an entry names.

    Raises:
        ValueError: the entry is no language model.
    """
    match entry.backend:
        case "transformers":
            from stages.lib.llm.transformers_backend import TransformersBackend

            return TransformersBackend(entry)
        case "llama_cpp":
            from stages.lib.llm.llama_cpp_backend import LlamaCppBackend

            return LlamaCppBackend(entry)
        case "vllm":
            from stages.lib.llm.vllm_backend import VllmBackend

            return VllmBackend(entry)
        case "openai":
            from stages.lib.llm.openai_backend import OpenAiBackend

            return OpenAiBackend(entry)
        case "sentence_transformers":
            raise ValueError(f"{entry.source}: backend {entry.backend!r} does not run language models")
        case _:
            assert_never(entry.backend)


class AskedModel:
    """A `LanguageModel` whose answers go through the ledger."""

    def __init__(
        self, entry: ModelEntry, backend: Backend, ledger: Ledger, answered_by: type[Backend] | None = None
    ) -> None:
        """`answered_by`: whose code makes the answers, where the backend hands the requests on."""
        self._entry = entry
        self._backend = backend
        self._answered_by = answered_by or type(backend)
        self._ledger = ledger
        self._identity = weights_identity(entry)
        self._name = kept_name(entry)
        self.asked = 0  # requests that the backend answered
        self.reused = 0  # distinct requests that the ledger answered

    @property
    def entry(self) -> ModelEntry:
        """The model's entry in params.yaml."""
        return self._entry

    def generate(self, requests: Sequence[GenerateRequest], progress: str | None = None) -> list[Reply]:
        """Replies to the requests, in their order. One that failed, is empty, or cannot be read is not kept.

        Raises:
            RuntimeError: the engine or server failed; what was answered before is kept.
        """
        return self._answers(requests, self._backend.generate, Reply, progress)

    def score(self, requests: Sequence[ScoreRequest], progress: str | None = None) -> list[Score]:
        """Log-probabilities of the requests' choices, in the requests' order. A failed score is not kept.

        Raises:
            RuntimeError: the engine or server failed; what was answered before is kept.
        """
        return self._answers(requests, self._backend.score, Score, progress)

    def _key(self, request: GenerateRequest | ScoreRequest) -> str:
        asked: list[Any] = [self._identity, self._backend.version, request.prompt.chat, self._backend.render(request)]
        # How the backend makes its answer. The wire to a server is no part of it: what was paid for outlives that.
        if isinstance(request, ScoreRequest):
            return ledger_key("score", *asked, code_identity(self._answered_by.score), request.choices)
        sampling = request.sampling
        if sampling.temperature == 0:  # a greedy reply depends on neither
            sampling = dataclasses.replace(sampling, seed=Sampling.seed, top_p=Sampling.top_p)
        code = code_identity(self._answered_by.generate)
        return ledger_key("generate", *asked, code, dataclasses.asdict(sampling), request.schema)

    def _answers(
        self,
        requests: Sequence[R],
        ask: Callable[[Sequence[R], Sequence[int]], Iterator[list[tuple[int, A]]]],
        kind: type[A],
        progress: str | None,
    ) -> list[A]:
        keys = [self._key(request) for request in requests]
        distinct = dict(zip(reversed(keys), reversed(requests), strict=True))  # key -> its first request
        order = list(dict.fromkeys(keys))
        answers = self._known(order, kind)
        blank = [key for key, answer in answers.items() if not _is_kept(answer, distinct[key])]  # of an older version
        self._ledger.drop(blank)
        for key in blank:
            del answers[key]
        missing = [i for i, key in enumerate(order) if key not in answers]
        self.reused += len(answers)
        try:
            with bar(progress if missing else None, len(order), "prompt", initial=len(answers)) as counter:
                start = time.perf_counter()
                for block in _blocks(order):
                    absent = [i for i, key in enumerate(block) if key not in answers]
                    for batch in ask([distinct[key] for key in block], absent) if absent else ():
                        seconds = (time.perf_counter() - start) / len(batch)
                        kept = [(block[i], answer) for i, answer in batch if _is_kept(answer, distinct[block[i]])]
                        self._keep([(key, self._written(answer, seconds)) for key, answer in kept])
                        answers.update((block[i], answer) for i, answer in batch)
                        self.asked += len(batch)
                        counter.update(len(batch))
                        start = time.perf_counter()
        except (RuntimeError, KeyboardInterrupt) as error:
            done = sum(key in answers and _is_kept(answers[key], distinct[key]) for key in (order[i] for i in missing))
            told = f"{done} of {len(missing)} requests were answered before, and are kept"
            if isinstance(error, KeyboardInterrupt):
                print(f"interrupted: {told}", file=sys.stderr)
                raise
            raise RuntimeError(f"{error}; {told}") from error
        left = [i for i in missing if order[i] not in answers]
        assert not left, f"the backend left {len(left)} requests unanswered, the first is {left[:1]}"
        return [answers[key] for key in keys]

    def _known(self, keys: Sequence[str], kind: type[A]) -> dict[str, A]:
        """What the ledger holds; what it holds of an older version is given the name of its model."""
        answers: dict[str, A] = {}
        for block in _blocks(keys):
            found = {key: json.loads(value) for key, value in self._ledger.get(block).items()}
            named = [(key, content | {"model": self._name}) for key, content in found.items() if "model" not in content]
            if named:
                self._ledger.put((key, json.dumps(content, ensure_ascii=False).encode()) for key, content in named)
            answers.update((key, _read(kind, content["answer"])) for key, content in found.items())
        return answers

    def _written(self, answer: Reply | Score, seconds: float) -> bytes:
        content = {"answer": dataclasses.asdict(answer), "seconds": round(seconds, 4), "model": self._name}
        return json.dumps(content, ensure_ascii=False).encode()

    def _keep(self, answers: list[tuple[str, bytes]]) -> None:
        try:
            self._ledger.put(answers)
        except KeyboardInterrupt:
            self._ledger.put(answers)  # paid for: written down before the process ends
            raise


def _blocks(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    """The keys in lists of BLOCK, which hang on all the keys, not on what is known: a resumed run has the same."""
    for start in range(0, len(keys), BLOCK):
        yield keys[start : start + BLOCK]


def kept_name(entry: ModelEntry) -> str:
    """The name that the ledger keeps beside a model's answers, by which they can be dropped: source and revision."""
    return f"{entry.source}@{entry.revision}" if entry.revision else entry.source


def _is_kept(answer: Reply | Score, request: GenerateRequest | ScoreRequest) -> bool:
    """Whether the ledger keeps an answer: no failed one, and no reply that is empty or that its asker cannot read."""
    if answer.error or isinstance(answer, Score) or isinstance(request, ScoreRequest):
        return not answer.error
    return bool(answer.text.strip()) and (request.readable is None or request.readable(answer))


def _read(kind: type[A], content: dict[str, Any]) -> A:
    fields: dict[str, Any] = {name: tuple(part) if isinstance(part, list) else part for name, part in content.items()}
    return kind(**fields)
