from types import SimpleNamespace

import pytest

from stages.lib.adapters import step_bar


class Counted:
    def __init__(self) -> None:
        self.n, self.closed = 0.0, False

    def update(self, n: float) -> None:
        self.n += n

    def close(self) -> None:
        self.closed = True


def test_a_step_is_as_much_as_its_micro_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    counted, asked = Counted(), []

    def detail(what: str, total: int, unit: str, initial: int, unit_scale: bool) -> Counted:
        asked.append((what, total, initial))
        return counted

    monkeypatch.setattr(step_bar, "detail", detail)
    bar = step_bar.step_bar()
    args, state = SimpleNamespace(gradient_accumulation_steps=4), SimpleNamespace(max_steps=24, global_step=3)
    bar.on_train_begin(args, state, None)
    assert asked == [("step", 24, 3)]  # goes on from step 3
    for _ in range(3):
        bar.on_substep_end(args, state, None)
    assert counted.n == 0.75
    bar.on_step_end(args, state, None)
    assert counted.n == 1.0 and not counted.closed
    bar.on_train_end(args, state, None)
    assert counted.closed
