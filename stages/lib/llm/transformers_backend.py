"""The engine `transformers`: Hugging Face safetensors or a GGUF file, on a CPU or one GPU.

A reply's JSON schema binds every token (json_grammar). What is shared between requests here assumes full attention:
models all of whose layers slide (Mistral's first, Zephyr) run up to the length of their window, where there is no
difference; models with other layers between (gpt-oss, Gemma) or recurrent ones are refused.
"""

import importlib.metadata
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

from stages.lib.core.progress import doing
from stages.lib.llm import chat_text
from stages.lib.llm.hf_prompts import HuggingFacePrompts, Tokens, misfits
from stages.lib.llm.protocol import GenerateRequest, Plan, Reply, Score, ScoreRequest
from stages.lib.weights.base import end_tokens
from stages.lib.weights.models import ModelEntry, config_size

if TYPE_CHECKING:  # torch loads with the weights, not before
    from stages.lib.decoding.roomy_cache import RoomyCache
    from stages.lib.llm.json_grammar import JsonGrammar
    from stages.lib.llm.transformers_generation import RunningReply


class TransformersBackend:
    """One model of `transformers`; its weights load when they are first needed."""

    def __init__(self, entry: ModelEntry) -> None:
        self.entry = entry
        self.prompts = HuggingFacePrompts(entry)
        self._prefix: tuple[tuple[int, ...], RoomyCache | None] = ((), None)  # the last one: its tokens, what they left

    @cached_property
    def version(self) -> str:
        """Part of every ledger key."""
        return f"transformers {importlib.metadata.version('transformers')}"

    @cached_property
    @doing("loading the model")
    def model(self) -> Any:
        """The model, on the GPU if there is one.

        Raises:
            ValueError: as `_config`.
        """
        import torch
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        from stages.lib.decoding import grouped_attention

        logging.disable_progress_bar()
        config, _ = self._config, self._window
        if hasattr(text := config.get_text_config(), "sliding_window"):
            text.sliding_window = None  # prompts and replies end where it would begin to tell: `limit`
        model = AutoModelForCausalLM.from_pretrained(
            self.prompts.directory,
            config=config,
            dtype=self.entry.dtype if self.entry.dtype == "auto" else getattr(torch, self.entry.dtype),
            attn_implementation=grouped_attention.NAME,
            use_safetensors=True,
            trust_remote_code=False,
        )
        return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()

    @cached_property
    def limit(self) -> int:
        """Tokens that prompt and reply may take together."""
        advice = "set max_length of its entry under models:"
        told = self.entry.max_length or config_size(self.prompts.directory, "max_position_embeddings", advice)
        return min(told, self._window or told)

    @cached_property
    def _config(self) -> Any:
        """The model's configuration.

        Raises:
            ValueError: the model has layers other than full attention.
        """
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(self.prompts.directory, trust_remote_code=False)
        text = config.get_text_config()
        layers = set(getattr(text, "layer_types", None) or ["full_attention"])
        if layers != {"full_attention"}:
            raise ValueError(
                f"{self.entry.source}: layers {sorted(layers)}, sliding window "
                f"{getattr(text, 'sliding_window', None)}: the transformers backend runs full attention; use vllm"
            )
        return config

    @cached_property
    def _window(self) -> int | None:
        """Tokens that each layer sees; None: all. Read before the model, which has none here."""
        window: int | None = getattr(self._config.get_text_config(), "sliding_window", None)
        return window

    def render(self, request: GenerateRequest | ScoreRequest) -> str:
        """The text that the model reads."""
        return self.prompts.render(request)

    def generate(
        self, requests: Sequence[GenerateRequest], missing: Sequence[int]
    ) -> Iterator[list[tuple[int, Reply]]]:
        """Replies to requests[i] for i in missing, batch by batch; those that do not fit are refused first."""
        prompts = [self.prompts.tokens(request) for request in requests]
        plan = self._plan_replies(requests, prompts, missing, on_cpu=self._on_cpu)
        if plan.refused:
            yield plan.refused
        yield from self._replies(requests, prompts, plan)

    def score(self, requests: Sequence[ScoreRequest], missing: Sequence[int]) -> Iterator[list[tuple[int, Score]]]:
        """Scores of requests[i] for i in missing, pack by pack; those that do not fit fail first."""
        prompts = [self.prompts.tokens(request) for request in requests]
        choices = self.prompts.choices(requests)
        plan = self._plan_scores(prompts, choices, missing, on_cpu=self._on_cpu)
        if plan.refused:
            yield plan.refused
        yield from self._scores(prompts, choices, plan)

    def plan(
        self, requests: Sequence[GenerateRequest] | Sequence[ScoreRequest], missing: Sequence[int], *, on_cpu: bool
    ) -> Plan:
        """As `generate` and `score` compute them; no weights are loaded."""
        prompts = [self.prompts.tokens(request) for request in requests]
        if replies := [request for request in requests if isinstance(request, GenerateRequest)]:
            return self._plan_replies(replies, prompts, missing, on_cpu=on_cpu)
        scores = [request for request in requests if isinstance(request, ScoreRequest)]
        return self._plan_scores(prompts, self.prompts.choices(scores), missing, on_cpu=on_cpu)

    def compute(
        self, requests: Sequence[GenerateRequest] | Sequence[ScoreRequest], shared: int, threads: int
    ) -> Sequence[Reply | Score]:
        """The answers to the requests of one piece of a plan."""
        prompts = [self.prompts.tokens(request) for request in requests]
        plan = Plan([], [list(range(len(requests)))], shared, threads)
        if replies := [request for request in requests if isinstance(request, GenerateRequest)]:
            ((*answered,),) = self._replies(replies, prompts, plan)
        else:
            scores = [request for request in requests if isinstance(request, ScoreRequest)]
            ((*answered,),) = self._scores(prompts, self.prompts.choices(scores), plan)  # type: ignore[assignment]
        found: dict[int, Reply | Score] = dict(answered)
        return [found[i] for i in range(len(requests))]

    def close(self) -> None:
        """Frees the weights."""
        self._prefix = ((), None)
        self.__dict__.pop("model", None)

    @property
    def _on_cpu(self) -> bool:
        import torch

        return not torch.cuda.is_available()

    def _prefix_of(self, tokens: Sequence[int]) -> "RoomyCache | None":
        """Keys and values of what all prompts begin with; the last are kept, for the next piece of a plan."""
        from stages.lib.llm.shared_prefix import compute_prefix

        if self._prefix[0] != tuple(tokens):
            self._prefix = (tuple(tokens), compute_prefix(self.model, tokens))
        return self._prefix[1]

    def _plan_replies(
        self, requests: Sequence[GenerateRequest], prompts: Sequence[Tokens], missing: Sequence[int], *, on_cpu: bool
    ) -> Plan:
        from stages.lib.llm.transformers_generation import plan_rows

        fits = [i for i, p in enumerate(prompts) if 0 < len(p) <= self.limit - requests[i].sampling.max_tokens]
        wanted = set(missing)
        refused = [(i, self._refusal(len(prompts[i]), requests[i])) for i in sorted(wanted - set(fits))]
        asked = {place for place, i in enumerate(fits) if i in wanted}
        if not asked:
            return Plan(refused, [])
        lengths = [requests[i].sampling.max_tokens for i in fits]
        size = self.entry.batch_size
        plan = plan_rows([prompts[i] for i in fits], lengths, asked, size=size, on_cpu=on_cpu)
        return Plan(refused, [[fits[place] for place in batch] for batch in plan.batches], plan.shared, plan.threads)

    def _replies(
        self, requests: Sequence[GenerateRequest], prompts: Sequence[Tokens], plan: Plan
    ) -> Iterator[list[tuple[int, Reply]]]:
        from stages.lib.llm.transformers_generation import RunningReply, complete_batches

        if not plan.pieces:
            return
        batches = [
            [
                RunningReply(
                    request=i,
                    sampling=requests[i].sampling,
                    is_stopped=lambda tokens, i=i: self._stop(prompts[i], tokens, requests[i]) >= 0,  # type: ignore[misc]
                    grammar=self._grammar(requests[i]),
                )
                for i in piece
            ]
            for piece in plan.pieces
        ]
        prefix = self._prefix_of(prompts[plan.pieces[0][0]][: plan.shared])
        done = complete_batches(self.model, prefix, prompts, batches, threads=plan.threads, ends=self._ends)
        for batch in done:
            yield [(row.request, self._reply(prompts[row.request], row, requests[row.request])) for row in batch]

    def _plan_scores(
        self, prompts: Sequence[Tokens], choices: Sequence[Sequence[Tokens]], missing: Sequence[int], *, on_cpu: bool
    ) -> Plan:
        from stages.lib.llm.transformers_scoring import plan_scores

        failed = misfits(prompts, choices, self.limit)
        refused = [(i, failed[i]) for i in missing if i in failed]
        fits = [i for i in range(len(prompts)) if i not in failed]
        wanted = set(missing)
        asked = {place for place, i in enumerate(fits) if i in wanted}
        if not asked:
            return Plan(refused, [])
        packs, shared = plan_scores([prompts[i] for i in fits], [choices[i] for i in fits], asked, on_cpu=on_cpu)
        return Plan(refused, [[fits[place] for place in pack] for pack in packs], shared)

    def _scores(
        self, prompts: Sequence[Tokens], choices: Sequence[Sequence[Tokens]], plan: Plan
    ) -> Iterator[list[tuple[int, Score]]]:
        from stages.lib.llm.transformers_scoring import score_packs

        if plan.pieces:
            prefix = self._prefix_of(prompts[plan.pieces[0][0]][: plan.shared])
            yield from score_packs(self.model, prefix, prompts, choices, plan.pieces)

    @cached_property
    def _ends(self) -> set[int]:
        return end_tokens(self.prompts.tokenizer, self.model.generation_config)

    def _stop(self, prompt: list[int], tokens: list[int], request: GenerateRequest) -> int:
        return chat_text.first_stop(self.prompts.reply(prompt, tokens, request), request.sampling.stop)

    def _grammar(self, request: GenerateRequest) -> "JsonGrammar | None":
        if request.schema is None:
            return None
        from stages.lib.llm.json_grammar import JsonGrammar

        return JsonGrammar(self.prompts.tokenizer, request.schema)

    def _reply(self, prompt: list[int], row: "RunningReply", request: GenerateRequest) -> Reply:
        text = self.prompts.reply(prompt, row.tokens, request)
        place = chat_text.first_stop(text, request.sampling.stop)
        return Reply(
            text=text if place < 0 else text[:place],
            finish_reason=cast(Literal["stop", "length"], row.finish_reason),
            prompt_tokens=len(prompt),
            completion_tokens=len(row.tokens),
        )

    def _refusal(self, length: int, request: GenerateRequest) -> Reply:
        size = f"{length} tokens of prompt and {request.sampling.max_tokens} of reply"
        return Reply.refused(f"{size}: the model takes {self.limit}", length)
