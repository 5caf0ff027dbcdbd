"""A loaded transformers model that answers event by event."""

import queue
import threading
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

from stages.lib.chat.events import (
    Event,
    Finished,
    Messages,
    PromptProgress,
    RefusedTurnsError,
    StreamError,
    check_room,
)
from stages.lib.chat.places import Places
from stages.lib.chat.thinking_stream import Begun, ThinkingSplitter, begun
from stages.lib.chat.token_text import TokenText
from stages.lib.conversations.chat_format import ChatFormat
from stages.lib.conversations.encoding import encode
from stages.lib.conversations.markup import template_text
from stages.lib.conversations.rendering import render
from stages.lib.conversations.turns import UnfitConversationError
from stages.lib.weights.base import end_tokens
from stages.lib.weights.models import size_in

BATCH = 128  # tokens of a prompt that are read between two looks at `stop`


class TransformersStream:
    """A model and its tokenizer, for one person at a time; others wait.

    Each reply is written in a thread of its own. The key-value cache ends with the reply: nothing of a prompt is kept.
    """

    exact_counts = True

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        max_new_tokens: int,
        temperature: float,
        seed: int,
        *,
        fmt: ChatFormat = ChatFormat(),  # noqa: B008  # frozen
        context: int = 0,
    ) -> None:
        """Takes a loaded model.

        Args:
            model: in eval mode.
            tokenizer: with a chat template.
            max_new_tokens: of a reply, at most.
            temperature: 0 is greedy.
            seed: of sampling.
            fmt: how the model's conversations are written.
            context: tokens of prompt and reply together; 0: the model's own, which it never exceeds.

        Raises:
            ValueError: the model does not tell its context.
        """
        self._model, self._tokenizer, self._fmt = model, tokenizer, fmt
        self._max_new_tokens, self._temperature = max_new_tokens, temperature
        own = size_in(model.config, "max_position_embeddings", model.name_or_path)
        self.context = min(context or own, own)
        self._places = Places(1)
        import torch

        torch.manual_seed(seed)

    def prompt_tokens(self, messages: Messages) -> list[int]:
        """Token ids of what is read before the reply.

        Raises:
            StreamError: the tokenizer has no chat template, or it refuses the messages.
        """
        return self._prompt(messages, self._fmt)[0]

    def count_tokens(self, messages: Messages) -> int:
        """Tokens of the prompt that the messages become; raises as `prompt_tokens`."""
        return len(self.prompt_tokens(messages))

    def answer(
        self,
        messages: Messages,
        max_new_tokens: int | None = None,
        schema: dict[str, Any] | None = None,
        *,
        stop: threading.Event | None = None,
        conversation: str = "",
    ) -> Generator[Event, None, None]:
        """Answers as `Stream` says.

        Raises:
            StreamError: the conversation leaves no room for a reply.
            RuntimeError: generation failed.
        """
        fmt = self._fmt if schema is None else replace(self._fmt, thinking=False)
        prompt, begins = self._prompt(messages, fmt)
        limit = max_new_tokens or self._max_new_tokens
        check_room(len(prompt), limit, self.context)
        yield PromptProgress(0, len(prompt))
        asked = stop or threading.Event()
        place = yield from self._places.take(conversation, asked)
        if place is None:
            return
        left = threading.Event()  # the generator was closed
        text = TokenText(self._tokenizer, prompt, template_text(self._tokenizer))
        splitter = ThinkingSplitter("plain" if schema else begins)
        inbox: queue.SimpleQueue[Event | str | None] = queue.SimpleQueue()
        failures: list[BaseException] = []
        written: list[int] = []

        def stopped() -> bool:
            return asked.is_set() or left.is_set()

        def run() -> None:
            try:
                cache = self._read(prompt, stopped, inbox.put)
                if cache is not None:
                    streamer = _Streamer(set(self._ends()), lambda token: inbox.put(text.add(token)))
                    written.extend(
                        self._write(
                            prompt, cache, max_new_tokens=limit, schema=schema, streamer=streamer, stopped=stopped
                        )
                    )
                    inbox.put(text.rest())
            except BaseException as error:  # a thread's exception would be lost
                failures.append(error)
            finally:
                inbox.put(None)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            while (item := inbox.get()) is not None:
                if isinstance(item, str):
                    yield from splitter.feed(item) if item else ()
                else:
                    yield item
            yield from splitter.end()
        finally:
            left.set()
            thread.join()
            self._places.give_back(place)
        if failures:
            raise RuntimeError(f"generation failed: {failures[0]}") from failures[0]
        if not asked.is_set():
            ended = written[-1] in self._ends()
            yield Finished("stop" if ended else "length", len(prompt), len(written) - ended)

    def close(self) -> None:
        """Nothing is held."""

    def _prompt(self, messages: Messages, fmt: ChatFormat) -> tuple[list[int], Begun]:
        """Token ids, and what the reply begins with."""
        try:
            rendered = render(self._tokenizer, messages, fmt, generation_prompt=True)
        except UnfitConversationError as error:
            raise RefusedTurnsError(str(error)) from error
        except ValueError as error:
            raise StreamError(str(error)) from error
        begins = begun(rendered.text, template_text(self._tokenizer), fmt.thinking)
        return encode(self._tokenizer, rendered), begins

    def _ends(self) -> list[int]:
        return sorted(end_tokens(self._tokenizer, self._model.generation_config))

    def _read(self, prompt: list[int], stopped: Callable[[], bool], tell: Callable[[Event], None]) -> Any | None:
        """The key-value cache of all but the last token, read in batches; None: stopped."""
        import torch
        from transformers import DynamicCache

        cache = DynamicCache(config=self._model.config)
        last = len(prompt) - 1
        for start in range(0, last, BATCH):
            if stopped():
                return None
            end = min(start + BATCH, last)
            ids = torch.tensor([prompt[start:end]], device=self._model.device)  # (1, BATCH)
            with torch.inference_mode():
                self._model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
            tell(PromptProgress(end, len(prompt)))
        return cache

    def _write(
        self,
        prompt: list[int],
        cache: Any,
        *,
        max_new_tokens: int,
        schema: dict[str, Any] | None,
        streamer: Any,
        stopped: Callable[[], bool],
    ) -> list[int]:
        """Writes to the streamer; returns the new tokens, with the one that ends the reply."""
        import torch
        from transformers import StoppingCriteriaList

        ids = torch.tensor([prompt], device=self._model.device)  # (1, tokens)
        ends = self._ends()

        def stop(input_ids: Any, scores: Any, **_: Any) -> Any:
            return torch.full((input_ids.shape[0],), stopped(), device=input_ids.device)

        sampling: dict[str, Any] = {"do_sample": False}
        if self._temperature:
            sampling = {"do_sample": True, "temperature": self._temperature, "top_k": 0, "top_p": 1.0}
        with torch.inference_mode():
            out = self._model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                past_key_values=cache,
                max_new_tokens=max_new_tokens,
                eos_token_id=ends,
                pad_token_id=ends[0],
                streamer=streamer,
                stopping_criteria=StoppingCriteriaList([stop]),
                logits_processor=[_binding(self._tokenizer, schema, len(prompt), ends)] if schema is not None else None,
                **sampling,
            )
        return [int(token) for token in out[0, len(prompt) :]]


