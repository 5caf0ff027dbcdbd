"""log p(choice | prompt) with a transformers model: packed, without padding, few logits.

What all prompts begin with is computed once; what some of them share (a chunk before several
questions, a prompt before several choices) once in their pack (token_tree). The vocabulary is
projected to at the positions that predict a choice's token, nowhere else.

Shapes: P tokens that all prompts share, N nodes of a pack, R nodes read, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from stages.lib.decoding.roomy_cache import RoomyCache
from stages.lib.llm.protocol import Score
from stages.lib.llm.token_tree import TokenTree, plan_packs, shared_length

PACK_TOKENS = {"cpu": 512, "cuda": 4096}  # nodes computed together
DIGITS = 5  # of a log-probability, after the point: what stays equal between batchings

Tokens = Sequence[int]


@torch.inference_mode()
def score_tokens(
    model: Any, prompts: Sequence[Tokens], choices: Sequence[Sequence[Tokens]], missing: Sequence[int]
) -> Iterator[list[tuple[int, Score]]]:
    """Scores choices[i] after prompts[i] (all token ids, none empty) for i in missing, pack by pack.

    The packs are planned over all requests and hold the missing ones.
    """
    shared = min(shared_length(prompts), min(map(len, prompts)) - 1)  # the last token's logits are needed
    # A choice's last token is predicted, but predicts nothing: it is left out.
    groups = [
        [[*prompt[shared:], *choice[:-1]] for choice in options]
        for prompt, options in zip(prompts, choices, strict=True)
    ]
    wanted = set(missing)
    packs = plan_packs(groups, PACK_TOKENS[model.device.type])
    cache = RoomyCache(model.config.get_text_config().num_hidden_layers, shared + max(nodes for _, nodes in packs))
    if shared:
        prefix = torch.tensor([prompts[0][:shared]], device=model.device)  # (1, P)
        model(input_ids=prefix, past_key_values=cache, use_cache=True, logits_to_keep=1)
    for planned, _ in packs:
        members = [i for i in planned if i in wanted]
        if members:
            cache.keep_tokens(shared)
            scores = _score_pack(model, cache, shared, [groups[i] for i in members], [choices[i] for i in members])
            yield list(zip(members, scores, strict=True))


def _score_pack(
    model: Any,
    cache: RoomyCache,
    shared: int,
    groups: Sequence[Sequence[Tokens]],
    choices: Sequence[Sequence[Tokens]],
) -> list[Score]:
    """Scores the choices of one pack's requests in one forward pass."""
    tree = TokenTree()
    # (nodes that predict the choice's tokens, the choice's tokens), for each choice of each request
    reads = [
        [(tree.add(sequence)[-len(choice) :], choice) for sequence, choice in zip(group, options, strict=True)]
        for group, options in zip(groups, choices, strict=True)
    ]
    nodes = sorted({node for options in reads for path, _ in options for node in path})
    row = {node: r for r, node in enumerate(nodes)}
    device = model.device
    mask = torch.ones(1, 1, len(tree.tokens), shared + len(tree.tokens), dtype=torch.bool)  # (1, 1, N, P + N)
    mask[0, 0, :, shared:] = torch.from_numpy(tree.attention())
    logits = (
        model(
            input_ids=torch.tensor([tree.tokens], device=device),  # (1, N)
            position_ids=torch.tensor([tree.depths], device=device) + shared,
            attention_mask=mask.to(device),
            past_key_values=cache,
            use_cache=True,
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
