"""What a step of GPT-2 124M costs on one H100 at least, by kind of kernel: operations and bytes over the card's rates.

Run: python -m bench.roofline [--profile h100] [--micro-batch 32]

An estimate, no reading: `python -m bench.card --kernels` measures. A kernel takes the longer of its operations over the
rate of its units and its bytes over the memory's. Rates: bfloat16 products 0.8 of 989 TFLOP/s (790 were measured for
8,192 wide ones on random numbers), narrower ones less; memory 0.65 of 3.35 TB/s; FlashAttention-2 forward and
backward about as FlashAttention-3's paper (arXiv:2407.08608) shows it on an H100, causal, 64 channels a head. What
torch.compile fuses counts once in and once out.
"""

import argparse
from dataclasses import dataclass

import torch

from bench.card import pretraining
from stages.lib.gpt.model import GPT, GPTConfig

PRODUCTS = 0.8 * 989e12  # operations a second, of products at least 2,048 wide in every direction
NARROW = 0.65 * 989e12  # with 768 in one direction
ATTENTION_FORWARD, ATTENTION_BACKWARD = 300e12, 250e12  # FlashAttention-2; half of T x T is computed
MEMORY = 0.65 * 3.35e12  # bytes a second, as Inductor's kernels reached it on an H100 (a plain copy: 0.9)
HOST_WAIT = 25e-6  # seconds the card stands still where the host reads a value and starts kernels anew
MICRO_START = 0.4e-3  # seconds of the host's work before a micro-batch's first kernel, which nothing hides then


@dataclass(frozen=True)
class Way:
    """How the loop is written."""

    residual_bytes: int  # a value of the residual stream and of the norms' results: 4, or 2
    waits: int  # of the host for the card, a micro-batch
    batches_ahead: bool  # made and pinned in a thread; else made and copied while the card waits


BEFORE = Way(residual_bytes=4, waits=1, batches_ahead=False)
AFTER = Way(residual_bytes=2, waits=0, batches_ahead=True)


def seconds(config: GPTConfig, micro_batch: int, micro_batches: int, way: Way) -> dict[str, float]:
    """Seconds of a whole step by kind of kernel; letters as in stages/lib/gpt/model.py."""
    n = micro_batch * config.context
    width, layers, vocabulary = config.d_model, config.n_layer, config.vocab_size
    with torch.device("meta"):
        weights = GPT(config).n_params
    block = 2 * n * 12 * width**2  # operations forward: 3 + 1 + 4 + 4 squares
    head = 2 * n * width * vocabulary
    scores = 2 * n * config.context * width  # forward, both products, causal half of 4 n T C
    residual = n * width * way.residual_bytes
    half = n * width * 2  # a tensor (n, C) in bfloat16
    # Norms and residual sums, forward: stream in, branch in, stream out, normed out; twice a block. Backward: gradient
    # and saved stream in, gradient of the normed in, gradient out.
    norms = layers * 2 * (2 * residual + half + half) + layers * 2 * (3 * residual + half)
    activation = layers * (4 * half * 2 + 4 * half * 3)  # GELU: in, out; backward: in, gradient in, gradient out
    rotation = layers * 2 * (4 * half) if config.position == "rope" else 0.0
    # The loss: logits written by the product, read for the sums; read again, the gradient written; the product's own.
    logits = n * vocabulary * 2 * 3
    weights_cast = weights * (4 + 2) + weights * (2 + 4 + 4)  # to bfloat16; gradients added in float32
    once = weights * (4 * 4 + 3 * 4) + 2 * weights * 4  # AdamW in and out; the norm, the clipping
    found = {
        "products": 3 * layers * block / NARROW + 3 * head / PRODUCTS,
        "attention": layers * (scores / ATTENTION_FORWARD + 2.5 * scores / ATTENTION_BACKWARD),
        "norms and residual stream": norms / MEMORY,
        "activations": activation / MEMORY,
        "rotation of positions": rotation / MEMORY,
        "loss": logits / MEMORY,
        "casts and sums of gradients": weights_cast / MEMORY,
        "host": way.waits * HOST_WAIT + (0 if way.batches_ahead else MICRO_START),
    }
    step = {kind: value * micro_batches for kind, value in found.items()}
    return step | {"optimizer": once / MEMORY + HOST_WAIT}


def main() -> None:
    """Reads the command line, prints a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.roofline", description=__doc__)
    parser.add_argument("--profile", default="h100")
    parser.add_argument("--micro-batch", type=int, default=0, help="default: the profile's")
    arguments = parser.parse_args()
    config, params = pretraining(arguments.profile, {}, 1)
    micro_batch = arguments.micro_batch or params.micro_batch
    count = params.batch_tokens // (micro_batch * config.context)
    ways = {"before": BEFORE, "after": AFTER}
    found = {name: seconds(config, micro_batch, count, way) for name, way in ways.items()}
    print("| ms of a step of " + f"{params.batch_tokens:,} tokens | " + " | ".join(ways) + " |\n|---|---|---|")
    for kind in found["before"]:
        print(f"| {kind} | " + " | ".join(f"{1e3 * found[name][kind]:.0f}" for name in ways) + " |")
    totals = {name: sum(found[name].values()) for name in ways}
    print("| **all** | " + " | ".join(f"**{1e3 * totals[name]:.0f}**" for name in ways) + " |")
    print("| tokens/s | " + " | ".join(f"{params.batch_tokens / totals[name]:,.0f}" for name in ways) + " |")


if __name__ == "__main__":
    main()
