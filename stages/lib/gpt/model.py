"""A GPT in one file: embeddings, pre-norm blocks of causal attention and an MLP, tied output weights.

Letters in shapes: B sequences, T tokens of this call, S tokens that attention sees (T and those in the cache),
C channels (`d_model`), H heads, D channels a head (C / H), V vocabulary.

Sources: GPT-2 (Radford et al. 2019), RoPE (Su et al. 2021, arXiv:2104.09864), RMSNorm (Zhang & Sennrich 2019,
arXiv:1910.07467), weight tying (Press & Wolf 2017, arXiv:1608.05859).
"""

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, assert_never

import torch
import torch.nn.functional as F  # noqa: N812 (its name everywhere)
from torch import Tensor, nn

from stages.lib.tokens.targets import IGNORED

SIGMOID_SCALE = 1.702  # of the GELU approximation x sigmoid(1.702 x)
PositionEncoding = Literal["rope", "learned"]
Norm = Literal["rmsnorm", "layernorm"]
Activation = Literal["gelu", "gelu_tanh", "gelu_sigmoid"]


@dataclass(frozen=True, kw_only=True)
class GPTConfig:
    """The shape of a GPT; `config.json` of a checkpoint."""

    vocab_size: int  # rows of the embedding, padding included
    context: int  # tokens per window at most
    n_layer: int
    n_head: int
    d_model: int
    position: PositionEncoding = "rope"
    rope_theta: float = 10_000.0
    norm: Norm = "rmsnorm"
    norm_eps: float = 1e-5
    activation: Activation = "gelu_sigmoid"  # erf, tanh (as GPT-2) or x * sigmoid(1.702 x): Hendrycks & Gimpel 2016
    bias: bool = False  # of linear layers and layer norms
    tied: bool = True  # the output layer is the embedding
    dropout: float = 0.0  # of embeddings, attention and both residual branches, 0..1

    def __post_init__(self) -> None:
        for name in ("vocab_size", "context", "n_layer", "n_head", "d_model"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is below 1")
        if self.d_model % self.n_head:
            raise ValueError(f"d_model: {self.d_model} is not a multiple of n_head, {self.n_head}")
        if self.position == "rope" and self.d_model // self.n_head % 2:
            raise ValueError(f"d_model / n_head: {self.d_model // self.n_head} is odd; rope turns pairs of channels")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout: {self.dropout} is not in 0..1")


class KVCache:
    """Keys and values of all layers for the tokens seen so far, (n_layer, B, H, context, D) each."""

    def __init__(self, config: GPTConfig, batch: int, device: torch.device, dtype: torch.dtype) -> None:
        shape = (config.n_layer, batch, config.n_head, config.context, config.d_model // config.n_head)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros(shape, device=device, dtype=dtype)
        self.length = 0  # tokens that are in it

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Puts in (B, H, T, D) new keys and values of a layer; returns all, (B, H, S, D)."""
        end = self.length + key.shape[2]
        self.keys[layer, :, :, self.length : end] = key
        self.values[layer, :, :, self.length : end] = value
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last dimension, (..., C) -> (..., C)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalizes."""
        with _no_autocast(x):
            return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), self.eps)


