import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.lib.gpt.checkpoints import TokenizerFacts, load_model
from stages.lib.gpt.generate import generate, main, parse_arguments, window_start
from stages.lib.gpt.model import GPT, GPTConfig
from stages.lib.gpt.sampling import PRESETS, TokenSampling
from stages.lib.tokens.instruction_template import TEMPLATE
from stages.lib.tokens.tokenizers import load_tokenizer
from tests.lib.gpt.saved_model import save_model

VOCABULARY, CONTEXT = 61, 12
WARM = TokenSampling(temperature=1.3, top_k=30, repetition_penalty=1.1)


def small_model(**changes: Any) -> GPT:
    """Random weights, large enough that the next token depends on the context."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    shape = {"vocab_size": VOCABULARY, "context": CONTEXT, "n_layer": 2, "n_head": 2, "d_model": 16}
    model = GPT(GPTConfig(**(shape | changes)))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(15)
    return model


def run(model: GPT, prompts: Sequence[Sequence[int]], new: int = 30, **settings: Any) -> list[list[int]]:
    arguments: dict[str, Any] = {"sampling": WARM, "valid_ids": VOCABULARY, "seed": 5} | settings
    return generate(model, prompts, max_new_tokens=new, **arguments)


PROMPTS = [[1, 2, 3], [7], [9, 8, 7, 6, 5, 4, 3], [11] * CONTEXT, list(range(40))]


def test_window_starts_jump_by_half_a_context() -> None:
    assert [window_start(n, 8) for n in (1, 8, 9, 12, 13, 16, 17)] == [0, 0, 4, 4, 8, 8, 12]
    assert [window_start(n, 7) for n in (7, 8, 10, 11)] == [0, 3, 3, 6]
    assert [window_start(n, 1) for n in (1, 2, 3)] == [0, 1, 2]
    for context in (2, 5, 8):
        for length in range(1, 60):
            start = window_start(length, context)
            assert length - start <= context
            assert start == 0 or length - (start - context // 2) > context  # the smallest multiple


@pytest.mark.parametrize("position", ["rope", "learned"])
@pytest.mark.parametrize("sampling", [WARM, PRESETS["greedy"]])
def test_cached_tokens_equal_uncached_across_jumps_of_the_window(position: str, sampling: TokenSampling) -> None:
    model = small_model(position=position)
    cached = run(model, PROMPTS, sampling=sampling)
    assert cached == run(model, PROMPTS, sampling=sampling, use_cache=False)
    assert [len(tokens) for tokens in cached] == [30] * 5
    assert len(set(map(tuple, cached))) == 5


def test_tokens_equal_a_plain_loop_over_the_window() -> None:
    model = small_model().eval()
    text = list(PROMPTS[2])
    for _ in range(30):
        window = torch.tensor([text[window_start(len(text), CONTEXT) :]])
        text.append(int(model(window)[0, -1].argmax()))
    assert run(model, PROMPTS, sampling=PRESETS["greedy"])[2] == text[len(PROMPTS[2]) :]


def test_tokens_do_not_depend_on_the_company() -> None:
    model = small_model()
    together = run(model, PROMPTS)
    assert run(model, [*PROMPTS[:2], [3, 3], [4], [5] * 30])[:2] == together[:2]
    assert run(model, [[0], PROMPTS[1]])[1] == together[1]
    # A companion that stops early leaves the batch.
    stop = together[0][4]
    for i, tokens in enumerate(run(model, PROMPTS, stop=stop)):
        expected = together[i]
        assert tokens == (expected[: expected.index(stop)] if stop in expected else expected)


def test_seeds() -> None:
    model = small_model()
    same = run(model, [[1, 2]] * 4)
    assert len(set(map(tuple, same))) == 4
    assert run(model, [[1, 2]] * 4) == same
    assert run(model, [[1, 2]] * 4, seed=6) != same


def test_padded_ids_are_never_drawn() -> None:
    model = small_model()
    hot = TokenSampling(temperature=1000.0)
    assert max(max(tokens) for tokens in run(model, PROMPTS, new=100, sampling=hot)) == VOCABULARY - 1
    limited = run(model, PROMPTS, new=100, sampling=hot, valid_ids=20)
    assert max(max(tokens) for tokens in limited) == 19
    run(model, [[50]], sampling=WARM, valid_ids=20)  # a prompt may hold them, under a penalty too


def test_a_large_penalty_repeats_nothing() -> None:
    sampling = TokenSampling(temperature=0.0, repetition_penalty=1e9)
    tokens = run(small_model(), [[1, 2, 3]], new=50, sampling=sampling)[0]
    assert len({1, 2, 3, *tokens}) == 53


def test_an_empty_prompt_starts_from_the_stop_token() -> None:
    model = small_model()
    assert run(model, [[]], stop=7) == run(model, [[7]], stop=7)
    assert run(model, [[5]], new=0) == [[]]
    assert run(model, []) == []


def test_mode_and_gradients_are_left_alone() -> None:
    model = small_model(dropout=0.5).train()
    first = run(model, [[1, 2]])
    assert model.training
    assert run(model, [[1, 2]]) == first  # no dropout meanwhile
    model.eval()
    run(model, [[1, 2]])
    assert not model.training


@pytest.mark.parametrize(
    ("prompts", "settings", "message"),
    [
        ([[1], []], {}, "prompt 1 is empty, and there is no stop token"),
        ([[1], [VOCABULARY]], {}, r"prompt 1: ids 61\.\.61 are not all in 0\.\.60"),
        ([[-1]], {}, r"prompt 0: ids -1"),
        ([[1]], {"new": -1}, "max_new_tokens: -1 is below 0"),
        ([[1]], {"valid_ids": 62}, r"valid_ids: 62 is not in 1\.\.61"),
    ],
)
def test_bad_input_is_refused(prompts: list[list[int]], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(small_model(), prompts, **settings)


def byte_checkpoint(directory: Path, template: str = "") -> None:
    tokenizer = load_tokenizer("byte")
    facts = TokenizerFacts(name="byte", identity=tokenizer.identity, vocab_size=260, eot=tokenizer.eot)
    save_model(directory, small_model(vocab_size=320, context=32), facts, template)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    byte_checkpoint(tmp_path / "best")
    base = ["--ckpt", str(tmp_path / "best"), "--device", "cpu", "--prompt", "Grüße", "--max-new-tokens", "40"]
    main(base)
    cached, err = capsys.readouterr()
    assert cached.startswith("Grüße")
    assert "tokens/s" in err
    main([*base, "--no-cache"])
    assert capsys.readouterr().out == cached
    main([*base, "--num-samples", "2", "--preset", "greedy"])
    both = capsys.readouterr().out
    assert both.startswith("--- sample 1 of 2 ---\nGrüße")
    assert both.count("Grüße") == 2
    main([*base[:4], "--max-new-tokens", "5"])  # no prompt
    assert capsys.readouterr().out


def test_command_line_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"generate: .*nowhere.config\.json: no such file"):
        main(["--ckpt", str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit):
        main(["--ckpt", str(tmp_path), "--top-p", "2"])
    assert "top_p: 2.0 is not above 0" in capsys.readouterr().err


def answers_of(directory: Path, *prompts: str) -> list[str]:
    """What the model says to each prompt in the template, greedily."""
    tokenizer = load_tokenizer("byte")
    model, _ = load_model(directory)
    found = []
    for prompt in prompts:
        ids = [*prompt.encode(), tokenizer.sep]
        found += generate(model, [ids], max_new_tokens=9, sampling=PRESETS["greedy"], valid_ids=260, stop=tokenizer.eot)
    return [tokenizer.decode(ids) for ids in found]


def test_a_finetuned_checkpoint_answers_in_its_template(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finetuned, pretrained = tmp_path / "tuned", tmp_path / "best"
    byte_checkpoint(finetuned, TEMPLATE)
    byte_checkpoint(pretrained)
    options = ["--device", "cpu", "--max-new-tokens", "9", "--preset", "greedy"]
    base = ["--ckpt", str(finetuned), *options]
    answer, other, joined = answers_of(finetuned, "Say it.", "Hm?", "Say it.\n\nIt")
    assert len({answer, other, joined}) == 3

    def out(*arguments: str) -> str:
        main(list(arguments))
        return capsys.readouterr().out

    assert out(*base, "--prompt", "  Say it. ") == answer + "\n"  # the answer alone
    assert out(*base, "--prompt", "Say it.", "--input", "It") == joined + "\n"
    plain = out(*base, "--no-instruct", "--prompt", "Say it.")
    assert plain.startswith("Say it.") and plain != f"Say it.{answer}\n"
    (tmp_path / "prompts.txt").write_text("Say it.\n\nHm?\r\n", encoding="utf-8")
    assert out(*base, "--prompts", str(tmp_path / "prompts.txt")) == (
        f"--- prompt 1 of 2: Say it. ---\n{answer}\n--- prompt 2 of 2: Hm? ---\n{other}\n"
    )
    main(["--ckpt", str(pretrained), *options, "--instruct", "--prompt", "Say it."])
    found = capsys.readouterr()
    assert found.out == answer + "\n"
    assert "was not finetuned on any template; --instruct departs from that" in found.err


def test_prompts_of_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    byte_checkpoint(tmp_path / "tuned", TEMPLATE)
    monkeypatch.setattr("sys.stdin", io.StringIO("one\ntwo\n"))
    main(["--ckpt", str(tmp_path / "tuned"), "--device", "cpu", "--max-new-tokens", "3", "--prompts", "-"])
    assert capsys.readouterr().out.count("--- prompt ") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["best", "--prompt", "a", "--input", "b"], "--input: has a place in the template alone"),
        (["tuned"], "there is nothing to answer"),
        (["tuned", "--prompt", " "], "there is nothing to answer"),
        (["tuned", "--prompts", "empty.txt"], "--prompts empty.txt: no prompt in it"),
        (["tuned", "--prompts", "nowhere.txt"], "--prompts nowhere.txt: .*No such file"),
        (["other", "--prompt", "a"], "template 'alpaca' is not known"),
    ],
)
def test_prompts_that_cannot_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, template in (("best", ""), ("tuned", TEMPLATE), ("other", "alpaca")):
        byte_checkpoint(Path(name), template)
    Path("empty.txt").write_text("\n \n")
    with pytest.raises(SystemExit, match=message):
        main(["--ckpt", *arguments])


def test_options_override_the_preset() -> None:
    base = ["--ckpt", "x"]
    assert parse_arguments(base)[1] == PRESETS["nucleus"]
    options = ["--preset", "conservative", "--top-k", "0", "--temperature", "0.5"]
    assert parse_arguments([*base, *options])[1] == TokenSampling(temperature=0.5)
