"""The engine `transformers`: Hugging Face safetensors or a GGUF file, on a CPU or one GPU.

A reply's JSON schema binds every token (json_grammar). Models with sliding-window or
recurrent layers are refused: what is shared between requests here assumes full attention.
"""

import importlib.metadata
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

from stages.lib.llm import chat_text
from stages.lib.llm.gguf_weights import huggingface_directory
from stages.lib.llm.protocol import GenerateRequest, Reply, Score, ScoreRequest
from stages.lib.models import ModelEntry


class TransformersBackend:
    """One model of `transformers`; tokenizer and weights load when they are first needed."""

    def __init__(self, entry: ModelEntry) -> None:
        self.entry = entry

    @cached_property
    def version(self) -> str:
        """Part of every ledger key."""
        return f"transformers {importlib.metadata.version('transformers')}"

    @cached_property
    def directory(self) -> Path:
        """Where config, tokenizer and weights are; their sha256 is checked here."""
        return huggingface_directory(self.entry)

    @cached_property
    def tokenizer(self) -> Any:
        """The model's own tokenizer."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.directory, trust_remote_code=False)

    @cached_property
    def model(self) -> Any:
        """The model, on the GPU if there is one.

        Raises:
            ValueError: the model has layers other than full attention.
        """
        import torch
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        logging.disable_progress_bar()
        model = AutoModelForCausalLM.from_pretrained(
            self.directory,
            dtype=self.entry.dtype if self.entry.dtype == "auto" else getattr(torch, self.entry.dtype),
            attn_implementation="sdpa",
            use_safetensors=True,
            trust_remote_code=False,
        )
        config = model.config.get_text_config()
        layers = set(getattr(config, "layer_types", None) or ["full_attention"])
        if layers != {"full_attention"} or (
            getattr(config, "sliding_window", None) and not hasattr(config, "layer_types")
        ):
            raise ValueError(
                f"{self.entry.source}: layers {sorted(layers)}, sliding window "
                f"{getattr(config, 'sliding_window', None)}: the transformers backend runs full attention; use vllm"
            )
        return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()

    @cached_property
    def limit(self) -> int:
        """Tokens that prompt and reply may take together."""
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(self.directory, trust_remote_code=False).get_text_config()
        return self.entry.max_length or int(config.max_position_embeddings)

    def render(self, request: GenerateRequest | ScoreRequest) -> str:
        """The text that the model reads."""
        return chat_text.render(self.tokenizer, request.prompt, chat_text.may_think(self.entry, request))

    def generate(
        self, requests: Sequence[GenerateRequest], missing: Sequence[int]
    ) -> Iterator[list[tuple[int, Reply]]]:
        """Replies to requests[i] for i in missing, batch by batch."""
        from stages.lib.llm.transformers_generation import Row, generate_rows

        prompts = [self._tokens(request) for request in requests]
        fits = [i for i, p in enumerate(prompts) if len(p) + requests[i].sampling.max_tokens <= self.limit]
        wanted = set(missing)
        refused = [(i, self._too_long(len(prompts[i]), requests[i])) for i in sorted(wanted - set(fits))]
        if refused:
            yield refused
        rows = {
            place: Row(
                request=place,
                sampling=requests[i].sampling,
                is_stopped=lambda tokens, i=i: self._stop(prompts[i], tokens, requests[i]) >= 0,  # type: ignore[misc]
                grammar=self._grammar(requests[i]),
            )
            for place, i in enumerate(fits)
            if i in wanted
        }
        if not rows:
            return
        kept = [prompts[i] for i in fits]
        max_tokens = [requests[i].sampling.max_tokens for i in fits]
        for batch in generate_rows(
            self.model, kept, rows, max_tokens=max_tokens, size=self.entry.batch_size, ends=self._ends
        ):
            yield [
                (fits[row.request], self._reply(prompts[fits[row.request]], row, requests[fits[row.request]]))
                for row in batch
            ]

    def score(self, requests: Sequence[ScoreRequest], missing: Sequence[int]) -> Iterator[list[tuple[int, Score]]]:
        """Scores of requests[i] for i in missing, pack by pack.

        Raises:
            ValueError: a prompt with its choice is longer than the model takes, or has no token.
        """
        from stages.lib.llm.transformers_scoring import score_tokens

        prompts = [self._tokens(request) for request in requests]
        known = {c: self._encode(c, special=False) for request in requests for c in request.choices}
        choices = [[known[choice] for choice in request.choices] for request in requests]
        for i, (prompt, options) in enumerate(zip(prompts, choices, strict=True)):
            longest = len(prompt) + max(map(len, options))
            if longest > self.limit or not prompt:
                raise ValueError(
                    f"{self.entry.source}: request {i} has {longest} tokens with its longest choice, {len(prompt)} "
                    f"of them the prompt; it takes 1 to {self.limit}: {requests[i].prompt.text[:80]!r}..."
                )
        yield from score_tokens(self.model, prompts, choices, missing)

    def close(self) -> None:
        """Frees the weights."""
        self.__dict__.pop("model", None)

    @cached_property
    def _ends(self) -> set[int]:
        ends = self.model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        return {end for end in [*ends, self.tokenizer.eos_token_id] if end is not None}

    def _encode(self, text: str, special: bool) -> list[int]:
        return cast(list[int], self.tokenizer.encode(text, add_special_tokens=special))

    def _tokens(self, request: GenerateRequest | ScoreRequest) -> list[int]:
        # A chat template writes its special tokens itself.
        return self._encode(self.render(request), special=not request.prompt.chat)

    def _text(self, prompt: list[int], tokens: list[int], request: GenerateRequest) -> str:
        """The text of the new tokens, decoded behind the prompt's last ones (some decoders drop a leading blank)."""
        options = {"skip_special_tokens": not self._has_channels, "clean_up_tokenization_spaces": False}
        head = prompt[-4:]
        before = self.tokenizer.decode(head, **options)
        text = self.tokenizer.decode([*head, *tokens], **options)[len(before) :]
        return chat_text.visible(text, chat_text.may_think(self.entry, request))

    @cached_property
    def _has_channels(self) -> bool:
        return "<|channel|>" in (self.tokenizer.chat_template or "")

    def _stop(self, prompt: list[int], tokens: list[int], request: GenerateRequest) -> int:
        return chat_text.first_stop(self._text(prompt, tokens, request), request.sampling.stop)

    def _grammar(self, request: GenerateRequest) -> Any:
        if request.schema is None:
            return None
        from stages.lib.llm.json_grammar import JsonGrammar

        return JsonGrammar(self.tokenizer, request.schema)

    def _reply(self, prompt: list[int], row: Any, request: GenerateRequest) -> Reply:
        text = self._text(prompt, row.tokens, request)
        place = chat_text.first_stop(text, request.sampling.stop)
        return Reply(
            text=text if place < 0 else text[:place],
            finish_reason=cast(Literal["stop", "length"], row.finish_reason),
            prompt_tokens=len(prompt),
            completion_tokens=len(row.tokens),
        )

    def _too_long(self, length: int, request: GenerateRequest) -> Reply:
        return Reply(
            text="",
            finish_reason="error",
            prompt_tokens=length,
            completion_tokens=0,
            error=f"{length} tokens of prompt and {request.sampling.max_tokens} of reply: the model takes {self.limit}",
        )
