"""HellaSwag (Zellers et al. 2019, arXiv:1905.07830), both common ways, with 95% intervals.

`acc_norm_tokens`, as build-nanogpt's hellaswag.py: the raw context, then each ending after a space, tokenized apart;
the ending whose mean log-probability per token is highest wins. GPT-2 124M: 29.55 (sum instead of mean, `acc_tokens`:
28.59).
`acc_norm_chars`, as lm-evaluation-harness: activity label and context cleaned of WikiHow's markers, context and
ending tokenized together; the sum is divided by the characters of the ending. GPT-2 124M: 31.14 (`acc_chars`: 28.92).

Run: python -m stages.lib.commands.hellaswag --ckpt models/gpt/best --file hellaswag_val.jsonl
or:  python -m stages.lib.commands.hellaswag --hf openai-community/gpt2 --revision COMMIT
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from stages.lib.gpt.checkpoints import load_model
from stages.lib.gpt.devices import default_device, usable_device
from stages.lib.gpt_export.huggingface import from_hf
from stages.lib.hellaswag.items import load_items
from stages.lib.hellaswag.scoring import score
from stages.lib.tokens.tokenizers import load_tokenizer


def main(command_line: Sequence[str] | None = None) -> None:
    """Scores a checkpoint, or a Hugging Face GPT-2, and prints the measures as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.lib.commands.hellaswag", description=__doc__.splitlines()[0]
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--ckpt", type=Path, help="checkpoint directory, such as models/gpt/best")
    source.add_argument("--hf", help="a GPT-2 of the hub (ORG/NAME, with --revision), or its local directory")
    parser.add_argument("--revision", default="", help="commit hash of --hf")
    parser.add_argument("--tokenizer", default="gpt2", help="of --hf; default: gpt2")
    parser.add_argument(
        "--file", default="hub", help="JSONL of the upstream schema; default: the hub's validation split"
    )
    parser.add_argument("--limit", type=int, default=0, help="items at most; 0: all")
    parser.add_argument("--device", default=default_device(), help="default: %(default)s")
    parser.add_argument("--batch-tokens", type=int, default=16_384)
    arguments = parser.parse_args(command_line)
    try:
        device = usable_device(arguments.device)
        items, dropped = load_items(arguments.file, arguments.limit)
        if arguments.ckpt is not None:
            model, name = load_model(arguments.ckpt, device)
        else:
            model, name = from_hf(arguments.hf, arguments.revision, "--hf").to(device), arguments.tokenizer
        measures = score(model, load_tokenizer(name), items, device, arguments.batch_tokens)
    except ValueError as error:
        parser.exit(2, f"hellaswag: {error}\n")
    print(json.dumps({**measures, "dropped": dict(dropped)}, indent=2))


if __name__ == "__main__":
    main()
