"""Instruction sources, the template, the split and the batches."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.lib.instructions.batches import InstructionBatches, tokenize
from stages.lib.instructions.examples import Example, is_held_out, parse_source, read_source
from stages.lib.reading.documents import Drop
from stages.lib.tokens.targets import IGNORED
from stages.lib.tokens.tokenizers import load_tokenizer

BYTES = load_tokenizer("byte")


def read(**content: Any) -> tuple[list[Example], Counter[str]]:
    items = list(read_source(parse_source(content, "sources[0]")))
    dropped = Counter(item.reason for item in items if isinstance(item, Drop))
    return [item for item in items if isinstance(item, Example)], dropped


def test_instruction_records_become_prompt_and_answer(tmp_path: Path) -> None:
    records: list[Any] = [
        {"instruction": "Correct this. ", "input": "He go.", "output": " He goes."},
        {"instruction": "Count to 3.", "output": "1 2 3"},
        {"instruction": "Count to 3.", "input": "", "output": "1 2 3"},
        {"instruction": " ", "output": "x"},
        {"instruction": "x", "input": "", "output": ""},
        {"instruction": "x", "input": ["y"], "output": "z"},
        {"instruction": "x", "output": "\ud800"},
        "text",
    ]
    (tmp_path / "a.json").write_text(json.dumps(records))
    examples, dropped = read(kind="instructions", patterns=[str(tmp_path / "*.json")])
    assert [(e.prompt, e.answer) for e in examples] == [
        ("Correct this.\n\nHe go.", "He goes."),
        ("Count to 3.", "1 2 3"),
    ]
    assert examples[0].source == f"{tmp_path}/a.json[0]"
    reasons = ["duplicate", "no_instruction", "no_output", "input_is_no_text", "invalid_unicode", "not_an_object"]
    assert dropped == dict.fromkeys(reasons, 1)
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, records[:2])) + "\n{")
    assert [e.prompt for e in read(kind="instructions", patterns=[str(tmp_path / "b.jsonl")])[0]] == [
        e.prompt for e in examples
    ]
    assert len(read(kind="instructions", patterns=[str(tmp_path / "b.jsonl")], limit=1)[0]) == 1


def test_chats_of_one_question_are_instructions(tmp_path: Path) -> None:
    asked = [{"from": "system", "value": "Be brief."}, {"from": "human", "value": "Why?"}]
    lines = [
        {"conversations": [*asked, {"from": "gpt", "value": "So."}]},
        {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": None}]},
        {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}] * 2},
    ]
    file = tmp_path / "chats.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines))
    found = list(read_source(parse_source({"kind": "instructions", "patterns": [str(file)]}, "sources[0]")))
    assert found[0] == Example("Be brief.\n\nWhy?", "So.", f"{file}:1")
    assert [(one.source, one.reason) for one in found[1:] if isinstance(one, Drop)] == [
        (f"{file}:2", "null_content"),
        (f"{file}:3", "several_turns"),
    ]


def test_spam_lines(tmp_path: Path) -> None:
    (tmp_path / "sms.tsv").write_bytes(
        "ham\tOk lar\u2028...\r\nspam\tWIN\ta car\n\neggs\tx\nham no tab\nham\t\nham\té".encode() + b"\xff\n"
    )
    examples, dropped = read(kind="spam", patterns=[str(tmp_path / "sms.tsv")])
    assert [(e.prompt, e.answer) for e in examples] == [
        ("Is this message spam or ham?\n\nOk lar\u2028...", "ham"),
        ("Is this message spam or ham?\n\nWIN\ta car", "spam"),
    ]
    assert dropped == {"no_label": 2, "no_message": 1, "invalid_utf8": 1}


def test_docstrings_of_an_installed_package() -> None:
    examples, dropped = read(kind="docstrings", names=["peft"])
    by_prompt = {example.prompt: example.answer for example in examples}
    assert by_prompt["Describe `peft.tuners.lora.config.LoraConfig`."] == (
        "This is the configuration class to store the configuration of a [`LoraModel`]."
    )
    assert len(examples) > 300
    assert dropped["short_paragraph"] > 0
    assert all("\n" not in example.answer and len(example.answer) >= 30 for example in examples)


def test_the_template_and_what_the_loss_is_on() -> None:
    example = Example("ab", "cde", "here")
    inputs, targets = tokenize(example, BYTES, "all")
    a, b, c, d, e = b"abcde"
    assert inputs.tolist() == [a, b, BYTES.sep, c, d, e]
    assert targets.tolist() == [b, BYTES.sep, c, d, e, BYTES.eot]
    masked = tokenize(example, BYTES, "output")[1]
    assert masked.tolist() == [IGNORED, IGNORED, c, d, e, BYTES.eot]


def made(count: int) -> list[Example]:
    return [Example(f"question {i}", f"answer {i}", str(i)) for i in range(count)]


def test_split_is_by_content_and_near_its_fraction() -> None:
    examples = made(3000)
    held = [example for example in examples if is_held_out(example, 0.1)]
    assert 240 < len(held) < 360  # 300 expected, 16.4 the standard deviation
    again = [Example(e.prompt, e.answer, "elsewhere") for e in reversed(examples)]
    assert {e.prompt for e in again if is_held_out(e, 0.1)} == {e.prompt for e in held}
    # sha256("question 0\0answer 0") begins with these eight bytes:
    assert int.from_bytes(examples[0].digest[:8], "big") / 2**64 == pytest.approx(0.2118198, abs=1e-6)


def test_batches_are_functions_of_the_number_and_visit_everything_once_an_epoch() -> None:
    batches = InstructionBatches(made(7), BYTES, 32, "output", seed=3)
    inputs, targets = batches.batch(0, 14)
    assert inputs.shape == targets.shape == (14, 32)
    assert len({row.tobytes() for row in inputs[:7]}) == len({row.tobytes() for row in inputs[7:]}) == 7
    assert inputs[:7].tobytes() != inputs[7:].tobytes()  # another order
    other = InstructionBatches(made(7), BYTES, 32, "output", seed=3)
    for first in (9, 2, 5):
        part = other.batch(first, 4)
        np.testing.assert_array_equal(part[0], inputs[first : first + 4])
        np.testing.assert_array_equal(part[1], targets[first : first + 4])
    assert InstructionBatches(made(7), BYTES, 32, "output", seed=4).batch(0, 7)[0].tobytes() != inputs[:7].tobytes()
    plain = InstructionBatches(made(7), BYTES, 32, "all", shuffle=False).batch(0, 1)
    length = len("question 0") + 1 + len("answer 0")
    assert plain[0][0, length:].tolist() == [BYTES.pad] * (32 - length)
    assert (plain[1][0] == IGNORED).sum() == 32 - length


def test_batches_are_no_wider_than_they_need_be() -> None:
    examples = [Example("q" * length, "a", str(length)) for length in (10, 70, 130)]
    batches = InstructionBatches(examples, BYTES, 150, "all", shuffle=False)
    assert [batches.batch(i, 1)[0].shape[1] for i in range(3)] == [64, 128, 150]
    assert batches.batch(0, 2)[1].shape == (2, 128)


def test_what_does_not_fit_is_dropped_and_counted() -> None:
    fits = len("question 0") + 1 + len("answer 0")
    batches = InstructionBatches([*made(2), Example("q" * 40, "a", "long")], BYTES, fits, "all")
    assert batches.per_epoch == 2
    assert [(drop.source, drop.reason) for drop in batches.dropped] == [("long", "longer_than_context")]
    with pytest.raises(ValueError, match="no example is left of 2: 2 are longer than the context of 5 tokens"):
        InstructionBatches(made(2), BYTES, 5, "all")
    with pytest.raises(ValueError, match="no example is left of 0"):
        InstructionBatches([], BYTES, 5, "all")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"kind": "poems"},
            r"sources\[0\]\.kind: 'poems' is not allowed; one of \['docstrings', 'instr",
        ),
        ({"kind": "spam"}, r"sources\[0\]: missing patterns"),
        ({"kind": "spam", "patterns": ["absent"]}, r"patterns\[0\]: 'absent' matches no file"),
        ({"kind": "docstrings", "names": ["absent-package"]}, "package 'absent-package' is not installed"),
    ],
)
def test_errors_name_what_is_wrong(content: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(**content)


@pytest.mark.real_data
def test_real_files() -> None:
    if "LLMILL_REAL_DATA" not in os.environ:
        pytest.skip("LLMILL_REAL_DATA is not set")
    folder = Path(os.environ["LLMILL_REAL_DATA"]) / "instruction"
    examples, dropped = read(kind="instructions", patterns=[str(folder / "instruction-data.json")])
    assert len(examples) + dropped.total() == 1100
    assert len(examples) > 1050
    messages, refused = read(kind="spam", patterns=[str(folder / "SMSSpamCollection.tsv")])
    assert len(messages) + refused.total() == 5574
    assert set(refused) == {"duplicate"}