class LayerNorm(nn.LayerNorm):
    """(x - mean) / deviation * weight + bias over the last dimension, (..., C) -> (..., C)."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalizes."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        with _no_autocast(x):
            return F.layer_norm(x, self.normalized_shape, self.weight.to(x.dtype), bias, self.eps)


def _no_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """Under autocast a norm would turn states of bfloat16 into float32; its kernel sums in float32 either way."""
    return nullcontext() if x.dtype == torch.float32 else torch.autocast(x.device.type, enabled=False)


def make_norm(config: GPTConfig) -> nn.Module:
    """The normalization that the config names."""
    match config.norm:
        case "rmsnorm":
            return RMSNorm(config.d_model, config.norm_eps)
        case "layernorm":
            return LayerNorm(config.d_model, eps=config.norm_eps, bias=config.bias)
        case _:
            assert_never(config.norm)


def rope_table(config: GPTConfig) -> tuple[Tensor, Tensor]:
    """cos and sin of position x frequency, (context, D) each: e^(i m theta_j) of RoPE eq. 34, in two parts.

    As `rotate` takes them: of each half of the channels once, the sine of the first half negative.
    """
    half = config.d_model // config.n_head // 2
    frequency = config.rope_theta ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = torch.outer(torch.arange(config.context, dtype=torch.float64), frequency)
    cos, sin = angle.cos().float(), angle.sin().float()
    return torch.cat((cos, cos), dim=1), torch.cat((-sin, sin), dim=1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns channel j with channel j + D/2: the complex product (x_j + i x_{j+D/2})(cos + i sin).

    x (..., D); cos and sin of `rope_table`, broadcast over x. Written in real numbers, since torch.compile fuses these
    and leaves complex ones alone, and in whole heads, since a CPU's eager kernels are slow on half of one. Which
    channels form a pair is a convention: halves, as Hugging Face's Llama.
    """
    real, imaginary = x.chunk(2, dim=-1)
    return torch.addcmul(x * cos, torch.cat((imaginary, real), dim=-1), sin).to(x.dtype)