class _Streamer:
    """Tells each new token but those that end a reply; transformers calls it with the prompt first."""

    def __init__(self, ends: set[int], tell: Callable[[int], None]) -> None:
        self._ends, self._tell, self._is_prompt = ends, tell, True

    def put(self, tokens: Any) -> None:
        """Takes what was written."""
        for token in [] if self._is_prompt else tokens.flatten().tolist():
            if token not in self._ends:
                self._tell(token)
        self._is_prompt = False

    def end(self) -> None:
        """Nothing is left to tell."""


def _binding(tokenizer: Any, schema: dict[str, Any], start: int, ends: list[int]) -> Callable[[Any, Any], Any]:
    """A logits processor that lets the tokens from `start` on become JSON of the schema, and then the end."""
    import torch

    from stages.lib.llm.json_grammar import JsonGrammar

    grammar = JsonGrammar(tokenizer, schema)
    complete = False

    def restrict(input_ids: Any, scores: Any) -> Any:
        nonlocal complete
        if input_ids.shape[1] > start and not complete:
            complete = grammar.consume(int(input_ids[0, -1]))
        restricted = scores.clone()
        if complete:
            restricted[:] = -torch.inf
            restricted[:, ends[0]] = 0.0
        else:
            grammar.restrict(restricted[0])
        return restricted

    return restrict
