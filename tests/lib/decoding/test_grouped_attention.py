from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from stages.lib.decoding.grouped_attention import SharedPrefix, grouped_attention


@pytest.mark.parametrize(("heads", "groups", "length"), [(9, 3, 1), (4, 4, 1), (4, 1, 1), (4, 2, 5)])
def test_equals_sdpa_with_repeated_keys(heads: int, groups: int, length: int) -> None:
    torch.manual_seed(0)
    module: Any = SimpleNamespace(num_key_value_groups=heads // groups, is_causal=True)
    query = torch.randn(2, heads, length, 8)
    key, value = torch.randn(2, groups, 11, 8), torch.randn(2, groups, 11, 8)
    mask = torch.rand(2, 1, length, 11) > 0.3
    mask[..., 0] = True
    expected, _ = sdpa_attention_forward(module, query, key, value, mask, scaling=0.2)
    found, _ = grouped_attention(module, query, key, value, mask, scaling=0.2)
    assert found.shape == expected.shape == (2, length, heads, 8)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("heads", "groups", "length"), [(9, 3, 1), (4, 4, 3), (4, 1, 1), (4, 2, 5)])
def test_a_shared_prefix_is_as_good_as_a_copy_for_each_row(heads: int, groups: int, length: int) -> None:
    torch.manual_seed(0)
    module: Any = SimpleNamespace(num_key_value_groups=heads // groups, is_causal=True, layer_idx=1)
    query = torch.randn(3, heads, length, 8)
    prefix = torch.randn(1, groups, 6, 8), torch.randn(1, groups, 6, 8)
    key, value = torch.randn(3, groups, 11, 8), torch.randn(3, groups, 11, 8)
    mask = torch.rand(3, 1, length, 17) > 0.5
    mask[..., :6] = True
    mask[0, :, 0, 6:] = False  # a row that sees the prefix alone
    copied = [torch.cat([first.expand(3, -1, -1, -1), own], 2) for first, own in zip(prefix, (key, value), strict=True)]
    shared = SharedPrefix([(prefix[1], prefix[0]), prefix])
    for seen in (mask, None) if length == 1 else (mask,):
        expected, _ = sdpa_attention_forward(module, query, *copied, seen, scaling=0.2)
        found, _ = grouped_attention(module, query, key, value, seen, scaling=0.2, shared_prefix=shared)
        assert found.shape == expected.shape == (3, length, heads, 8)
        torch.testing.assert_close(found, expected)
    assert shared.reads
