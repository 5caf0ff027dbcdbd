import pytest

from experiments.grid import grid


def test_a_grid_is_the_product_of_its_lists() -> None:
    found = grid(["pretrain.d_model=64,128", "chunk.chunk_chars=400", "pretrain.lr=2.0e-3,4.0e-3"])
    assert [experiment.name for experiment in found] == [
        "d_model=64_chunk_chars=400_lr=2.0e-3",
        "d_model=64_chunk_chars=400_lr=4.0e-3",
        "d_model=128_chunk_chars=400_lr=2.0e-3",
        "d_model=128_chunk_chars=400_lr=4.0e-3",
    ]
    assert found[1].overrides == ("pretrain.d_model=64", "chunk.chunk_chars=400", "pretrain.lr=4.0e-3")


def test_keys_that_end_alike_are_named_in_full() -> None:
    (found,) = grid(["pretrain.lr=1.0e-3", "finetune.lr=2.0e-3"])
    assert found.name == "pretrain.lr=1.0e-3_finetune.lr=2.0e-3"


def test_a_list_as_a_value_stays_whole_and_its_name_is_a_ref() -> None:
    first, second = grid(["benchmark.cutoffs=[1,5],[1,10]"])
    assert (first.overrides, second.overrides) == (("benchmark.cutoffs=[1,5]",), ("benchmark.cutoffs=[1,10]",))
    assert (first.name, second.name) == ("cutoffs=-1-5-", "cutoffs=-1-10-")
    assert grid(["a.source=hub:x/y..z"])[0].name == "source=hub-x-y-z"


@pytest.mark.parametrize("text", ["pretrain.lr", "=1", "pretrain.lr=", "pretrain.lr=1,,2"])
def test_what_is_no_list_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="expected KEY=VALUE"):
        grid([text])


def test_two_of_one_name_are_named() -> None:
    with pytest.raises(ValueError, match="twice in the grid: lr=1"):
        grid(["pretrain.lr=1,2,1"])
