"""HellaSwag: both measures against brute force and transformers, the queries by hand, a random model at chance."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages.lib.commands.hellaswag import main
from stages.lib.gpt.checkpoints import TokenizerFacts
from stages.lib.gpt.model import GPT, GPTConfig
from stages.lib.gpt_export.huggingface import to_hf
from stages.lib.hellaswag.items import HellaSwagItem, clean, load_items, query
from stages.lib.hellaswag.scoring import (
    EndingRow,
    count_correct,
    log_likelihoods,
    rows_by_chars,
    rows_by_tokens,
    score,
    windows,
)
from stages.lib.tokens.tokenizers import Tokenizer, load_tokenizer
from tests.lib.gpt.saved_model import save_model

BYTES = load_tokenizer("byte")
UPSTREAM: dict[str, Any] = {
    "ind": 24,
    "activity_label": "Roof shingle removal",
    "ctx_a": "A man is sitting on a roof.",
    "ctx_b": "he",
    "ctx": "A man is sitting on a roof. he",
    "split": "val",
    "split_type": "indomain",
    "label": 3,
    "endings": [
        "is using wrap to wrap a pair of skis.",
        "is ripping level tiles off.",
        "is holding a rubik's cube.",
        "starts pulling up roofing on a roof.",
    ],
    "source_id": "activitynet~v_-JhWjGDPHMY",
}


def tiny(context: int = 64, vocab_size: int = 260, **shape: Any) -> GPT:
    """A random model, of larger weights than usual, so that its preferences are not all alike."""
    torch.set_num_threads(1)
    torch.manual_seed(5)
    model = GPT(GPTConfig(vocab_size=vocab_size, context=context, n_layer=1, n_head=2, d_model=16, **shape))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(10)
    return model.eval()


def made_items(count: int, seed: int = 0) -> list[HellaSwagItem]:
    rng = np.random.default_rng(seed)

    def text(low: int, high: int) -> str:
        return "".join(rng.choice(list("abc de."), rng.integers(low, high))) + "x"

    return [
        HellaSwagItem("Label", text(5, 40), None, tuple(text(3, 30) for _ in range(4)), int(rng.integers(4)))
        for _ in range(count)
    ]


def brute_force(model: GPT, row: EndingRow) -> float:
    """Token by token, each after all that the context holds, one forward pass each."""
    total = 0.0
    for place in range(len(row.ids) - row.scored, len(row.ids)):
        before = torch.from_numpy(row.ids[max(0, place - model.config.context) : place])[None]
        with torch.no_grad():
            total += float(model(before)[0, -1].double().log_softmax(-1)[row.ids[place]])
    return total


def test_log_likelihoods_equal_brute_force_in_every_batching() -> None:
    model = tiny(context=96)
    rows = [row for item in made_items(5) for row in rows_by_tokens(item, BYTES) + rows_by_chars(item, BYTES)]
    expected = [brute_force(model, row) for row in rows]
    for batch_tokens in (1, 200, 100_000):
        np.testing.assert_allclose(log_likelihoods(model, rows, batch_tokens=batch_tokens), expected, rtol=1e-5)


def test_measures_are_those_of_the_two_harnesses() -> None:
    model, items = tiny(context=96), made_items(24)
    right: dict[str, int] = {"acc_tokens": 0, "acc_norm_tokens": 0, "acc_chars": 0, "acc_norm_chars": 0}
    for item in items:
        sums, means = [], []
        for ending in item.endings:
            context, target = list(item.ctx.encode()), list((" " + ending).encode())
            sums.append(brute_force(model, EndingRow(np.array(context + target), len(target), 1)))
            means.append(sums[-1] / len(target))
        right["acc_tokens"] += int(np.argmax(sums)) == item.label
        right["acc_norm_tokens"] += int(np.argmax(means)) == item.label
        sums, means = [], []
        for ending in map(clean, item.endings):
            shown, said = f"Label: {item.ctx.strip()}".replace("  ", " "), " " + ending
            sums.append(brute_force(model, EndingRow(np.array(list((shown + said).encode())), len(said), 1)))
            means.append(sums[-1] / len(ending))
        right["acc_chars"] += int(np.argmax(sums)) == item.label
        right["acc_norm_chars"] += int(np.argmax(means)) == item.label
    measures = score(model, BYTES, items)
    assert {name: round(measures[name]["value"] * 24) for name in right} == right
    assert len(set(right.values())) > 1  # or the measures could not be told apart


def test_equals_transformers() -> None:
    """Loss of GPT2LMHeadModel with labels on the ending alone, GPT-2's tokens."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    shape = {"n_positions": 64, "n_embd": 16, "n_layer": 1, "n_head": 2}
    theirs = GPT2LMHeadModel(GPT2Config(vocab_size=50259, **shape, attn_pdrop=0, resid_pdrop=0, embd_pdrop=0)).eval()
    model = tiny(
        vocab_size=50259, position="learned", norm="layernorm", activation="gelu_tanh", bias=True
    )  # the same function, other names
    weights = theirs.state_dict()
    names = {
        "embedding.weight": "transformer.wte.weight",
        "positions.weight": "transformer.wpe.weight",
        "norm.weight": "transformer.ln_f.weight",
        "norm.bias": "transformer.ln_f.bias",
    }
    inside = {"norm1": "ln_1", "norm2": "ln_2", "attention.qkv": "attn.c_attn", "attention.out": "attn.c_proj"}
    inside |= {"mlp.up": "mlp.c_fc", "mlp.down": "mlp.c_proj"}
    for ours, other in inside.items():
        for kind in ("weight", "bias"):
            names[f"blocks.0.{ours}.{kind}"] = f"transformer.h.0.{other}.{kind}"
    # Their Conv1D holds the transpose of a linear layer.
    model.load_state_dict(
        {
            ours: weights[other].T if ".c_" in other and "weight" in other else weights[other]
            for ours, other in names.items()
        }
    )
    gpt2 = load_tokenizer("gpt2")
    item = HellaSwagItem("Roof", "A man sits.", ("A man sits.", ""), tuple(UPSTREAM["endings"]), 3)
    rows = rows_by_tokens(item, gpt2) + rows_by_chars(item, gpt2)
    expected = []
    for row in rows:
        ids = torch.from_numpy(row.ids)[None]
        labels = ids.clone()
        labels[:, : -row.scored] = -100
        with torch.no_grad():
            expected.append(-float(theirs(ids, labels=labels).loss) * row.scored)
    np.testing.assert_allclose(log_likelihoods(model, rows), expected, rtol=1e-4)


