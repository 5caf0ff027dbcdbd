"""nanoGPT's CPU configuration on tiny Shakespeare by bytes: validation loss and seconds.

Run: LLMILL_REAL_DATA=DIR python -m bench.tiny_shakespeare [--steps 2000]

The text is one document, so it is cut at 90% here, as nanoGPT cuts it; the training is the stage pretrain itself.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import yaml

from stages import pretrain
from stages.lib.core.metrics import read_results
from stages.lib.core.records import Record, write_json
from stages.lib.shards.reading import ShardSplit, manifest
from stages.lib.shards.writing import write_shard
from stages.lib.tokens.tokenizers import load_tokenizer
from tests.params_of import section


def main() -> None:
    """Makes the shards in a temporary folder, trains there, prints what came of it."""
    parser = argparse.ArgumentParser(prog="python -m bench.tiny_shakespeare", description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    steps = parser.parse_args().steps
    if "LLMILL_REAL_DATA" not in os.environ:
        parser.error("set LLMILL_REAL_DATA to the folder that holds pretrain/tinyshakespeare_input.txt")
    text = Path(os.environ["LLMILL_REAL_DATA"], "pretrain/tinyshakespeare_input.txt").read_text(encoding="utf-8")
    tokenizer = load_tokenizer("byte")
    cut = int(0.9 * len(text))
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        parts: dict[ShardSplit, str] = {"train": text[:cut], "val": text[cut:]}
        records: dict[ShardSplit, list[Record]] = {}
        for split, part in parts.items():
            tokens = np.append(tokenizer.encode(part), tokenizer.eot).astype(np.uint16)
            records[split] = [write_shard(pretrain.SHARDS_DIR, split, 0, tokens, np.zeros(1, dtype=np.int64))]
        write_json(pretrain.SHARDS_DIR / "manifest.json", manifest(tokenizer, 100_000_000, records))
        pretraining = section(
            "pretrain",
            context=64,
            n_layer=4,
            n_head=4,
            d_model=128,
            steps=steps,
            batch_tokens=12 * 64,
            micro_batch=12,
            lr=1e-3,
            warmup_fraction=0.05,
            beta2=0.99,
            precision="float32",
            eval_every=max(1, steps // 8),
            checkpoint_every=max(1, steps // 8),
            eval_windows=0,
            prompts=["ROMEO:\n"],
        )
        Path("params.yaml").write_text(yaml.safe_dump({"pretrain": pretraining}))
        pretrain.main()
        print(json.dumps(read_results("pretrain"), indent=2))
        print(json.dumps(json.loads(Path("timings/pretrain.json").read_text())["parts"]))
        os.chdir("/")


if __name__ == "__main__":
    main()
