"""Talk to a model in the terminal: a base, an adapter or a GGUF, word by word as it answers.

python -m stages.lib.chat.terminal --model base                        # the base of section `eval` in params.yaml
python -m stages.lib.chat.terminal --model smollm2-135m                # any name under models:
python -m stages.lib.chat.terminal --model models/smollm2-135m-qlora   # an adapter, or a whole model's directory
python -m stages.lib.chat.terminal --model models/gguf/FILE.gguf       # through llama.cpp

/reset forgets the conversation, /quit or Ctrl-D ends; Ctrl-C ends the reply, not the program. Questions can be piped
in, one per line.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TextIO

from stages.lib.chat.events import Messages, Piece, Stream
from stages.lib.chat.gguf_stream import GgufStream
from stages.lib.chat.streaming import TransformersStream
from stages.lib.core.params import read_param
from stages.lib.core.records import read_json_object
from stages.lib.weights.base import ADAPTER_CONFIG, FACTS, load_adapter, load_base, load_tokenizer

MARK = "> "
HELP = "/reset begins a new conversation, /quit ends; Ctrl-C ends a reply"


def open_stream(model: str, max_new_tokens: int, temperature: float, seed: int, base: str = "") -> Stream:
    """Loads what `model` names: `base`, a name under models:, an adapter or model directory, a GGUF file.

    `base`: the adapter's base under models:, where the adapter does not say.

    Raises:
        ValueError: it is none of them, it is damaged, or an adapter of another base.
    """
    place = Path(model)
    if place.suffix == ".gguf":
        return GgufStream(place, max_new_tokens, temperature, seed)
    if not place.is_dir():
        if "/" in model:
            raise ValueError(f"{model}: no such directory")
        name = str(read_param("eval.base") or "") if model == "base" else model
        loaded = load_base(name)
    elif (place / ADAPTER_CONFIG).is_file():
        loaded = load_adapter(base or _base_of(place), place)
    else:
        loaded = _load_directory(place)
    return TransformersStream(*loaded, max_new_tokens, temperature, seed)


def chat(stream: Stream, questions: Iterable[str], out: TextIO, system: str = "") -> None:
    """Answers the questions one after the other, each with what was said before, until they end or /quit comes."""
    opening: Messages = [{"role": "system", "content": system}] if system else []
    messages = list(opening)
    for line in questions:
        question = line.strip()
        if not question:
            continue
        if question == "/quit":
            return
        if question == "/reset":
            messages = list(opening)
            print("(a new conversation)", file=out, flush=True)
            continue
        if question.startswith("/") and " " not in question:
            print(f"({question} is no command: {HELP})", file=out, flush=True)
            continue
        asked = [*messages, {"role": "user", "content": question}]
        reply = _say(stream, asked, out)
        if reply:
            messages = [*asked, {"role": "assistant", "content": reply}]


def read_questions(source: TextIO, out: TextIO) -> Iterator[str]:
    """Lines of a terminal behind a mark, or of a pipe, echoed so that the dialogue can be read."""
    if source.isatty():
        import readline  # noqa: F401  # arrow keys and history

        while True:
            try:
                yield input(MARK)
            except KeyboardInterrupt:
                print(f"\n({HELP})", file=out)
            except EOFError:
                print(file=out)
                return
    for line in source:
        print(f"{MARK}{line.rstrip()}", file=out, flush=True)
        yield line


def _say(stream: Stream, messages: Messages, out: TextIO) -> str:
    """Prints the reply as it comes and returns it; what came before Ctrl-C counts as the reply."""
    reply = ""
    try:
        with closing(stream.answer(messages, conversation="terminal")) as events:
            for event in events:
                if isinstance(event, Piece):
                    reply += event.text
                    print(event.text, end="", file=out, flush=True)
    except KeyboardInterrupt:
        print(" (stopped)", end="", file=out)
    except ValueError as error:
        print(f"({error})", end="", file=out)
    print(file=out, flush=True)
    return reply


def _base_of(adapter: Path) -> str:
    facts = adapter / FACTS
    base = read_json_object(facts).get("base") if facts.is_file() else None
    if not base:
        raise ValueError(f"{adapter}: it does not say in {FACTS} which base it is of; name it with --base")
    return str(base)


def _load_directory(directory: Path) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM

    if not (directory / "config.json").is_file():
        raise ValueError(f"{directory}: neither {ADAPTER_CONFIG} nor config.json: no adapter and no model")
    model = AutoModelForCausalLM.from_pretrained(directory, use_safetensors=True, trust_remote_code=False)
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval(), load_tokenizer(directory)


def main() -> None:
    """Reads the command line, loads the model and talks."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.lib.chat.terminal", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", required=True, help="base, a name under models:, a directory or a .gguf file")
    parser.add_argument("--base", default="", help="the adapter's base under models:, where it does not say")
    parser.add_argument("--system", default="", help="the system turn")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 (the default) is greedy")
    parser.add_argument("--max-new-tokens", type=int, default=256, help="tokens of a reply at most")
    parser.add_argument("--seed", type=int, default=0, help="of sampling")
    options = parser.parse_args()
    if options.temperature < 0 or options.max_new_tokens < 1:
        parser.error("--temperature must be >= 0 and --max-new-tokens >= 1")
    try:
        stream = open_stream(options.model, options.max_new_tokens, options.temperature, options.seed, options.base)
    except ValueError as error:
        sys.exit(f"chat: {error}")
    if sys.stdin.isatty():
        print(f"{options.model}: {HELP}")
    with closing(stream):
        chat(stream, read_questions(sys.stdin, sys.stdout), sys.stdout, options.system)


if __name__ == "__main__":
    main()