def test_rows_hold_the_tokens_that_each_way_reads() -> None:
    item = HellaSwagItem(
        "Roof", "A man [x]  sits.", ("A man [x]  sits.", "he"), ("runs.", " is  [y]on it.", "c", "d"), 0
    )
    raw, cleaned = rows_by_tokens(item, BYTES), rows_by_chars(item, BYTES)
    assert bytes(raw[1].ids.tolist()).decode() == "A man [x]  sits.  is  [y]on it."
    assert (raw[1].scored, raw[1].divisor) == (len("  is  [y]on it."), len("  is  [y]on it."))
    assert bytes(cleaned[1].ids.tolist()).decode() == "Roof: A man  sits. He is on it."
    assert (cleaned[1].scored, cleaned[1].divisor) == (len(" is on it."), len("is on it."))


def test_blanks_at_a_querys_end_go_to_the_ending() -> None:
    item = HellaSwagItem("Roof", "Sit down. [step]", None, ("a", "b", "c", "d"), 0)
    assert query(item) == "Roof: Sit down. "
    row = rows_by_chars(item, BYTES)[0]
    assert bytes(row.ids.tolist()).decode() == "Roof: Sit down.  a"
    assert row.scored == 3  # two blanks and the letter
    gpt2 = load_tokenizer("gpt2")
    row = rows_by_chars(item, gpt2)[0]
    assert gpt2.decode(row.ids[-row.scored :].tolist()) == "  a"


def test_upstream_examples_make_the_queries_that_the_harness_shows(tmp_path: Path) -> None:
    """The first by its record; the others differ in what they show: see the real-data test."""
    (tmp_path / "one.jsonl").write_text(json.dumps(UPSTREAM))
    (item,), dropped = load_items(tmp_path / "one.jsonl")
    assert not dropped
    assert query(item) == "Roof shingle removal: A man is sitting on a roof. He"
    wikihow = {
        **UPSTREAM,
        "activity_label": "Home",
        "ctx_a": "[header] How to sit [title] Sit down. [step] Bend.  Then rest.",
        "ctx_b": "",
        "label": "2",
    }
    (tmp_path / "two.jsonl").write_text(json.dumps(wikihow))
    (item,), _ = load_items(tmp_path / "two.jsonl")
    assert item.label == 2
    assert query(item) == "Home: How to sit. Sit down. Bend. Then rest."


def test_long_rows_are_cropped_from_the_left_and_long_endings_scored_whole() -> None:
    model = tiny(context=8)
    ids = np.arange(30)
    assert [(w.tolist(), n) for w, n in windows(EndingRow(ids, 3, 1), 8)] == [(list(range(21, 30)), 3)]
    assert [(w.tolist(), n) for w, n in windows(EndingRow(ids, 10, 1), 8)] == [
        (list(range(21, 30)), 8),
        (list(range(13, 22)), 2),
    ]
    row = EndingRow(ids, 3, 1)
    with torch.no_grad():
        logits = model(torch.from_numpy(ids[21:29])[None])[0].double().log_softmax(-1)
    expected = sum(float(logits[place - 22, ids[place]]) for place in (27, 28, 29))
    np.testing.assert_allclose(log_likelihoods(model, [row]), [expected], rtol=1e-5)
    assert count_correct(model, BYTES, made_items(3))["cropped"] == 24


