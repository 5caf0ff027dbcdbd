import pytest
import torch

from stages.lib.embedding.pooling import POOLINGS

# Two texts of 3 and 2 tokens, hidden size 2; 99 stands where only padding is.
RIGHT = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 0.0]], [[7.0, 8.0], [9.0, 6.0], [99.0, 99.0]]])
RIGHT_MASK = torch.tensor([[1, 1, 1], [1, 1, 0]])
LEFT = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 0.0]], [[99.0, 99.0], [7.0, 8.0], [9.0, 6.0]]])
LEFT_MASK = torch.tensor([[1, 1, 1], [0, 1, 1]])


@pytest.mark.parametrize(("states", "mask"), [(RIGHT, RIGHT_MASK), (LEFT, LEFT_MASK)])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mean", [[3.0, 2.0], [8.0, 7.0]]),
        ("cls", [[1.0, 2.0], [7.0, 8.0]]),
        ("lasttoken", [[5.0, 0.0], [9.0, 6.0]]),
        ("max", [[5.0, 4.0], [9.0, 8.0]]),
    ],
)
def test_padding_on_either_side_is_not_seen(
    name: str, expected: list[list[float]], states: torch.Tensor, mask: torch.Tensor
) -> None:
    assert torch.equal(POOLINGS[name](states, mask), torch.tensor(expected))
