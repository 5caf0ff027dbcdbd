"""A loaded transformers model that answers event by event."""

import threading
from collections.abc import Callable, Generator
from typing import Any

from stages.lib.chat.events import Event, Finished, Messages, Piece, PromptProgress, check_room
from stages.lib.chat.places import Places
from stages.lib.evaluation.conversation_replies import prompt_tokens
from stages.lib.weights.base import end_tokens

BATCH = 128  # tokens of a prompt that are read between two looks at `stop`


class TransformersStream:
    """A model and its tokenizer, for one person at a time; others wait.

    Each reply is written in a thread of its own. The key-value cache ends with the reply: nothing of a prompt is kept.
    """

    exact_counts = True

    def __init__(self, model: Any, tokenizer: Any, max_new_tokens: int, temperature: float, seed: int) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._max_new_tokens, self._temperature = max_new_tokens, temperature
        self.context = int(model.config.get_text_config().max_position_embeddings)
        self._places = Places(1)
        import torch

        torch.manual_seed(seed)

    def count_tokens(self, messages: Messages) -> int:
        """Tokens of the prompt that the messages become.

        Raises:
            ValueError: the tokenizer has no chat template.
        """
        return len(prompt_tokens(self._tokenizer, messages))

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
        from transformers import TextIteratorStreamer

        prompt = prompt_tokens(self._tokenizer, messages)
        limit = max_new_tokens or self._max_new_tokens
        check_room(len(prompt), limit, self.context)
        yield PromptProgress(0, len(prompt))
        asked = stop or threading.Event()
        place = yield from self._places.take(conversation, asked)
        if place is None:
            return
        left = threading.Event()  # the generator was closed
        streamer = TextIteratorStreamer(
            self._tokenizer, skip_prompt=True, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        failures: list[BaseException] = []
        written: list[int] = []

        def stopped() -> bool:
            return asked.is_set() or left.is_set()

        def run() -> None:
            try:
                cache = self._read(prompt, stopped, streamer.text_queue.put)
                if cache is not None:
                    written.extend(
                        self._write(
                            prompt, cache, max_new_tokens=limit, schema=schema, streamer=streamer, stopped=stopped
                        )
                    )
            except BaseException as error:  # a thread's exception would be lost
                failures.append(error)
            finally:
                streamer.end()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            for item in streamer:  # texts, and the events put among them
                if item:
                    yield Piece(item) if isinstance(item, str) else item
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
