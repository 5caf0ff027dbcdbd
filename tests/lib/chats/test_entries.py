import pytest

from stages.lib.chats.entries import default_value, other_value

ENTRY = "alpha (`int`, defaults to 8): The scale of the adapter."


def test_other_values_are_of_the_same_kind() -> None:
    assert other_value("True", "x") == "False"
    assert other_value("None", "x") is None
    for name in map(str, range(20)):
        year, share, small = other_value("1994", name), other_value("75", name, limit=100), other_value("0.05", name)
        assert year is not None and year != "1994" and abs(int(year) - 1994) <= 7
        assert share is not None and int(share) <= 100
        assert small is not None and float(small) != 0.05 and len(small) <= 5


@pytest.mark.parametrize(
    ("evidence", "value"),
    [
        (ENTRY, "8"),
        ("x (`float`, *optional*, default is 1e-4): The rate.", "1e-4"),
        ('x (`str`, defaults to `"bf16"`): The type.', "bf16"),
        ("Defaults to `None`, in which case all are wrapped.", "None"),
        ("x (`str`): The type.", ""),
        ("x (`int`): By default the rank of the layer, off by default.", ""),
        ("x (int, default=3): The rank.", "3"),
    ],
)
def test_defaults_are_read_off_entries(evidence: str, value: str) -> None:
    assert default_value(evidence) == value
