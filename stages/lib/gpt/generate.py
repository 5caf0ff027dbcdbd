"""Continues texts with a GPT, or answers prompts with a finetuned one.

python -m stages.lib.gpt.generate --ckpt models/gpt/best --prompt "Returns"
python -m stages.lib.gpt.generate --ckpt models/gpt-finetuned --prompt "Describe `numpy.mean`."   # its answer alone
python -m stages.lib.gpt.generate --ckpt models/gpt-finetuned --prompt "Is this spam?" --input "Call 0800 now"

A finetuned checkpoint says in its config.json which template it was trained on; prompts are put into it
(--no-instruct: taken as they are; --instruct: put into it whatever the checkpoint says).
Letters in shapes: B sequences, T tokens, V vocabulary.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from stages.lib.gpt.checkpoints import load_model, read_template
from stages.lib.gpt.devices import default_device, usable_device
from stages.lib.gpt.evaluating import evaluating
from stages.lib.gpt.model import GPT, KVCache
from stages.lib.gpt.sampling import PRESETS, TokenSampling, choose, sequence_generator
from stages.lib.tokens.continued_text import continued
from stages.lib.tokens.instruction_template import TEMPLATE, prompt_ids, prompt_text
from stages.lib.tokens.tokenizers import load_tokenizer


def window_start(length: int, context: int) -> int:
    """The first of `length` tokens that the model sees: the smallest multiple of context // 2 that leaves few enough.

    A function of the length alone, which jumps once in half a context: between jumps a cache of keys and values
    stays valid, and what is generated with it is what is generated without.
    """
    step = max(1, context // 2)
    return max(0, -(-(length - context) // step) * step)


class NextLogits:
    """Logits of the token that follows each of several texts, which grow by one token between two calls."""

    def __init__(self, model: GPT, use_cache: bool) -> None:
        self.model, self.use_cache = model, use_cache
        self.device = next(model.parameters()).device
        self.cache: KVCache | None = None
        self.padding: Tensor | None = None  # (B,), None: the windows in the cache are of one length

    def __call__(self, texts: list[list[int]]) -> Tensor:
        """(B, V) for B texts."""
        if self.cache is not None and self.cache.length < self.model.config.context:
            ids = torch.tensor([text[-1:] for text in texts], device=self.device)  # (B, 1)
        else:
            ids = self._fill(texts)
        states = self.model.hidden(ids, self.cache, self.padding)[:, -1]  # (B, C)
        logits: Tensor = self.model.logits(states)
        return logits

    def keep(self, rows: list[int]) -> None:
        """Forgets the texts that are not in `rows`; the next call brings the others, in this order."""
        if self.cache is not None:
            self.cache.keys, self.cache.values = self.cache.keys[:, rows], self.cache.values[:, rows]
            self.padding = None if self.padding is None else self.padding[rows]

    def _fill(self, texts: list[list[int]]) -> Tensor:
        """Starts over: the windows of the texts, padded on the left to one length, (B, T).

        The longest window fills the cache first, so no other window has to jump before the next start. A start
        that comes early (its text has been finished) changes no window, since windows depend on lengths alone.
        """
        windows = [text[window_start(len(text), self.model.config.context) :] for text in texts]
        longest = max(map(len, windows))
        absent = [longest - len(window) for window in windows]
        self.padding = torch.tensor(absent, device=self.device) if any(absent) else None
        if self.use_cache:
            weight = self.model.embedding.weight
            self.cache = KVCache(self.model.config, len(texts), weight.device, weight.dtype)
        padded = [[0] * count + window for count, window in zip(absent, windows, strict=True)]
        return torch.tensor(padded, device=self.device)


def generate(
    model: GPT,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    sampling: TokenSampling,
    valid_ids: int,
    stop: int | None = None,
    seed: int = 0,
    use_cache: bool = True,
) -> list[list[int]]:
    """Continues all prompts as one batch; returns the new tokens of each, without `stop`, which ends a sequence.

    An empty prompt starts from `stop`. Only ids below `valid_ids` (the tokenizer's vocab_size) are drawn: the
    embedding may have more rows. Sequence i draws by (seed, i), whatever the other prompts are. Texts longer than
    the context are seen through the window of `window_start`. The model is in eval mode meanwhile.

    Raises:
        ValueError: an id outside the embedding, an empty prompt without `stop`, or a number out of range.
    """
    vocabulary = model.config.vocab_size
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens: {max_new_tokens} is below 0")
    if not 1 <= valid_ids <= vocabulary:
        raise ValueError(f"valid_ids: {valid_ids} is not in 1..{vocabulary}, the rows of the model's embedding")
    start = [] if stop is None else [stop]
    texts = [list(prompt) or list(start) for prompt in prompts]
    for i, text in enumerate(texts):
        if not text:
            raise ValueError(f"prompt {i} is empty, and there is no stop token to start from")
        if not (min(text) >= 0 and max(text) < vocabulary):
            raise ValueError(f"prompt {i}: ids {min(text)}..{max(text)} are not all in 0..{vocabulary - 1}")
    generators = [sequence_generator(seed, i) for i in range(len(texts))]
    new: list[list[int]] = [[] for _ in texts]
    active = list(range(len(texts))) if max_new_tokens else []
    with evaluating(model):
        next_logits = NextLogits(model, use_cache)
        while active:
            logits = next_logits([texts[i] for i in active])[:, :valid_ids]  # (B, V)
            seen = _seen(texts, active, logits) if sampling.repetition_penalty != 1 else None
            drawn = choose(logits, sampling, [generators[i] for i in active], seen).tolist()
            going = []
            for row, (i, token) in enumerate(zip(active, drawn, strict=True)):
                if token == stop:
                    continue
                texts[i].append(token)
                new[i].append(token)
                if len(new[i]) < max_new_tokens:
                    going.append(row)
            if len(going) < len(active):
                next_logits.keep(going)
                active = [active[row] for row in going]
    return new


def _seen(texts: list[list[int]], active: list[int], logits: Tensor) -> Tensor:
    """(B, V): which of the tokens that may be drawn a text holds."""
    seen = torch.zeros(logits.shape, dtype=torch.bool)
    for row, i in enumerate(active):
        seen[row, [token for token in set(texts[i]) if token < logits.shape[1]]] = True
    return seen.to(logits.device)


def parse_arguments(arguments: Sequence[str] | None = None) -> tuple[argparse.Namespace, TokenSampling]:
    """The command line, and the preset with what it overrides."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.lib.gpt.generate", description="Continue a text, or answer with a finetuned model."
    )
    parser.add_argument("--ckpt", type=Path, required=True, help="directory of a checkpoint, e.g. models/gpt/best")
    parser.add_argument("--prompt", help="the text to continue, or the instruction; none: begin a new text")
    parser.add_argument("--input", default="", help="what the instruction is about, as `input` of instruction data")
    parser.add_argument("--prompts", metavar="FILE", help="a prompt a line, empty ones left out; -: standard input")
    parser.add_argument(
        "--instruct",
        action=argparse.BooleanOptionalAction,
        help=f"put prompts into the template of finetune ({TEMPLATE}) and print the answers alone; "
        "default: as the checkpoint was trained",
    )
    parser.add_argument("--preset", choices=PRESETS, default="nucleus", help="default: %(default)s")
    parser.add_argument("--temperature", type=float, help="overrides the preset's; 0: greedy")
    parser.add_argument("--top-k", type=int, help="overrides the preset's; 0: all tokens")
    parser.add_argument("--top-p", type=float, help="overrides the preset's; 1: all tokens")
    parser.add_argument("--repetition-penalty", type=float, help="overrides the preset's; 1: none")
    parser.add_argument("--max-new-tokens", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--num-samples", type=int, default=1, help="continuations of the prompt, as one batch")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--no-cache", action="store_true", help="recompute everything for every token")
    parser.add_argument("--device", default=default_device(), help="default: %(default)s")
    parsed = parser.parse_args(arguments)
    given = {
        name: getattr(parsed, name)
        for name in ("temperature", "top_k", "top_p", "repetition_penalty")
        if getattr(parsed, name) is not None
    }
    try:
        if parsed.num_samples < 1 or parsed.seed < 0:
            raise ValueError("--num-samples is at least 1, --seed at least 0")
        if parsed.prompts is not None and parsed.prompt is not None:
            raise ValueError("--prompt and --prompts: one of them")
        return parsed, replace(PRESETS[parsed.preset], **given)
    except ValueError as error:
        parser.error(str(error))


