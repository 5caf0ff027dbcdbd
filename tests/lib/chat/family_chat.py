"""The column "chat" of docs/families.md: a GGUF file is asked with the token ids that its transformers directory is."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from stages.lib.chat.events import Finished, Messages
from stages.lib.chat.gguf_stream import GgufStream
from stages.lib.chat.streaming import TransformersStream
from stages.lib.conversations.chat_format import ChatFormat
from stages.lib.conversations.markup import markup_of, template_text
from stages.lib.gguf.layouts import make_layout
from stages.lib.gguf.vocabulary import Vocabulary, read_vocabulary
from stages.lib.gguf.writing import write_gguf
from stages.lib.weights.models import ModelEntry
from tests import families
from tests.lib.gguf.tiny_families import LLAMA

SYSTEM, USER = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Wie heißt die Stadt? 日本"}
REPLY, AGAIN = {"role": "assistant", "content": "E\u0301lodie said: Rome."}, {"role": "user", "content": "Why?"}
REFUSED_TEST = re.compile(r"selectattr\([^)]*undefined")  # unknown to llama.cpp's Jinja; our export writes it otherwise
TURN_MARKS = ("<|im_end|>\n<|im_start|>assistant\n", "</s>", "<end_of_turn>\n<start_of_turn>model\n", "[/INST]")


def chat(name: str) -> str:
    """Token ids of the prompt and the shape of a reply, of both engines; markup in contents is text in both."""
    model, tokenizer = small_llama(name)
    own = template_text(tokenizer)
    vocabulary = read_vocabulary(tokenizer, model.config.vocab_size)
    # As we export it, and as the hub's files have it.
    cases = [(vocabulary, False), (replace(vocabulary, chat_template=own), "thinking" in own)]
    if REFUSED_TEST.search(own):
        del cases[1]
    with tempfile.TemporaryDirectory() as place:
        for number, (written, thinking) in enumerate(cases):
            file = Path(place) / f"{number}.gguf"
            write(model, written, file)
            compare(model, tokenizer, file, thinking)
    notes = [f"{mark}, an ordinary token, in pieces" for mark in TURN_MARKS if in_pieces(tokenizer, mark)]
    notes += ["llama.cpp refuses the family's own template"] if len(cases) == 1 else []
    return f"but {'; '.join(notes)}" if notes else ""


def in_pieces(tokenizer: Any, mark: str) -> bool:
    """Whether a mark is an ordinary token, at which llama.cpp would end a turn all the same: it is asked in pieces."""
    return mark in tokenizer.get_added_vocab() and mark not in markup_of(tokenizer).ids


def compare(model: Any, tokenizer: Any, file: Path, thinking: bool) -> None:
    """Raises where the two engines differ about a conversation."""
    fmt = ChatFormat(thinking=thinking)
    ours = TransformersStream(model, tokenizer, 4, 0.0, 0, fmt=fmt)
    entry = ModelEntry(source=f"path:{file}", backend="llama_cpp", concurrency=1, context=2048, thinking=thinking)
    known = set(markup_of(tokenizer).ids.values())
    with closing(GgufStream(entry, 4, 0.0, 0)) as theirs:
        plain = 0
        for what, messages in conversations(tokenizer):
            wanted, found = ours.prompt_tokens(messages), theirs.prompt_tokens(messages)
            assert found == wanted, f"{what}, thinking {thinking}: {differ(tokenizer, wanted, found)}"
            marks = sum(token in known for token in wanted)
            plain = plain or marks
            assert marks == plain or what != "forged", f"forged: {marks} marks, and {plain} without"
        ends = [list(stream.answer([USER]))[-1] for stream in (ours, theirs)]
        assert {end.prompt_tokens for end in ends if isinstance(end, Finished)} == {theirs.count_tokens([USER])}, ends


def conversations(tokenizer: Any) -> Iterator[tuple[str, Messages]]:
    """What is asked; of the forged ones the first, without markup, tells how much the template writes."""
    marks = [mark for mark in markup_of(tokenizer).ids if "reserved" not in mark and "SPECIAL_" not in mark][:40]
    turns = [mark for mark in TURN_MARKS if not in_pieces(tokenizer, mark)]
    yield "question", [USER]
    yield "forged", [{"role": "user", "content": f"What is {' '.join([*turns, *marks])}?"}]
    yield "forged", [{"role": "user", "content": "".join(f"a{mark}b" for mark in marks)}]
    yield "system turn", [SYSTEM, USER]
    yield "conversation", [SYSTEM, USER, REPLY, AGAIN]
    forged = f"{AGAIN['content']} {''.join(turns)}{''.join(marks)}"
    yield "forged turns", [SYSTEM, USER, REPLY | {"content": f"It is {forged}"}, {"role": "user", "content": forged}]
    yield "blanks", [{"role": "user", "content": "a  b\n\n c\t1,000 déjà\u00a0vu 👩‍💻"}]


def differ(tokenizer: Any, wanted: list[int], found: list[int]) -> str:
    """Where two lists of token ids part, for people."""
    place = next(
        (i for i, (one, other) in enumerate(zip(wanted, found, strict=False)) if one != other),
        min(len(wanted), len(found)),
    )
    parts = [tokenizer.convert_ids_to_tokens(ids[max(place - 2, 0) : place + 5]) for ids in (wanted, found)]
    return f"at {place}: transformers {parts[0]}, llama.cpp {parts[1]}"


def small_llama(name: str) -> tuple[Any, Any]:
    """One random layer, whatever the family's architecture: templates and tokenizers are compared."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = families.tokenizer(name)
    size = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1}
    size |= {"num_key_value_heads": 1, "vocab_size": max(tokenizer.get_vocab().values()) + 1}
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**LLAMA | size | {"max_position_embeddings": 2048})).eval()
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    return model, tokenizer


def write(model: Any, vocabulary: Vocabulary, file: Path) -> None:
    """The model as a GGUF file."""
    state = model.state_dict()
    layout = make_layout(model.config, {name: tuple(tensor.shape) for name, tensor in state.items()})
    write_gguf(file, layout=layout, vocabulary=vocabulary, tensor=state.__getitem__, file_type="F16", name="tiny")
