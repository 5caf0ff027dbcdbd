import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 (its name everywhere)
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from stages.lib.gpt.model import GPT, Activation, GPTConfig, KVCache, rope_table, rotate
from stages.lib.tokens.targets import IGNORED

SHAPE: dict[str, Any] = {"vocab_size": 50, "context": 16, "n_layer": 2, "n_head": 2, "d_model": 16}
VARIANTS: list[dict[str, Any]] = [
    {"position": "rope", "norm": "rmsnorm", "bias": False},
    {"position": "learned", "norm": "layernorm", "bias": True},
    {"position": "rope", "norm": "layernorm", "bias": False},
]


def small_model(scale: float = 1.0, **changes: Any) -> GPT:
    """Random weights; with a scale of 10, attention is far from uniform."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = GPT(GPTConfig(**(SHAPE | changes)))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(scale)
    return model.eval()


def some_ids(batch: int, length: int, seed: int = 3) -> torch.Tensor:
    return torch.randint(0, 50, (batch, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_layer": 0}, "n_layer: 0 is below 1"),
        ({"vocab_size": -1}, "vocab_size: -1 is below 1"),
        ({"n_head": 3}, "d_model: 16 is not a multiple of n_head, 3"),
        ({"n_head": 16}, "d_model / n_head: 1 is odd; rope turns pairs"),
        ({"dropout": 1.0}, r"dropout: 1\.0 is not in 0\.\.1"),
        ({"dropout": -0.1}, r"dropout: -0\.1"),
    ],
)
def test_bad_configs_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GPTConfig(**(SHAPE | changes))
    GPTConfig(**(SHAPE | {"n_head": 16, "position": "learned"}))  # no pairs are needed


@pytest.mark.parametrize("variant", VARIANTS)
def test_shapes_and_parameters(variant: dict[str, Any]) -> None:
    model = small_model(**variant)
    ids = some_ids(3, 7)
    assert model.hidden(ids).shape == (3, 7, 16)
    assert model(ids).shape == (3, 7, 50)
    assert model(ids, targets=ids).shape == ()
    width, norms = 16, 2 if variant["norm"] == "layernorm" and variant["bias"] else 1
    block = 12 * width**2 + (9 * width if variant["bias"] else 0) + 2 * norms * width
    places = SHAPE["context"] * width if variant["position"] == "learned" else 0
    assert model.n_params == 50 * width + places + 2 * block + norms * width


def test_gpt2_small_has_its_124m_parameters() -> None:
    with torch.device("meta"):
        shape = GPTConfig(
            vocab_size=50257, context=1024, n_layer=12, n_head=12, d_model=768,
            position="learned", norm="layernorm", bias=True,
        )  # fmt: skip
        assert GPT(shape).n_params == 124_439_808


def test_rotation_is_the_complex_product() -> None:
    config = GPTConfig(**(SHAPE | {"d_model": 24, "rope_theta": 100.0}))
    cos, sin = rope_table(config)  # (16, 12)
    x = torch.randn(3, 2, 16, 12)
    half = 6
    pairs = torch.view_as_complex(torch.stack((x[..., :half], x[..., half:]), dim=-1))
    angle = torch.arange(16.0)[:, None] * 100.0 ** (-torch.arange(6.0) / 6)
    turned = torch.view_as_real(pairs * torch.polar(torch.ones_like(angle), angle))
    assert torch.allclose(rotate(x, cos, sin), torch.cat(turned.unbind(-1), dim=-1), atol=1e-5)
    assert rotate(x.bfloat16(), cos, sin).dtype == torch.bfloat16


def test_rope_products_depend_on_the_distance_alone() -> None:
    cos, sin = rope_table(GPTConfig(**SHAPE))
    query, key = torch.randn(1, 1, 1, 8).expand(-1, -1, 16, -1), torch.randn(1, 1, 1, 8).expand(-1, -1, 16, -1)
    products = (rotate(query, cos, sin) @ rotate(key, cos, sin).transpose(-1, -2))[0, 0]
    for distance in range(16):
        diagonal = products.diagonal(-distance)
        assert torch.allclose(diagonal, diagonal[0].expand_as(diagonal), atol=1e-4)
    assert products[:, 0].std() > 0.01


@pytest.mark.parametrize("bias", [False, True])
def test_activations(bias: bool) -> None:
    """The MLP against its formula, written down; the approximations are near the exact GELU, and not it."""
    kinds: dict[Activation, Callable[[torch.Tensor], torch.Tensor]] = {
        "gelu": lambda z: z * 0.5 * (1 + torch.erf(z / math.sqrt(2))),
        "gelu_tanh": lambda z: z * 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))),
        "gelu_sigmoid": lambda z: z * torch.sigmoid(1.702 * z),
    }
    grid = torch.linspace(-5, 5, 101)
    for kind, formula in kinds.items():
        mlp = small_model(activation=kind, bias=bias).blocks[0].get_submodule("mlp")
        up, down = mlp.get_submodule("up"), mlp.get_submodule("down")
        states = torch.randn(7, 16)
        with torch.no_grad():
            for parameter in mlp.parameters():
                parameter.normal_()
            assert torch.allclose(mlp(states), down(formula(up(states))), atol=1e-4)
        distance = (formula(grid) - kinds["gelu"](grid)).abs().max()
        assert distance < 0.021
        assert (distance == 0) == (kind == "gelu")


def test_initialization() -> None:
    model = small_model(n_layer=8, d_model=128, vocab_size=500, bias=True, norm="layernorm", position="learned")
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            assert (parameter == (1.0 if name.endswith("weight") else 0.0)).all(), name
        else:
            residual = name.endswith(("attention.out.weight", "mlp.down.weight"))
            expected = 0.02 / math.sqrt(2 * 8) if residual else 0.02
            assert parameter.std().item() == pytest.approx(expected, rel=0.05), name
            assert abs(parameter.mean().item()) < expected * 5 / math.sqrt(parameter.numel()), name


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_initial_loss_is_that_of_guessing(variant: dict[str, Any]) -> None:
    model = small_model(vocab_size=1000, d_model=64, **variant)
    ids = some_ids(8, 17)
    assert model(ids[:, :-1], targets=ids[:, 1:]).item() == pytest.approx(math.log(1000), abs=0.1)


def test_ignored_targets_count_for_nothing() -> None:
    model, ids, targets = small_model(10), some_ids(2, 6), some_ids(2, 6, seed=4)
    partly = targets.clone()
    partly[0], partly[1, :4] = IGNORED, IGNORED
    expected = F.cross_entropy(model(ids)[1, 4:], targets[1, 4:])
    assert torch.allclose(model(ids, targets=partly), expected)


def test_tied_weights_are_one() -> None:
    tied, untied = small_model(), small_model(tied=False)
    assert untied.n_params - tied.n_params == 50 * 16
    assert [name for name in tied.state_dict() if "head" in name] == []
    ids = some_ids(1, 4)
    assert torch.equal(tied(ids), tied.hidden(ids) @ tied.embedding.weight.T)
    tied(ids, targets=ids).backward()
    assert tied.embedding.weight.grad is not None
    assert (tied.embedding.weight.grad.abs().sum(-1) > 0).all()  # rows that are no input learn from the output layer


@pytest.mark.parametrize("variant", VARIANTS)
def test_later_tokens_change_nothing_before_them(variant: dict[str, Any]) -> None:
    model, ids = small_model(10, **variant), some_ids(2, 16)
    before = model(ids)
    for place in (1, 9, 15):
        other = ids.clone()
        other[:, place] = (other[:, place] + 1) % 50
        after = model(other)
        assert torch.allclose(after[:, :place], before[:, :place], atol=1e-5)
        assert (after[:, place:] - before[:, place:]).abs().amax((0, 2)).min() > 1e-3


@pytest.mark.parametrize("position", ["rope", "learned"])
def test_the_order_of_tokens_matters(position: str) -> None:
    model, ids = small_model(10, position=position), some_ids(1, 8)
    other = ids[:, [1, 0, *range(2, 8)]]
    assert (model(ids)[:, -1] - model(other)[:, -1]).abs().max() > 1e-3


@pytest.mark.parametrize("variant", VARIANTS)
def test_padding_on_the_left_changes_nothing(variant: dict[str, Any]) -> None:
    model, ids = small_model(10, **variant), some_ids(3, 9)
    lengths = (9, 4, 1)
    padded = torch.full((3, 9), 7)
    for row, length in enumerate(lengths):
        padded[row, 9 - length :] = ids[row, :length]
    logits = model(padded, padding=torch.tensor([9 - length for length in lengths]))
    assert logits.isfinite().all()
    for row, length in enumerate(lengths):
        assert torch.allclose(logits[row, 9 - length :], model(ids[row : row + 1, :length])[0], atol=1e-4)
    # Padding is seen by nobody.
    padded[1, :5] = 8
    again = model(padded, padding=torch.tensor([0, 5, 8]))
    assert torch.allclose(again[1, 5:], logits[1, 5:], atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("pieces", [[16], [1] * 16, [5, 1, 1, 4, 5], [3, 13]])
@pytest.mark.parametrize("padding", [None, [0, 3, 2]])
def test_cached_logits_equal_uncached(variant: dict[str, Any], pieces: list[int], padding: list[int] | None) -> None:
    model, ids = small_model(10, **variant), some_ids(3, 16)
    absent = None if padding is None else torch.tensor(padding)
    expected = model(ids, padding=absent)
    cache = KVCache(model.config, 3, torch.device("cpu"), torch.float32)
    parts = [model(part, cache, absent) for part in torch.split(ids, pieces, dim=1)]
    assert cache.length == 16
    # What stands at a padding token is nobody's concern.
    real = torch.arange(16) >= (torch.tensor(padding or [0, 0, 0])[:, None])
    assert torch.allclose(torch.cat(parts, dim=1)[real], expected[real], atol=1e-4)


def test_too_many_tokens_are_refused() -> None:
    model = small_model()
    with pytest.raises(ValueError, match="17 tokens do not fit into the context of 16"):
        model(some_ids(1, 17))
    cache = KVCache(model.config, 1, torch.device("cpu"), torch.float32)
    model(some_ids(1, 10), cache)
    with pytest.raises(ValueError, match="17 tokens do not fit into the context of 16"):
        model(some_ids(1, 7), cache)


def test_dropout_is_for_training_alone() -> None:
    model, ids = small_model(10, dropout=0.3), some_ids(1, 5)
    assert torch.equal(model(ids), model(ids))
    model.train()
    assert not torch.equal(model(ids), model(ids))
    assert torch.equal(small_model(10)(ids), model.eval()(ids))


@pytest.mark.parametrize("changes", [{}, {"tied": False}, {"position": "learned"}, {"bias": True, "n_layer": 3}])
def test_matmul_flops_are_what_torch_counts(changes: dict[str, Any]) -> None:
    model = small_model(**changes)
    ids = some_ids(3, 16)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(ids, targets=ids).backward()
    assert counter.get_total_flops() == model.matmul_flops(ids.numel())
