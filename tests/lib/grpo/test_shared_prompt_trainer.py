"""The trainer that computes a prompt once: the same numbers and gradients as with copies of it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from stages.grpo import Params
from stages.lib.adapters.lora import lora_config
from stages.lib.grpo.rewards import ReasoningSample
from stages.lib.grpo.settings import training_set, trl_config, trl_reward
from stages.lib.grpo.shared_prompt_trainer import SharedPromptTrainer, scored_tokens
from tests.params_of import params_of

# Two groups of two replies: prompts of 5 and 3 tokens, padded on the left; replies of 4, 2, 3 and 1 tokens.
IDS = torch.tensor(
    [
        [1, 1, 5, 6, 7, 8, 9, 20, 21, 22, 23, 1],
        [1, 1, 5, 6, 7, 8, 9, 24, 25, 1, 1, 1],
        [1, 1, 1, 1, 10, 11, 12, 26, 27, 28, 1, 1],
        [1, 1, 1, 1, 10, 11, 12, 29, 1, 1, 1, 1],
    ]
)
MASK = (IDS != 1).long()
LENGTH = 5  # reply columns; the last is padding in every row


def params(**changes: Any) -> Params:
    settings: dict[str, Any] = {
        "base": "tiny",
        "steps": 2,
        "prompts_per_step": 1,
        "num_generations": 4,
        "micro_batch": 4,
        "max_new_tokens": 6,
        "lr": 1.0e-3,
        "temperature": 1.0,
        "backend": "hf",
        "dtype": "auto",
        "gradient_checkpointing": "none",
        "r": 16,
        "lora_alpha": 32,
        "max_prompt_length": 512,
        "beta": 0.0,
        "checkpoint_every": 10,
        "reward_weights": {"length": 1.0},
    }
    return params_of(Params, "grpo", **(settings | changes))


def make_trainer(directory: Path, place: Path, **changes: Any) -> SharedPromptTrainer:
    knobs = params(**changes)
    samples = [ReasoningSample(id=str(i), question="q", context="c", reasoning="r", answer="a") for i in range(4)]
    prompts = [[{"role": "user", "content": f"one two three {i}"}] for i in range(4)]
    reward = trl_reward("length", lambda samples, replies: [float(len(reply)) for reply in replies])
    trainer = SharedPromptTrainer(
        model=AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32),
        reward_funcs=[reward],
        args=trl_config(knobs.settings(), knobs.schedule(), place, use_cpu=True, save_strategy="no"),
        train_dataset=training_set(prompts, samples),
        processing_class=AutoTokenizer.from_pretrained(directory),
        peft_config=lora_config(knobs.lora()),
    )
    torch.manual_seed(2)
    for name, parameter in trainer.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return trainer


def test_shared_prompts_give_the_same_numbers_and_gradients(tiny_directory: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    trainer = make_trainer(tiny_directory, tmp_path, temperature=0.7)
    found = {}
    for name, one_pass in (("shared", trainer._shared_pass), ("whole", trainer._whole_pass)):
        trainer.model.zero_grad()
        log_probs, entropies = one_pass(trainer.model, IDS, MASK, LENGTH)
        scored = MASK[:, -LENGTH:] == 1
        assert (log_probs[~scored] == 0).all()
        log_probs[scored].exp().sum().backward()  # type: ignore[no-untyped-call]
        gradients = {n: p.grad.clone() for n, p in trainer.model.named_parameters() if p.grad is not None}
        found[name] = (log_probs.detach(), entropies, gradients)
    for one, other in zip(found["shared"][:2], found["whole"][:2], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert found["shared"][2].keys() == found["whole"][2].keys() != set()
    for name, gradient in found["whole"][2].items():
        torch.testing.assert_close(found["shared"][2][name], gradient, rtol=1e-3, atol=1e-5)
    assert max(float(gradient.abs().max()) for gradient in found["whole"][2].values()) > 1e-3


def test_a_padding_token_in_a_prompt_is_no_padding(tiny_directory: Path, tmp_path: Path) -> None:
    """Two prompts of the same columns, of which one begins with the token that fills up the other."""
    torch.set_num_threads(1)
    trainer = make_trainer(tiny_directory, tmp_path)
    ids = torch.tensor([[1, 5, 6, 7, 20, 21], [1, 5, 6, 7, 20, 21]])
    mask = torch.tensor([[0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    with torch.no_grad():
        shared, whole = (
            one_pass(trainer.model, ids, mask, 2) for one_pass in (trainer._shared_pass, trainer._whole_pass)
        )
    torch.testing.assert_close(shared, whole, rtol=1e-4, atol=1e-5)
    assert (whole[0][0] - whole[0][1]).abs().max() > 1e-3


def test_each_step_draws_other_replies_and_always_the_same(tiny_directory: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    trainer = make_trainer(tiny_directory, tmp_path)
    drawn = []
    for step in (0, 1, 0):
        trainer.state.global_step = step
        drawn.append(trainer._generate_single_turn([[5, 6, 7]] * 4, None, {}, 4)[0])
    assert drawn[0] == drawn[2] != drawn[1]


@pytest.mark.parametrize("changes", [{}, {"beta": 0.1}, {"gradient_checkpointing": "full"}, {"num_iterations": 2}])
def test_it_trains_and_logs(tiny_directory: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    trainer = make_trainer(tiny_directory, tmp_path, **changes)
    before = {n: p.detach().clone() for n, p in trainer.model.named_parameters()}
    trainer.train()
    moved = {n for n, p in trainer.model.named_parameters() if not torch.equal(p, before[n])}
    assert moved
    assert all("lora" in name for name in moved)
    rows = [row for row in trainer.state.log_history if "entropy" in row]
    assert len(rows) == 2
    assert all(("kl" in row) == ("beta" in changes) and row["entropy"] > 0 for row in rows)
    drawn = [row["completions/mean_length"] for row in rows if "reward" in row]
    assert len(drawn) == 2 // changes.get("num_iterations", 1)
    assert all(0 < length <= 6 for length in drawn)


def test_scored_tokens_are_log_softmax() -> None:
    logits = torch.randn(2, 3, 5)
    tokens = torch.tensor([[0, 1, 2], [3, 4, 0]])
    scored = torch.tensor([[True, True, False], [True, False, False]])
    log_probs, entropy = scored_tokens(logits, tokens, scored, temperature=2.0)
    distribution: Any = torch.distributions.Categorical(logits=logits / 2)
    torch.testing.assert_close(log_probs, distribution.log_prob(tokens) * scored)
    torch.testing.assert_close(entropy, distribution.entropy() * scored)
