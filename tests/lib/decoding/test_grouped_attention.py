from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from stages.lib.decoding.grouped_attention import grouped_attention


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
