"""Talk to a model in the terminal: a base, an adapter or a GGUF, word by word as it answers.

python -m stages.lib.chat.terminal --model base                        # the base of section `eval` in params.yaml
python -m stages.lib.chat.terminal --model smollm2-135m                # any name under models:, a server's too
python -m stages.lib.chat.terminal --model models/smollm2-135m-qlora   # an adapter, or a whole model's directory
python -m stages.lib.chat.terminal --model models/gguf/FILE.gguf       # through llama.cpp
python -m stages.lib.chat.terminal --model models/gpt-finetuned        # our own GPT, each question by itself

/reset forgets the conversation, /quit or Ctrl-D ends; Ctrl-C ends the reply, not the program. What is pasted is one
question, however many lines it has. Questions can be piped in, one per line (--paragraphs: blank lines between them).
What a model thinks before it answers is shown apart and is not told to it again. Turns that no longer fit the model's
context, or that its chat template has no place for, are forgotten, the oldest first.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from stages.lib.chat.events import Messages, Stream
from stages.lib.chat.gguf_stream import MOST_CONTEXT, GgufStream
from stages.lib.chat.history import accepts, fitting
from stages.lib.chat.opening import open_entry
from stages.lib.chat.printed_reply import PrintedReply
from stages.lib.chat.streaming import TransformersStream
from stages.lib.chat.typed_questions import HELP, read_questions
from stages.lib.conversations.chat_format import ChatFormat
from stages.lib.core.params import read_param
from stages.lib.core.records import read_json_object
from stages.lib.weights.base import ADAPTER_CONFIG, FACTS, load_adapter, load_base, load_tokenizer
from stages.lib.weights.models import ModelEntry, load_model_entry

MOST_NEW_TOKENS = 256  # of a reply, where nothing is said


def find_base(model: str, base: str = "") -> str:
    """The name under models: of the base that `model` is or stands on; "": of none, a GGUF file or a whole model.

    `base`: the adapter's base, where the adapter does not say.

    Raises:
        ValueError: there is no such directory, or it does not say of which base it is.
    """
    place = Path(model)
    if place.suffix == ".gguf":
        return ""
    if place.is_dir():
        return (base or _base_of(place)) if (place / ADAPTER_CONFIG).is_file() else ""
    if "/" in model:
        raise ValueError(f"{model}: no such directory")
    return str(read_param("eval.base") or "") if model == "base" else model


def open_stream(
    model: str,
    base: tuple[str, ModelEntry] | None,
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    thinking: bool = False,
    context: int = 0,
    gpu_layers: int = 0,
) -> Stream:
    """Loads a GGUF file, a model's or adapter's directory, or what is no directory: the base itself, or its server.

    Args:
        model: the file, directory or name.
        base: name and entry of the base that `find_base` names.
        max_new_tokens: of a reply, at most.
        temperature: 0 is greedy.
        seed: of sampling.
        thinking: let it think, also where no entry says so.
        context: tokens of prompt and reply together; 0: the model's own.
        gpu_layers: layers of a GGUF file that are computed on the GPU.

    Raises:
        ValueError: it is damaged, an adapter of another base, or has no chat template.
    """
    place = Path(model)
    if place.suffix == ".gguf":
        context = context or MOST_CONTEXT
        entry = ModelEntry(
            source=f"path:{place}",
            backend="llama_cpp",
            concurrency=1,
            context=context,
            thinking=thinking,
            gpu_layers=gpu_layers,
        )
        return GgufStream(entry, max_new_tokens, temperature, seed)
    fmt = ChatFormat(thinking=thinking)
    if base is None:
        loaded = _load_directory(place)
    else:
        entry = replace(base[1], thinking=thinking or base[1].thinking)
        fmt = ChatFormat.of(entry)
        if place.is_dir():
            loaded = load_adapter(base[0], entry, place)
        elif entry.backend == "transformers":
            loaded = load_base(entry)
        else:
            layers = gpu_layers or entry.gpu_layers
            entry = replace(entry, context=context or entry.context, concurrency=1, gpu_layers=layers)
            return open_entry(entry, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)
        context = context or entry.max_length
    return TransformersStream(*loaded, max_new_tokens, temperature, seed, fmt=fmt, context=context)


def chat(stream: Stream, questions: Iterable[str], out: TextIO, system: str = "", max_new_tokens: int = 256) -> None:
    """Answers the questions one after the other, each with what was said before, until they end or /quit comes.

    Of what was said as much is kept as fits the model's context beside `max_new_tokens` of reply.
    """
    opening: Messages = [{"role": "system", "content": system}] if system else []
    messages = list(opening)
    forgot = False
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
        if question.startswith("/") and len(question.split()) == 1:
            print(f"({question} is no command: {HELP})", file=out, flush=True)
            continue
        asked = [*messages, {"role": "user", "content": question}]
        try:
            fitted = fitting(asked, stream, max_new_tokens)
        except ValueError as error:
            print(f"({error})", file=out, flush=True)
            continue
        if len(fitted) < len(asked) and not forgot:
            forgot = True
            why = f"no longer fit the context of {stream.context:,} tokens"
            if not accepts(stream, asked):
                why = "have no place in the model's chat template"
            print(f"(the oldest turns {why}: forgotten)", file=out)
        reply = _say(stream, fitted, out, max_new_tokens)
        messages = [*fitted, {"role": "assistant", "content": reply}] if reply else fitted[:-1]


def _say(stream: Stream, messages: Messages, out: TextIO, max_new_tokens: int) -> str:
    """Prints the reply as it comes and returns it; what came before Ctrl-C counts as the reply."""
    printed = PrintedReply(out)
    try:
        with closing(stream.answer(messages, max_new_tokens, conversation="terminal")) as events:
            for event in events:
                printed.take(event)
        printed.end()
    except KeyboardInterrupt:
        printed.note("stopped")
    except (ValueError, RuntimeError) as error:
        printed.note(str(error))
    print(file=out, flush=True)
    return printed.reply


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
    if "tokenizer" in read_json_object(directory / "config.json"):  # a checkpoint of our own GPT
        return _load_own(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, use_safetensors=True, trust_remote_code=False)
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval(), load_tokenizer(directory)


def _load_own(checkpoint: Path) -> tuple[Any, Any]:
    """By way of the layout of transformers, so that it is asked as whoever gets the export asks it."""
    from stages.lib.gpt.checkpoints import read_template
    from stages.lib.gpt_export.huggingface import export_checkpoint

    if not read_template(checkpoint):
        raise ValueError(
            f"{checkpoint}: this GPT continues texts and was not finetuned to answer: run the stage finetune, or "
            "python -m stages.lib.gpt.generate"
        )
    with tempfile.TemporaryDirectory() as place:
        export_checkpoint(checkpoint, Path(place) / checkpoint.name)
        return _load_directory(Path(place) / checkpoint.name)


def main() -> None:
    """Reads the command line, loads the model and talks."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.lib.chat.terminal", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", required=True, help="base, a name under models:, a directory or a .gguf file")
    parser.add_argument("--base", default="", help="the adapter's base under models:, where it does not say")
    parser.add_argument("--system", default="", help="the system turn")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 (the default) is greedy")
    parser.add_argument(
        "--max-new-tokens",
        type=int,
        help="tokens of a reply at most; default: 256, or half the context if that is less",
    )
    parser.add_argument("--seed", type=int, default=0, help="of sampling")
    parser.add_argument("--thinking", action="store_true", help="let a reasoning model think before it answers")
    parser.add_argument("--context", type=int, default=0, help="tokens of prompt and reply; 0: the model's own")
    parser.add_argument("--gpu-layers", type=int, default=0, help="of a GGUF file, that a GPU computes; -1: all")
    parser.add_argument("--paragraphs", action="store_true", help="blank lines, not line ends, part piped questions")
    options = parser.parse_args()
    most = MOST_NEW_TOKENS if options.max_new_tokens is None else options.max_new_tokens
    if min(options.temperature, options.context, options.gpu_layers + 1) < 0 or most < 1:
        parser.error("--temperature and --context must be >= 0, --gpu-layers >= -1 and --max-new-tokens >= 1")
    try:
        name = find_base(options.model, options.base)
        stream = open_stream(
            options.model,
            (name, load_model_entry(name)) if name else None,
            max_new_tokens=most,
            temperature=options.temperature,
            seed=options.seed,
            thinking=options.thinking,
            context=options.context,
            gpu_layers=options.gpu_layers,
        )
    except ValueError as error:
        sys.exit(f"chat: {error}")
    if sys.stdin.isatty():
        print(f"{options.model} ({stream.context:,} tokens of context): {HELP}")
    if options.max_new_tokens is None:
        most = min(most, max(1, stream.context // 2))
    with closing(stream):
        questions = read_questions(sys.stdin, sys.stdout, options.paragraphs)
        chat(stream, questions, sys.stdout, options.system, most)


if __name__ == "__main__":
    main()
