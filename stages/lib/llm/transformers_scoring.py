"""log p(choice | prompt) with a transformers model: packed, without padding, few logits.

What all prompts begin with is computed once; what some of them share (a chunk before several
questions, a prompt before several choices) once in their pack (token_tree). The vocabulary is
projected to at the positions that predict a choice's token, nowhere else.

On a CPU each pack is computed by one thread, as many at once as there are cores: scores have the same bits on any
number of cores.

Shapes: P tokens that all prompts share, N nodes of a pack, R nodes read, V vocabulary.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch

from stages.lib.decoding.roomy_cache import RoomyCache
from stages.lib.llm.protocol import Score
from stages.lib.llm.shared_prefix import compute_prefix, prefix_length
from stages.lib.llm.token_tree import TokenTree, plan_packs
from stages.lib.weights.single_threads import each_by_one_thread

PACK_TOKENS = {
    "cpu": 256,
    "cuda": 4096,
}  # nodes computed together; on a CPU 256 are as fast as 512 and leave no core idle
DIGITS = 5  # of a log-probability, after the point: what stays equal between batchings

Tokens = Sequence[int]


def plan_scores(
    prompts: Sequence[Tokens], choices: Sequence[Sequence[Tokens]], wanted: Collection[int], *, on_cpu: bool
) -> tuple[list[list[int]], int]:
    """Packs of requests (positions), planned over all and holding those that are wanted, and P."""
    shared = prefix_length(prompts)  # the last token's logits are needed
    groups = [_sequences(prompt, options, shared) for prompt, options in zip(prompts, choices, strict=True)]
    planned = [members for members, _ in plan_packs(groups, PACK_TOKENS["cpu" if on_cpu else "cuda"])]
    return [present for members in planned if (present := [i for i in members if i in wanted])], shared


def score_tokens(
    model: Any, prompts: Sequence[Tokens], choices: Sequence[Sequence[Tokens]], missing: Sequence[int]
) -> Iterator[list[tuple[int, Score]]]:
    """Scores choices[i] after prompts[i] (all token ids, none empty) for i in missing, pack by pack.

    The packs are planned over all requests and hold the missing ones.
    """
    packs, shared = plan_scores(prompts, choices, set(missing), on_cpu=model.device.type == "cpu")
    prefix = compute_prefix(model, prompts[0][:shared])
    yield from score_packs(model, prefix, prompts, choices, packs)


def score_packs(
    model: Any,
    prefix: RoomyCache | None,
    prompts: Sequence[Tokens],
    choices: Sequence[Sequence[Tokens]],
    packs: Sequence[list[int]],
) -> Iterator[list[tuple[int, Score]]]:
    """Scores the requests of each pack (positions) behind the P tokens of `prefix`, with which all prompts begin."""
    shared = prefix.get_seq_length() if prefix else 0

    @torch.inference_mode()
    def score(members: list[int]) -> list[tuple[int, Score]]:
        groups = [_sequences(prompts[i], choices[i], shared) for i in members]
        scores = _score_pack(model, prefix, groups, [choices[i] for i in members])
        return list(zip(members, scores, strict=True))

    yield from each_by_one_thread(score, packs) if model.device.type == "cpu" else map(score, packs)


def _sequences(prompt: Tokens, choices: Sequence[Tokens], shared: int) -> list[list[int]]:
    """What is read for each choice. Its last token is predicted, but predicts nothing: it is left out."""
    return [[*prompt[shared:], *choice[:-1]] for choice in choices]


def _score_pack(
    model: Any,
    prefix: RoomyCache | None,
    groups: Sequence[Sequence[Tokens]],
    choices: Sequence[Sequence[Tokens]],
) -> list[Score]:
    """Scores the choices of one pack's requests, behind the P tokens of `prefix`, in one forward pass."""
    tree = TokenTree()
    # (nodes that predict the choice's tokens, the choice's tokens), for each choice of each request
    reads = [
        [(tree.add(sequence)[-len(choice) :], choice) for sequence, choice in zip(group, options, strict=True)]
        for group, options in zip(groups, choices, strict=True)
    ]
    nodes = sorted({node for options in reads for path, _ in options for node in path})
    row = {node: r for r, node in enumerate(nodes)}
    device = model.device
    cache, shared = None, prefix.get_seq_length() if prefix else 0
    if prefix:
        cache = RoomyCache.beginning_with(prefix, len(prefix.layers), shared + len(tree.tokens))
        cache.copy_prefix(1)
    mask = torch.ones(1, 1, len(tree.tokens), shared + len(tree.tokens), dtype=torch.bool)  # (1, 1, N, P + N)
    mask[0, 0, :, shared:] = torch.from_numpy(tree.attention())
    logits = (
        model(
            input_ids=torch.tensor([tree.tokens], device=device),  # (1, N)
            position_ids=torch.tensor([tree.depths], device=device) + shared,
            attention_mask=mask.to(device),
            past_key_values=cache,
            use_cache=cache is not None,
            logits_to_keep=torch.tensor(nodes, device=device),
        )
        .logits[0]
        .float()
    )  # (R, V)
    total = logits.logsumexp(-1)  # (R,)

    def logprob(path: Sequence[int], choice: Tokens) -> float:
        rows = torch.tensor([row[node] for node in path], device=device)
        tokens = torch.tensor(choice, device=device)
        return round(float((logits[rows, tokens] - total[rows]).double().sum()), DIGITS)

    return [
        Score(logprobs=tuple(logprob(*read) for read in options), tokens=tuple(len(choice) for _, choice in options))
        for options in reads
    ]
