"""Yes or no by a language model: P(yes) against P(no) as the next token, as Qwen3-Reranker defines it.

Zhang et al., "Qwen3 Embedding", arXiv:2506.05176, section 2, and the usage on the model card
Qwen/Qwen3-Reranker-0.6B: prefix, body, suffix, `max_length`, and softmax over two logits are its.
"""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from stages.lib.conversations.encoding import beginning, encode, encode_with_offsets
from stages.lib.conversations.rendering import plain
from stages.lib.core.params import fill
from stages.lib.llm.protocol import LanguageModel, Prompt, ScoreRequest
from stages.lib.reranking.pair_scores import SCORE_DECIMALS, PairScores, QueryDocument
from stages.lib.weights.models import locate

PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
BODY = "<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}"
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
MAX_LENGTH = 8192  # tokens of prefix, body and suffix together, where the model's entry names none
CHOICES = ("yes", "no")


class YesNoReranker:
    """A language model that was trained to answer yes or no to this very prompt."""

    def __init__(self, model: LanguageModel, instruction: str) -> None:
        """`instruction`: what counts as relevant; "Given a web search query, retrieve relevant passages ..."."""
        self._model = model
        self._instruction = instruction

    def score(self, pairs: Sequence[QueryDocument], progress: str | None = None) -> PairScores:
        """exp(yes) / (exp(yes) + exp(no)) of the next token's logits, 0..1.

        Raises:
            ValueError: "yes" or "no" is not one token of this model, or a text is too long for a model without
                a tokenizer file here.
        """
        bodies = [fill(BODY, instruction=self._instruction, query=pair.query, document=pair.document) for pair in pairs]
        fitting = [self._fit(body) for body in bodies]
        requests = [
            ScoreRequest(prompt=Prompt(text=body, chat=False, frame=(PREFIX, SUFFIX)), choices=CHOICES)
            for body in fitting
        ]
        values = np.empty(len(pairs))
        scores = self._model.score(requests, progress=progress)
        for i, score in enumerate(scores):
            if score.error:
                values[i] = np.nan
                continue
            if score.tokens != (1, 1):
                raise ValueError(
                    f"{self._model.entry.source}: yes and no are {score.tokens} tokens; yes_no needs one each"
                )
            yes, no = score.logprobs
            # softmax over the two logits; the rest of the vocabulary cancels
            values[i] = 1.0 / (1.0 + math.exp(min(no - yes, 700.0)))
        truncated = sum(body != whole for body, whole in zip(fitting, bodies, strict=True))
        errors = tuple(score.error for score in scores if score.error)
        return PairScores(values.round(SCORE_DECIMALS), truncated, errors)

    def _fit(self, body: str) -> str:
        """The body cut at its end, which is the document's, so that the suffix still fits."""
        limit = (self._model.entry.max_length or MAX_LENGTH) - 1  # a backend's limit is for prompt and answer together
        # A token of a byte-level vocabulary is at least one byte: what is short in bytes needs no tokenizer.
        if len((PREFIX + body + SUFFIX).encode()) <= limit:
            return body
        room = limit - len(encode(self._tokenizer, plain(self._tokenizer, "", PREFIX, SUFFIX)))
        if room < 1:
            raise ValueError(f"{self._model.entry.source}: max_length {limit + 1} leaves no room for the document")
        first = beginning(self._tokenizer)
        encoded = encode_with_offsets(self._tokenizer, plain(self._tokenizer, body))
        kept = encoded.offsets[len(first) :]
        return body if len(kept) <= room else body[: kept[room - 1][1]]

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import PreTrainedTokenizerFast

        if self._model.entry.source.startswith("server:"):
            raise ValueError(
                f"{self._model.entry.source}: cannot count the tokens of a long document for a server's model"
            )
        file = locate(self._model.entry) / "tokenizer.json"
        if not file.is_file():
            raise ValueError(f"{file}: no such file; needed to cut a document that is longer than the model takes")
        return PreTrainedTokenizerFast(tokenizer_file=str(file))
