import random

import pytest

from stages.lib.code_settings.setting import Setting
from stages.lib.code_settings.settings import code_settings


def told(text: str) -> list[tuple[str, str, str, str]]:
    return [(one.kind, one.name, one.owner, one.value) for one in code_settings(text)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("optimizer = torch.optim.AdamW(lr=3e-4)", [("argument", "lr", "torch.optim.AdamW", "3e-4")]),
        (
            ">>> model = AutoModel.from_pretrained(\n...     'org/tiny-model', torch_dtype=torch.float16\n... )",
            [
                ("loaded", "", "AutoModel.from_pretrained", "org/tiny-model"),
                ("argument", "torch_dtype", "AutoModel.from_pretrained", "torch.float16"),
            ],
        ),
        ("pipe = pipeline('text-classification')", [("passed", "", "pipeline", "text-classification")]),
        ("from accelerate.utils import set_seed", [("imported", "set_seed", "", "accelerate.utils")]),
        ("batch_size = 16", [("variable", "batch_size", "", "16")]),
        ("class Net(nn.Module):\n    pass", [("base", "Net", "", "nn.Module")]),
        ("    def step(self, batch, scale):\n        ...", [("parameters", "step", "", "batch, scale")]),
        ('config = {"hidden_size": 768, "flag": True}', [("entry", "hidden_size", "", "768")]),
        (">>> print(results)\n{'bleu': 0.5}", [("shown", "bleu", "", "0.5")]),
        ("prompt = 'a horse on Mars'", [("variable", "prompt", "", "a horse on Mars")]),
        ("f(deep=True)", [("switch", "deep", "f", "True")]),
        ("    with autocast(dtype=torch.bfloat16):", [("argument", "dtype", "autocast", "torch.bfloat16")]),
        ("python run_glue.py --lr 2e-5 --out $DIR", [("flag", "lr", "run_glue.py", "2e-5")]),
        ("$ accelerate launch \\\n  --num_processes=4 \\\n  run.py", [("flag", "num_processes", "", "4")]),
        ('"z": {\n  "stage": 3,\n  "size": 1e9,\n}', [("entry", "stage", "", "3"), ("entry", "size", "", "1e9")]),
        ("sdk_version: 3.19.1", [("entry", "sdk_version", "", "3.19.1")]),
        ("f(loss='größe', lr=0.1)  # ä", [("argument", "loss", "f", "größe"), ("argument", "lr", "f", "0.1")]),
    ],
)  # fmt: skip
def test_what_code_sets(text: str, found: list[tuple[str, str, str, str]]) -> None:
    assert told(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "The learning rate (lr = 3) is set. Use --fp16 if your card has it.",
        "print(sep='...', end='--')",  # everyday functions
        "model.fit(x=features, callbacks=None)",  # variables
        "load('path/to/model'); load('your-name/model'); save('https://a.b/c')",  # placeholders and addresses
        "--arm64               Quantization for ARM",  # the help of a command
        "use_cache=True,\n    max_new",  # the end of a call that begins in another text
        "tokenizer(padding='padding')",  # the value is the name
        "Note: 5\nArgs: 3",
        "",
        "f(" * 3000,
    ],
)
def test_what_sets_nothing(text: str) -> None:
    assert told(text) == []


def test_a_name_with_two_values_is_left_out() -> None:
    text = "f(lr=0.1)\nf(lr=0.2)\nf(steps=10)\nf(steps=10)\ng(lr=0.1)"
    assert told(text) == [("argument", "steps", "f", "10"), ("argument", "lr", "g", "0.1")]


def test_the_place_holds_name_and_value_whatever_stands_around() -> None:
    text = "An 😀 example, as in ß:\r\n\n>>> run = train('äöü', lr=2e-5)\n...done"
    (only,) = code_settings(text)
    assert only == Setting("argument", "lr", "train", "2e-5", text.index("lr="), text.index("2e-5") + 4)


def test_cut_and_broken_code_ends_in_no_error() -> None:
    text = "class A:\n    def f(self, a, b):\n        return g(\n          lr=0.1,\n          name='x',\n        )\n"
    draw = random.Random(0)
    for _ in range(500):
        start, end = sorted(draw.randrange(len(text)) for _ in range(2))
        odd = draw.choice(["\x00", "\r", "é", "(", "'", "\\", "\u2028", "```"])
        piece = text[start:end] + odd + text[end:]
        for one in code_settings(piece):
            assert 0 <= one.start < one.end <= len(piece)


def test_a_dictionary_is_an_output_only_below_what_prints_it() -> None:
    assert told('{"path": "a/b.py", "language": "python"}') == []
    assert told("print(scores)\n[{'label': 'POSITIVE', 'score': 0.99}]")[-1] == ("shown", "score", "", "0.99")


def test_templates_and_html_are_no_python() -> None:
    assert told('{{ default("more_information") }}') == []
    assert told('<iframe src="https://a.b"\n    width="850"\n></iframe>') == []