class Attention(nn.Module):
    """Causal self-attention with all heads in one matrix."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.n_head, self.dropout = layer, config.n_head, config.dropout
        self.qkv = nn.Linear(config.d_model, 3 * config.d_model, bias=config.bias)
        self.out = nn.Linear(config.d_model, config.d_model, bias=config.bias)

    def forward(
        self, x: Tensor, rope: tuple[Tensor, Tensor] | None, cache: KVCache | None, mask: Tensor | None
    ) -> Tensor:
        """(B, T, C) -> (B, T, C). `mask` (B, 1, T, S) is True where a token is seen; None: plain causal."""
        batch, time, width = x.shape
        qkv = self.qkv(x).view(batch, time, 3, self.n_head, -1)  # (B, T, 3, H, D)
        if rope is None:
            query, key, value = (one.transpose(1, 2) for one in qkv.unbind(2))  # (B, H, T, D) each
        else:
            turning, value = qkv.split((2, 1), dim=2)  # no views that overlap: their gradients would be added up
            query, key = (one.transpose(1, 2) for one in rotate(turning, *rope).unbind(2))
            value = value.squeeze(2).transpose(1, 2)
        if cache is not None:
            key, value = cache.extend(self.layer, key, value)
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=dropout, is_causal=mask is None
        )  # (B, H, T, D)
        mixed: Tensor = self.out(y.transpose(1, 2).reshape(batch, time, width))
        return mixed


class MLP(nn.Module):
    """C -> 4C -> C, with a GELU between."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.activation: Activation = config.activation
        self.up = nn.Linear(config.d_model, 4 * config.d_model, bias=config.bias)
        self.down = nn.Linear(4 * config.d_model, config.d_model, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        match self.activation:
            case "gelu_sigmoid":
                # z sigmoid(1.702 z) = silu(1.702 z) / 1.702: the factors go to the weights, fewer than the states are.
                bias = None if self.up.bias is None else SIGMOID_SCALE * self.up.bias
                states = F.silu(F.linear(x, SIGMOID_SCALE * self.up.weight, bias))  # (B, T, 4C)
                return F.linear(states, self.down.weight / SIGMOID_SCALE, self.down.bias)
            case "gelu_tanh":
                y: Tensor = self.down(F.gelu(self.up(x), approximate="tanh"))
            case "gelu":
                y = self.down(F.gelu(self.up(x)))
            case _:
                assert_never(self.activation)
        return y


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.norm1, self.attention = make_norm(config), Attention(config, layer)
        self.norm2, self.mlp = make_norm(config), MLP(config)
        self.drop = nn.Dropout(config.dropout)

    def forward(
        self, x: Tensor, rope: tuple[Tensor, Tensor] | None, cache: KVCache | None, mask: Tensor | None
    ) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        x = x + self.drop(self.attention(self.norm1(x), rope, cache, mask))
        x = x + self.drop(self.mlp(self.norm2(x)))
        return x


class GPT(nn.Module):
    """The model: token ids to logits."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.positions: nn.Embedding | None = None
        match config.position:
            case "learned":
                self.positions = nn.Embedding(config.context, config.d_model)
            case "rope":
                cos, sin = rope_table(config)
                self.register_buffer("cos", cos, persistent=False)
                self.register_buffer("sin", sin, persistent=False)
            case _:
                assert_never(config.position)
        self.drop = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layer))
        self.norm = make_norm(config)
        self.head = None if config.tied else nn.Linear(config.d_model, config.vocab_size, bias=False)
        self._initialize()

    @torch.no_grad()
    def _initialize(self) -> None:
        """N(0, 0.02); the two projections into the residual stream by 1/sqrt(2 n_layer) less (GPT-2, section 2.3)."""
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                residual = name.endswith(("attention.out.weight", "mlp.down.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * self.config.n_layer) if residual else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def hidden(self, ids: Tensor, cache: KVCache | None = None, padding: Tensor | None = None) -> Tensor:
        """Normalized states of the last layer, (B, T) -> (B, T, C); a cache is read and extended.

        `padding` (B,): how many of each sequence's first tokens are padding on the left, seen by nobody.

        Raises:
            ValueError: more tokens than `context`.
        """
        time = ids.shape[1]
        past = cache.length if cache is not None else 0
        if past + time > self.config.context:
            raise ValueError(f"{past + time} tokens do not fit into the context of {self.config.context}")
        mask = None
        place = torch.arange(past, past + time, device=ids.device)  # (T,)
        if padding is not None or (past and time > 1):
            seen = torch.arange(past + time, device=ids.device)  # (S,)
            mask = (seen <= place[:, None])[None, None]  # (1, 1, T, S)
            if padding is not None:
                # A padding token sees itself, since a softmax over nothing would be NaN.
                own = (seen == place[:, None])[None, None]
                mask = mask & (seen >= padding[:, None, None, None]) | own
                place = (place - padding[:, None]).clamp(min=0)  # (B, T)
        elif past:
            mask = torch.ones(1, 1, 1, past + 1, dtype=torch.bool, device=ids.device)  # one new token sees all
        x = self.embedding(ids)  # (B, T, C)
        rope = None
        if self.positions is not None:
            x = x + self.positions(place)
        else:
            rope = (self.cos[place][..., None, None, :], self.sin[place][..., None, None, :])  # ((B,) T, 1, 1, D)
        if torch.is_autocast_enabled(x.device.type):
            # The residual stream too is in bfloat16: half of what a step moves through memory beside its products.
            x = x.to(torch.get_autocast_dtype(x.device.type))
        x = self.drop(x)
        for block in self.blocks:
            x = block(x, rope, cache, mask)
        if cache is not None:
            cache.length += time
        normalized: Tensor = self.norm(x)
        return normalized

    def logits(self, hidden: Tensor) -> Tensor:
        """The output layer, (..., C) -> (..., V)."""
        return F.linear(hidden, self.embedding.weight if self.head is None else self.head.weight)

    def forward(
        self,
        ids: Tensor,
        cache: KVCache | None = None,
        padding: Tensor | None = None,
        targets: Tensor | None = None,
    ) -> Tensor:
        """Logits of the next token at every place, (B, T) -> (B, T, V); see `hidden`.

        With `targets` (B, T): the mean cross-entropy in nats over those that are not `IGNORED`, ().
        """
        logits = self.logits(self.hidden(ids, cache, padding))
        if targets is None:
            return logits
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED)

    @property
    def n_params(self) -> int:
        """Weights (with `tied`, the output layer has none of its own)."""
        return sum(parameter.numel() for parameter in self.parameters())

    def matmul_flops(self, tokens: int, width: int | None = None) -> float:
        """Floating-point operations of the matrix products of one training step over `tokens` tokens.

        Forward and backward: 6 a weight and token, and 12 n_layer C T for attention (PaLM, appendix B, full T x T).
        `width` is T, the tokens of a row; None: the whole context.
        """
        config = self.config
        matrices = sum(p.numel() for n, p in self.named_parameters() if p.dim() == 2 and "positions" not in n)
        if not config.tied:
            matrices -= self.embedding.weight.numel()  # looked up, not multiplied
        return (6.0 * matrices + 12.0 * config.n_layer * config.d_model * (width or config.context)) * tokens
