"""A cross-encoder reads query and document in one go and gives one score (Nogueira and Cho, arXiv:1901.04085).

By sentence-transformers' `CrossEncoder`: a sequence classifier with one label.
"""

import importlib.metadata
from collections.abc import Generator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from stages.lib.cache.code_identity import code_identity
from stages.lib.cache.ledger import Ledger
from stages.lib.reranking.pair_scores import HandedOn, PairScores, QueryDocument, pair_scores, through_ledger
from stages.lib.weights.models import ModelEntry, locate_safetensors, weights_identity


class CrossEncoderReranker:
    """A sequence classifier over pairs; its weights load when a pair is not in the ledger."""

    def __init__(self, entry: ModelEntry, ledger: Ledger, handed_on: HandedOn | None = None) -> None:
        """Finds the weights.

        Raises:
            ValueError: weights that are absent, not the pinned ones, or in a format that would be unpickled.
        """
        self.entry = entry
        self._ledger = ledger
        self._handed_on = handed_on
        self._directory = locate_safetensors(entry)

    def score(self, pairs: Sequence[QueryDocument], progress: str | None = None) -> PairScores:
        """The classifier's output for each pair, through the checkpoint's own activation (a sigmoid by default).

        Raises:
            ValueError: the classifier has more than one label.
        """
        versions = [f"{name} {importlib.metadata.version(name)}" for name in ("sentence-transformers", "torch")]
        code = code_identity(CrossEncoderReranker._plan, CrossEncoderReranker.compute)
        identity = ["cross_encoder", weights_identity(self.entry), self.entry.max_length, *versions, code]
        answers = through_ledger(
            self._ledger,
            pairs,
            identity=identity,
            plan=self._plan,
            compute=self.compute,
            progress=progress,
            handed_on=self._handed_on,
        )
        return pair_scores(answers, lambda answer: answer["score"])

    def _plan(self, pairs: list[QueryDocument]) -> list[list[QueryDocument]]:
        """Batches of pairs of like length."""
        order = sorted(pairs, key=lambda pair: (len(pair.query) + len(pair.document), pair))
        size = self.entry.batch_size
        return [order[start : start + size] for start in range(0, len(order), size)]

    def compute(self, batches: list[list[QueryDocument]]) -> Generator[list[dict[str, Any]], None, None]:
        """Yields the answers to each batch, in order."""
        for pairs in batches:
            yield self._answers(pairs)

    def _answers(self, pairs: list[QueryDocument]) -> list[dict[str, Any]]:
        model = self._model
        scores = model.predict([tuple(pair) for pair in pairs], batch_size=len(pairs), show_progress_bar=False)
        if not np.isfinite(scores).all():
            raise ValueError(f"{self.entry.source}: a score that is not finite for {pairs[0].query!r} and others")
        # The whole length, special tokens included; without a warning that it is long.
        lengths = [len(model.tokenizer(*pair, verbose=False)["input_ids"]) for pair in pairs]
        return [
            {"score": float(score), "truncated": length > model.max_length}
            for score, length in zip(scores, lengths, strict=True)
        ]

    @cached_property
    def _model(self) -> Any:
        import torch
        from sentence_transformers import CrossEncoder  # seconds to import: not before a pair is missing
        from transformers.utils import logging

        logging.disable_progress_bar()
        model = CrossEncoder(
            str(self._directory),
            max_length=self.entry.max_length or None,
            device="cuda" if torch.cuda.is_available() else "cpu",
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"dtype": self.entry.dtype, "use_safetensors": True},
        )
        if model.num_labels != 1:
            raise ValueError(f"{self.entry.source}: {model.num_labels} labels; a reranker gives one score a pair")
        return model
