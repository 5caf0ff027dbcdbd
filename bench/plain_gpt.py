"""The peer of bench/pretrain.py: nanoGPT's model and training step on a CPU, written down in plain PyTorch.

What it does the way nanoGPT does (github.com/karpathy/nanoGPT, model.py and train.py with `--device=cpu
--compile=False`): GPT-2 blocks with learned positions, exact GELU, layer norms, tied weights, logits of every place,
batches drawn at random from a memory map, AdamW with decay on matrices (fused on CUDA alone), clipping at 1.0.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


class PlainBlock(nn.Module):
    """Attention and MLP with their norms, (B, T, C) -> (B, T, C)."""

    def __init__(self, width: int, heads: int, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, bias=bias), nn.LayerNorm(width, bias=bias)
        self.attention, self.projection = nn.Linear(width, 3 * width, bias=bias), nn.Linear(width, width, bias=bias)
        self.up, self.down = nn.Linear(width, 4 * width, bias=bias), nn.Linear(4 * width, width, bias=bias)
        self.gelu, self.drop = nn.GELU(), nn.Dropout(0.0)

    def forward(self, x: Tensor) -> Tensor:
        """One block."""
        batch, time, width = x.shape
        query, key, value = (
            part.view(batch, time, self.heads, width // self.heads).transpose(1, 2)
            for part in self.attention(self.norm1(x)).split(width, dim=2)
        )
        y = F.scaled_dot_product_attention(query, key, value, dropout_p=0.0, is_causal=True)
        x = x + self.drop(self.projection(y.transpose(1, 2).contiguous().view(batch, time, width)))
        x = x + self.drop(self.down(self.gelu(self.up(self.norm2(x)))))
        return x


class PlainGPT(nn.Module):
    """Token ids and targets to the loss."""

    def __init__(self, *, vocabulary: int, context: int, layers: int, heads: int, width: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(PlainBlock(width, heads, bias=False) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width, bias=False), nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        """(B, T) twice -> ()."""
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1)


class PlainTraining:
    """nanoGPT's loop, one step at a time."""

    def __init__(self, model: PlainGPT, data: Path, batch: int, context: int, autocast: bool) -> None:
        self.model, self.data, self.batch, self.context, self.autocast = model, data, batch, context, autocast
        self.run: Callable[[Tensor, Tensor], Tensor] = model  # or what torch.compile makes of it
        matrices = [parameter for parameter in model.parameters() if parameter.dim() >= 2]
        vectors = [parameter for parameter in model.parameters() if parameter.dim() < 2]
        groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95))
        self.next = self._draw()

    def _draw(self) -> tuple[Tensor, Tensor]:
        data = np.load(self.data, mmap_mode="r")
        places = torch.randint(len(data) - self.context, (self.batch,))
        ids = torch.stack([torch.from_numpy(data[i : i + self.context].astype(np.int64)) for i in places])
        targets = torch.stack([torch.from_numpy(data[i + 1 : i + 1 + self.context].astype(np.int64)) for i in places])
        return ids, targets

    def step(self) -> None:
        """Forward, backward, clip, update."""
        for group in self.optimizer.param_groups:
            group["lr"] = 1e-3
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.autocast):
            loss = self.run(*self.next)
        self.next = self._draw()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
