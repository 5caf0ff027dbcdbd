"""A model, or an adapter on it, that answers token prompts through the ledger: nothing is computed twice.

What it said is kept in `.cache/llm/ledger.sqlite` batch by batch, so that a run that is killed while it asks goes on at
the first batch that is missing. The weights load when something is.
"""

import dataclasses
import importlib.metadata
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from stages.lib.cache.code_identity import code_identity
from stages.lib.cache.ledger import Ledger
from stages.lib.cache.place import cache_dir
from stages.lib.core.hashes import file_sha256, ledger_key
from stages.lib.core.progress import each
from stages.lib.llm.asking import kept_name
from stages.lib.llm.protocol import Sampling
from stages.lib.replying.conversation_replies import ConversationReply, Tokens, write_replies
from stages.lib.weights.base import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    base_identity,
    check_adapter,
    free_memory,
    load_adapter,
    load_base,
    load_tokenizer,
)
from stages.lib.weights.gguf_weights import huggingface_directory
from stages.lib.weights.models import ModelEntry

Batches = Iterator[list[tuple[int, dict[str, Any]]]]


class AnsweringModel:
    """`models.<name>`, whose entry it is, or the adapter in a directory on it; loaded by us, whoever trained it."""

    def __init__(
        self,
        name: str,
        entry: ModelEntry,
        adapter: Path | None,
        *,
        dtype: str,
        batch_size: int,
        merged: bool,
        ledger: Ledger,
    ) -> None:
        """`dtype`: of the weights; `merged`: the adapter is added to them: a token costs what it costs the base.

        Raises:
            ValueError: no whole adapter is there, or it is one of another base.
        """
        if adapter:
            check_adapter(name, entry, adapter)
        self._name, self._entry, self._adapter = name, entry, adapter
        self._dtype, self.batch_size, self._merged, self._ledger = (
            dtype,
            batch_size,
            merged and adapter is not None,
            ledger,
        )
        self._who = [
            base_identity(entry),
            dtype,
            entry.thinking,
            self._merged,
            *map(file_sha256, adapter_files(adapter)),
        ]
        self._who += [
            f"{package} {importlib.metadata.version(package)}" for package in ("torch", "transformers", "peft")
        ]

    @cached_property
    def _model(self) -> Any:
        if self._adapter is None:
            return load_base(self._entry, self._dtype)[0]
        model, _ = load_adapter(self._name, self._entry, self._adapter, self._dtype)
        if self._merged:
            model.merge_adapter()
        return model

    @cached_property
    def tokenizer(self) -> Any:
        """The adapter's, or the base's."""
        has_own = self._adapter and (self._adapter / "tokenizer_config.json").exists()
        return load_tokenizer(self._adapter if has_own else huggingface_directory(self._entry))  # type: ignore[arg-type]

    def replies(self, prompts: Sequence[Tokens], asked: Sequence[Sampling]) -> list[ConversationReply]:
        """Replies to token prompts, in their order; the model has room for each and its reply."""
        drawn = [dataclasses.replace(one, seed=0) if one.temperature == 0 else one for one in asked]  # greedy: no seed
        questions = [
            ("reply", list(prompt), dataclasses.asdict(one)) for prompt, one in zip(prompts, drawn, strict=True)
        ]

        def compute(model: Any, missing: Sequence[int]) -> Batches:
            batches = write_replies(
                model,
                self.tokenizer,
                prompts,
                asked,
                batch_size=self.batch_size,
                missing=missing,
                thinking=self._entry.thinking,
            )
            for batch in batches:
                yield [(i, dataclasses.asdict(reply)) for i, reply in batch]

        return [ConversationReply(**found) for found in self.kept(questions, write_replies, compute, "replies")]

    def kept(
        self,
        questions: Sequence[Any],
        code: Callable[..., Any],
        compute: Callable[[Any, Sequence[int]], Batches],
        what: str,
    ) -> list[dict[str, Any]]:
        """What the ledger has of this model and the questions; what it has not is computed, and kept batch by batch.

        Args:
            questions: all that decides an answer beside the model, as JSON.
            code: what computes, whose code decides too.
            compute: from the model and the positions that are missing, batches of (position, answer).
            what: the answers are, for those who wait for them.
        """
        identity = code_identity(code, load_base, load_adapter)
        keys = [ledger_key(self._who, identity, question) for question in questions]
        found = {key: json.loads(value)["answer"] for key, value in self._ledger.get(keys).items()}
        first = {key: i for i, key in reversed(list(enumerate(keys)))}  # equal questions are asked once
        missing = sorted(i for key, i in first.items() if key not in found)
        start = time.perf_counter()
        batches = compute(self._model, missing) if missing else ()
        for batch in each(batches, what, "answer", total=len(missing), size=len):
            seconds = round((time.perf_counter() - start) / len(batch), 4)
            written = {"seconds": seconds, "model": kept_name(self._entry)}
            self._ledger.put((keys[i], json.dumps({"answer": answer, **written}).encode()) for i, answer in batch)
            found |= {keys[i]: answer for i, answer in batch}
            start = time.perf_counter()
        return [found[key] for key in keys]

    def close(self) -> None:
        """Gives the memory of the weights back, the GPU's included."""
        if self.__dict__.pop("_model", None) is not None:
            free_memory()


@contextmanager
def reply_ledger() -> Iterator[Ledger]:
    """The ledger of language models' answers."""
    with closing(Ledger(cache_dir() / "llm" / "ledger.sqlite")) as ledger:
        yield ledger


def adapter_files(adapter: Path | None) -> list[Path]:
    """The files of an adapter that decide what it says."""
    if adapter is None:
        return []
    names = (ADAPTER_CONFIG, ADAPTER_WEIGHTS)
    tokenizer = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
    return [adapter / name for name in names] + [adapter / name for name in tokenizer if (adapter / name).is_file()]
