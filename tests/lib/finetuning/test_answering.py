"""Which held-out examples are answered, and that they are asked in the template."""

import torch

from stages.lib.finetuning.answering import BATCH, Answer, answer, answer_records, answered
from stages.lib.gpt.generate import generate
from stages.lib.gpt.model import GPT, GPTConfig
from stages.lib.gpt.sampling import PRESETS
from stages.lib.instructions.examples import Example
from stages.lib.tokens.instruction_template import prompt_ids
from stages.lib.tokens.tokenizers import load_tokenizer

BYTES = load_tokenizer("byte")
EXAMPLES = [Example(f"Say {i}.", f"{i}", f"{'ab'[i >= 50]}:{i}") for i in range(100)]


def test_the_same_examples_whatever_their_order_and_of_all_sources() -> None:
    chosen = answered(EXAMPLES, 20)
    assert len(chosen) == 20
    assert answered(EXAMPLES[::-1], 20) == chosen
    assert {example.source[0] for example in chosen} == {"a", "b"}
    assert len(answered(EXAMPLES, 0)) == len(answered(EXAMPLES, 1000)) == 100


def test_answers_are_what_the_model_continues_the_template_with() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=260, context=32, n_layer=1, n_head=1, d_model=32, tied=False))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(12)
    asked = EXAMPLES[: BATCH + 5]  # more than a batch
    answers = answer(model, BYTES, asked, 12)
    assert len(answers) == len(asked)
    for example, given in list(zip(asked, answers, strict=True))[:: BATCH - 1]:
        (ids,) = generate(
            model,
            [prompt_ids(BYTES, example.prompt)],
            max_new_tokens=12,
            sampling=PRESETS["greedy"],
            valid_ids=260,
            stop=BYTES.eot,
        )
        assert given == Answer(BYTES.decode(ids).strip(), len(ids) < 12)
    assert len({given.text for given in answers}) > 1


def test_records_hold_the_reference_and_both_answers() -> None:
    answers = {"before": [Answer("x", False)], "after": [Answer("7", True)]}
    assert answer_records(EXAMPLES[7:8], answers) == [
        {"prompt": "Say 7.", "reference": "7", "answer": "7", "ended": True, "answer_before": "x", "source": "a:7"}
    ]
