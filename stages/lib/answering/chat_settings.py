"""The `chat` section of params.yaml: how documents are read, searched and answered from, for the page and the graph."""

from dataclasses import dataclass
from typing import Literal

from stages.lib.retrieval.systems import SYSTEMS

Lead = Literal["auto", "quotes", "model"]


@dataclass(frozen=True, kw_only=True)
class ChatSettings:
    """Shared by `python -m app` and stage rag."""

    chunk_chars: int  # characters per passage at most, >= 100
    overlap_fraction: float  # of a passage that the next one repeats, 0..0.5
    system: str  # auto: the one that the benchmark ranks best; or bm25, dense, late_interaction, mean_pooled, fused
    embedding: str  # a name under models: of backend sentence_transformers; dense vectors
    late_interaction: str  # a name under models: whose token vectors are compared, to search and to choose quotes
    bm25_k1: float  # word saturation, > 0
    bm25_b: float  # length normalisation, 0..1
    rrf_k: int  # constant of reciprocal rank fusion, >= 0
    passages: int  # looked at for an answer, >= 1
    quotes: int  # sentences shown as citations, >= 1
    min_relevance: float  # weighted MaxSim of the best passage below which the documents do not tell, 0..1
    lead: Lead  # what stands first: the verbatim quotes, the model's words, or (auto) what stage rag has measured
    min_f1: float  # token F1 on held-out questions from which the model's words may lead, 0..1
    reasoning: bool  # ask for `reasoning ##### answer`; the page folds the reasoning
    context_tokens: int  # of prompt and reply together, the whole conversation included, >= 256
    max_new_tokens: int  # of a reply, >= 1
    temperature: float  # 0: greedy
    gpu_layers: int  # of a GGUF file, that a GPU computes, where llama.cpp is built for one; -1: all
    max_file_mb: int  # of an uploaded file, >= 1
    max_pages: int  # of an uploaded file, >= 1

    def __post_init__(self) -> None:
        if self.system not in ("auto", *SYSTEMS):
            raise ValueError(f"system: {self.system!r} is not allowed; one of {['auto', *SYSTEMS]}")
        limits = [
            ("chunk_chars", self.chunk_chars >= 100, ">= 100"),
            ("overlap_fraction", 0 <= self.overlap_fraction <= 0.5, "0..0.5"),
            ("bm25_k1", self.bm25_k1 > 0, "> 0"),
            ("bm25_b", 0 <= self.bm25_b <= 1, "0..1"),
            ("rrf_k", self.rrf_k >= 0, ">= 0"),
            ("passages", self.passages >= 1, ">= 1"),
            ("quotes", self.quotes >= 1, ">= 1"),
            ("min_relevance", 0 <= self.min_relevance <= 1, "0..1"),
            ("min_f1", 0 <= self.min_f1 <= 1, "0..1"),
            ("max_new_tokens", self.max_new_tokens >= 1, ">= 1"),
            ("context_tokens", self.context_tokens >= max(256, 2 * self.max_new_tokens), ">= 256 and 2 max_new_tokens"),
            ("temperature", self.temperature >= 0, ">= 0"),
            ("gpu_layers", self.gpu_layers >= -1, ">= -1"),
            ("max_file_mb", self.max_file_mb >= 1, ">= 1"),
            ("max_pages", self.max_pages >= 1, ">= 1"),
        ]
        for name, fits, allowed in limits:
            if not fits:
                raise ValueError(f"{name}: {getattr(self, name)!r} is out of range: {allowed}")
