"""As vllm/sampling_params.py: the parameters that llmill sets, with vllm's defaults."""

from dataclasses import dataclass, field
from enum import Enum


class RequestOutputKind(Enum):
    """When a request's output is given."""

    CUMULATIVE = 0
    DELTA = 1
    FINAL_ONLY = 2


@dataclass
class StructuredOutputsParams:
    """What a reply must satisfy."""

    json: dict[str, object]


@dataclass(kw_only=True)
class SamplingParams:
    """How one request is sampled."""

    max_tokens: int | None = 16
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: list[str] = field(default_factory=list)
    skip_special_tokens: bool = True
    detokenize: bool = True
    output_kind: RequestOutputKind = RequestOutputKind.CUMULATIVE
    structured_outputs: StructuredOutputsParams | None = None
    prompt_logprobs: int | None = None
    logprob_token_ids: list[int] | None = None