def read_prompts(parsed: argparse.Namespace) -> list[str]:
    """The prompts that the command line names, at least one.

    Raises:
        ValueError: a file that cannot be read as UTF-8, or without a prompt.
    """
    if parsed.prompts is None:
        return [parsed.prompt or ""]
    try:
        text = sys.stdin.read() if parsed.prompts == "-" else Path(parsed.prompts).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--prompts {parsed.prompts}: {error}") from error
    prompts = [line.strip() for line in text.split("\n") if line.strip()]
    if not prompts:
        raise ValueError(f"--prompts {parsed.prompts}: no prompt in it; write one a line")
    return prompts


def in_template(parsed: argparse.Namespace, prompts: Sequence[str]) -> bool:
    """Whether the prompts are put into the template; says so on stderr where that is no matter of course.

    Raises:
        ValueError: no checkpoint there, an `--input` outside the template, or an instruction without a word.
    """
    trained = bool(read_template(parsed.ckpt))
    instruct: bool = trained if parsed.instruct is None else parsed.instruct
    if not instruct and parsed.input:
        raise ValueError(
            f"--input: has a place in the template alone, on which {parsed.ckpt} was not trained; add --instruct, "
            "or put it into --prompt"
        )
    if instruct and not all(prompt_text(prompt, parsed.input) for prompt in prompts):
        raise ValueError("--prompt: there is nothing to answer; write an instruction (--no-instruct begins a text)")
    if instruct != trained:
        known = f"was finetuned on the template {TEMPLATE}" if trained else "was not finetuned on any template"
        print(f"generate: {parsed.ckpt} {known}; --{'no-' * trained}instruct departs from that", file=sys.stderr)
    return instruct


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints prompt and continuation, or the answer alone; tokens per second go to stderr."""
    parsed, sampling = parse_arguments(arguments)
    try:
        prompts = read_prompts(parsed)
        instruct = in_template(parsed, prompts)
        model, name = load_model(parsed.ckpt, usable_device(parsed.device))
        tokenizer = load_tokenizer(name)
        if instruct:
            asked = [prompt_ids(tokenizer, prompt_text(prompt, parsed.input)) for prompt in prompts]
        else:
            asked = [tokenizer.encode(prompt).tolist() for prompt in prompts]
        asked = [ids for ids in asked for _ in range(parsed.num_samples)]
        begun = time.perf_counter()
        continuations = generate(
            model,
            asked,
            max_new_tokens=parsed.max_new_tokens,
            sampling=sampling,
            valid_ids=tokenizer.vocab_size,
            stop=tokenizer.eot,
            seed=parsed.seed,
            use_cache=not parsed.no_cache,
        )
    except ValueError as error:
        sys.exit(f"generate: {error}")
    seconds = time.perf_counter() - begun
    for number, continuation in enumerate(continuations):
        place, sample = divmod(number, parsed.num_samples)
        if len(prompts) > 1 and sample == 0:
            print(f"--- prompt {place + 1} of {len(prompts)}: {prompts[place]} ---")
        if parsed.num_samples > 1:
            print(f"--- sample {sample + 1} of {parsed.num_samples} ---")
        print(continued("" if instruct else prompts[place], tokenizer, continuation))
    tokens = sum(map(len, continuations))
    print(f"{tokens} tokens in {seconds:.2f} s: {tokens / seconds:,.0f} tokens/s", file=sys.stderr)


if __name__ == "__main__":
    main()
