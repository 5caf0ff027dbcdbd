"""Drawing by hash: by purpose and name, whatever the order and number of names."""

from stages.lib.statistics.drawing import drawn, fraction_of

NAMES = [f"n{i}" for i in range(200)]


def test_fractions_are_spread_and_hang_on_purpose_and_name() -> None:
    fractions = [fraction_of("split", name) for name in NAMES]
    assert all(0 <= fraction < 1 for fraction in fractions)
    assert 0.4 < sum(fractions) / len(fractions) < 0.6
    assert len(set(fractions)) == len(fractions)
    assert all(fraction_of("share", name) != fraction for name, fraction in zip(NAMES, fractions, strict=True))


def test_an_order_is_anothers_for_another_purpose_and_stays_when_names_come_and_go() -> None:
    order = drawn("share", NAMES)
    assert sorted(order) == sorted(NAMES)
    assert order == drawn("share", reversed(NAMES))
    assert order != drawn("ask", NAMES)
    fewer = drawn("share", NAMES[:50])
    assert fewer == [name for name in order if name in fewer]
