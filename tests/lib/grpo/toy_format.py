"""A toy task with an exact reward: a random model of 32 words learns to write `reasoning ##### answer`."""

import time
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from stages.grpo import Params
from stages.lib.grpo.rewards import Name, ReasoningSample, Reward, format_reward
from stages.lib.grpo.run import Task, train
from stages.lib.replying.conversation_replies import samplings, write_replies
from stages.lib.weights.models import ModelEntry
from tests.params_of import params_of

WORDS = ["<end>", "#####", *(f"w{i}" for i in range(30))]
PARAMS = params_of(
    Params,
    "grpo",
    base="toy",
    steps=250,
    prompts_per_step=8,  # with 4, a prompt may settle on a wrong answer: 82% to 99% by the seed; so 95% to 99%
    num_generations=16,
    micro_batch=128,
    max_new_tokens=5,
    lr=7.0e-3,
    r=16,
    lora_alpha=32,
    temperature=1.0,
    backend="hf",
    dtype="auto",
    gradient_checkpointing="none",
    max_prompt_length=512,
    beta=0.0,
    reward_weights={"format": 1.0},
    eval_batch_size=256,
    checkpoint_every=250,
)


def learn_format(place: Path) -> tuple[float, float, float]:
    """Shares of sampled replies in format before and after the training, and its seconds."""
    torch.set_num_threads(1)  # tensors this small lose by threads
    torch.manual_seed(0)
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="w0"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>", pad_token="<end>")
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        initializer_range=0.4,
        eos_token_id=0,
        pad_token_id=0,
        bos_token_id=None,
    )
    model = LlamaForCausalLM(config).eval()
    prompts = [[{"role": "user", "content": f"w{i} w{(7 * i) % 30}"}] for i in range(30)]
    samples = [ReasoningSample(id=str(i), question="", context="", reasoning="r", answer="a") for i in range(30)]
    tokens = [tokenizer.apply_chat_template(prompt, return_dict=True)["input_ids"] for prompt in prompts] * 20

    def in_format(model: LlamaForCausalLM) -> float:
        drawn = samplings(len(tokens), 5, 1.0, PARAMS.seed)
        found = dict(pair for batch in write_replies(model, tokenizer, tokens, drawn, batch_size=256) for pair in batch)
        replies = [found[i].text.strip() for i in range(len(tokens))]
        return sum(format_reward(samples[0], reply) for reply in replies) / len(replies)

    before = in_format(model)
    start = time.perf_counter()
    task = Task(
        base=ModelEntry(source="path:toy", backend="transformers"),  # it is loaded already
        dtype="float32",
        attention="sdpa",
        lora=PARAMS.lora(),
        settings=PARAMS.settings(),
        schedule=PARAMS.schedule(),
        prompts=prompts,
        samples=samples,
        reward_weights=PARAMS.reward_weights,
        processes=1,
        directory=place / "run",
    )
    rewards: dict[Name, Reward] = {
        "format": lambda samples, replies: [format_reward(s, r) for s, r in zip(samples, replies, strict=True)]
    }
    train(model, tokenizer, task, rewards, task.lora)  # which puts the adapter into the model
    return before, in_format(model), time.perf_counter() - start


if __name__ == "__main__":
    import tempfile

    print(learn_format(Path(tempfile.mkdtemp())))
