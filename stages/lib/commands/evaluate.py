"""Loss and perplexity of a checkpoint on any text.

Run: python -m stages.lib.commands.evaluate --ckpt models/gpt/best --text FILE (or - for stdin)

Letters in shapes: B sequences, T tokens, C channels, V vocabulary.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (its name everywhere)
from torch import Tensor

from stages.lib.gpt.checkpoints import load_model
from stages.lib.gpt.devices import default_device, usable_device
from stages.lib.gpt.evaluating import evaluating
from stages.lib.gpt.model import GPT
from stages.lib.tokens.targets import IGNORED
from stages.lib.tokens.tokenizers import load_tokenizer

LOGITS_AT_ONCE = 2**26  # numbers, 256 MB in float32: bounds how many windows are computed together


@dataclass(frozen=True)
class Evaluation:
    """How well a model foretells a text."""

    loss: float  # nats per token
    tokens: int  # that were scored

    @property
    def perplexity(self) -> float:
        """exp(loss), infinite when that is beyond a float."""
        return math.exp(self.loss) if self.loss < 709 else math.inf

    def bits_per_byte(self, size: int) -> float:
        """Bits a byte of a text of `size` bytes, which does not depend on the tokenizer."""
        return self.loss * self.tokens / math.log(2) / size


def evaluate_tokens(model: GPT, ids: Sequence[int] | np.ndarray, stride: int = 0) -> Evaluation:
    """Scores every token but the first once.

    Windows as long as the context start every `stride` tokens (0: the context, so that no token is computed
    twice). A window scores those of its tokens which no earlier window has scored: with a stride below the context
    all but the first window's tokens have at least context - stride tokens before them.

    Raises:
        ValueError: fewer than two tokens, an id outside the embedding, or a stride out of range.
    """
    context, vocabulary = model.config.context, model.config.vocab_size
    stride = stride or context
    text = torch.as_tensor(np.asarray(ids, dtype=np.int64))
    if len(text) < 2:
        raise ValueError(f"{len(text)} tokens: a text of at least 2 is needed, since the first is not scored")
    if not 1 <= stride <= context:
        raise ValueError(f"stride: {stride} is not in 1..{context}, the model's context")
    if int(text.min()) < 0 or int(text.max()) >= vocabulary:
        raise ValueError(f"ids {int(text.min())}..{int(text.max())} are not all in 0..{vocabulary - 1}")
    inputs, targets = _windows(text, context, stride)  # (windows, T) each
    device = next(model.parameters()).device
    rows = max(1, LOGITS_AT_ONCE // (inputs.shape[1] * vocabulary))
    total = 0.0
    with evaluating(model):
        for first in range(0, len(inputs), rows):
            hidden = model.hidden(inputs[first : first + rows].to(device))  # (B, T, C)
            wanted = targets[first : first + rows].to(device)  # (B, T)
            scored = wanted != IGNORED
            logits = model.logits(hidden[scored])  # (scored, V)
            total += F.cross_entropy(logits.float(), wanted[scored], reduction="sum").item()
    return Evaluation(total / (len(text) - 1), len(text) - 1)


def _windows(text: Tensor, context: int, stride: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets, (windows, T) each; the end of the last is filled up, its targets `IGNORED`."""
    length = len(text) - 1  # places that have a next token
    width = min(context, length)
    starts = list(range(0, length - width + stride, stride))
    inputs = torch.zeros((len(starts), width), dtype=torch.int64)
    targets = torch.full((len(starts), width), IGNORED)
    for row, start in enumerate(starts):
        end = min(start + width, length)
        fresh = width - stride if row else 0  # places before it were scored by the window before
        inputs[row, : end - start] = text[start:end]
        targets[row, fresh : end - start] = text[start + fresh + 1 : end + 1]
    return inputs, targets


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints loss, perplexity and bits per byte; the text is scored as one document that follows an end of text."""
    parser = argparse.ArgumentParser(prog="python -m stages.lib.commands.evaluate", description="Score a text.")
    parser.add_argument("--ckpt", type=Path, required=True, help="directory of a checkpoint, e.g. models/gpt/best")
    parser.add_argument("--text", required=True, help="a file in UTF-8, or - for stdin")
    parser.add_argument("--stride", type=int, default=0, help="tokens between windows; default: the model's context")
    parser.add_argument("--device", default=default_device(), help="default: %(default)s")
    parsed = parser.parse_args(arguments)
    try:
        text = read_text(parsed.text)
        model, name = load_model(parsed.ckpt, usable_device(parsed.device))
        tokenizer = load_tokenizer(name)
        result = evaluate_tokens(model, [tokenizer.eot, *tokenizer.encode(text).tolist()], parsed.stride)
    except ValueError as error:
        sys.exit(f"evaluate: {error}")
    size = len(text.encode("utf-8"))
    print(f"tokens         {result.tokens:,}")
    print(f"bytes          {size:,}")
    print(f"loss           {result.loss:.4f} nats per token")
    print(f"perplexity     {result.perplexity:,.2f}")
    print(f"bits per byte  {result.bits_per_byte(size):.4f}")


def read_text(place: str) -> str:
    """The text of a file, or of stdin for "-". Raises `ValueError` when there is none, or it is not UTF-8."""
    try:
        content = sys.stdin.buffer.read() if place == "-" else Path(place).read_bytes()
        text = content.decode("utf-8")
    except OSError as error:
        raise ValueError(f"--text {place}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"--text {place}: not UTF-8: {error}") from error
    if not text:
        raise ValueError(f"--text {place}: is empty")
    return text


if __name__ == "__main__":
    main()