def test_broken_records_are_dropped_by_reason(tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"label": "1"},
        {"label": ""},
        {"label": 4},
        {"label": True},
        {"endings": ["a", "b", "c"]},
        {"endings": ["a", "b", "c", None]},
        {"endings": ["a", "b", "c", " [step] "]},
        {"ctx": " "},
        {"activity_label": None},
    ]
    lines = [json.dumps(UPSTREAM | change) for change in changes]
    (tmp_path / "items.jsonl").write_text("\n".join([*lines, "{", "[]"]))
    items, dropped = load_items(tmp_path / "items.jsonl")
    assert [item.label for item in items] == [3, 1]
    assert dropped == {
        "no_label": 3,
        "not_four_endings": 2,
        "empty_ending": 1,
        "no_context": 1,
        "no_activity_label": 1,
        "broken_json": 1,
        "not_an_object": 1,
    }
    assert len(load_items(tmp_path / "items.jsonl", limit=1)[0]) == 1


def test_errors_name_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent\.jsonl: no such file"):
        load_items(tmp_path / "absent.jsonl")
    (tmp_path / "empty.jsonl").write_text(json.dumps(UPSTREAM | {"label": ""}))
    with pytest.raises(ValueError, match=r"no usable .*empty\.jsonl:1: no_label expected 0\.\.3, found ''"):
        load_items(tmp_path / "empty.jsonl")
    with pytest.raises(ValueError, match="no items"):
        score(tiny(), BYTES, [])
    with pytest.raises(ValueError, match="tokenizer byte has 260 ids, the model 100"):
        score(tiny(vocab_size=100), BYTES, made_items(1))


def test_intervals_are_wilsons_and_the_model_keeps_its_mode() -> None:
    model = tiny(context=96).train()
    measures = score(model, BYTES, made_items(40))
    assert model.training
    p, n, z = measures["acc_tokens"]["value"], 40, 1.959963984540054
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    assert measures["acc_tokens"]["low"] == pytest.approx(middle - half)
    assert measures["acc_tokens"]["high"] == pytest.approx(middle + half)


def test_command_prints_the_measures_of_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = TokenizerFacts(name="byte", identity=BYTES.identity, vocab_size=260, eot=BYTES.eot)
    save_model(tmp_path / "best", tiny(), facts)
    (tmp_path / "items.jsonl").write_text(json.dumps(UPSTREAM) + "\n{")
    command = ["--device", "cpu", "--ckpt", str(tmp_path / "best"), "--file"]
    command_file = str(tmp_path / "items.jsonl")
    main([*command, command_file])
    measures = json.loads(capsys.readouterr().out)
    assert measures["items"] == 1
    assert measures["dropped"] == {"broken_json": 1}
    to_hf(tiny(), BYTES, tmp_path / "exported")
    main(["--device", "cpu", "--hf", str(tmp_path / "exported"), "--tokenizer", "byte", *command[-1:], command_file])
    assert json.loads(capsys.readouterr().out) == measures
    with pytest.raises(SystemExit, match="2"):
        main([*command, "absent"])
    assert "absent: no such file" in capsys.readouterr().err


def real_data() -> Path:
    if "LLMILL_REAL_DATA" not in os.environ:
        pytest.skip("LLMILL_REAL_DATA is not set")
    return Path(os.environ["LLMILL_REAL_DATA"]) / "hellaswag"


@pytest.mark.real_data
def test_real_upstream_examples_and_their_queries() -> None:
    items, dropped = load_items(real_data() / "hellaswag_original_schema_examples.jsonl")
    assert not dropped
    assert [query(item) for item in items] == [
        "Roof shingle removal: A man is sitting on a roof. He",
        "Starting a campfire: He takes his lighter and lights the newspaper in several places to start the fire. "
        "The bonfire starts burning and continues to burn. He",
        "Removing ice from car: Then, the man writes over the snow covering the window of a car, and a woman wearing "
        "winter clothes smiles. Then",
        "Capoeira: They are performing while everyone claps. They take a short break and walk around a bit before "
        "starting their performance again. People",
        "Food and Entertaining: How to grow cherry tomatoes. Obtain seedlings or seeds. It is possible to grow cherry "
        "tomatoes from seedlings or seeds. Growing from seedling will produce cherry tomatoes faster than growing from "
        "seeds.",
    ]
    assert clean(items[4].endings[0]) == (
        "[title] Choose an area with open water and good drainage. [step] There should not be ripples on the surface "
        "of the water if possible."
    ).replace("[title] ", " ").replace(" [step]", "")


@pytest.mark.real_data
@pytest.mark.parametrize("tokenizer", [BYTES], ids=["byte"])
def test_random_model_sits_at_chance(tokenizer: Tokenizer) -> None:
    items, dropped = load_items(real_data() / "hellaswag_val_every5th.jsonl")
    assert (len(items), dropped) == (2009, {})
    torch.manual_seed(1)
    torch.set_num_threads(1)
    model = GPT(GPTConfig(vocab_size=260, context=64, n_layer=1, n_head=1, d_model=16))
    measures = score(model, tokenizer, items)
    for name in ("acc_norm_tokens", "acc_norm_chars"):
        assert measures[name]["low"] < 0.25 < measures[name]["high"], (name, measures[name])
