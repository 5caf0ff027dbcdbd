"""Where a trainer of transformers is: a bar over its steps that moves with every micro-batch."""

from typing import Any

from stages.lib.core.progress import Counter, detail


def step_bar() -> Any:
    """A callback that shows the steps; those of an interrupted run count as done."""
    from transformers import TrainerCallback

    class StepBar(TrainerCallback):  # type: ignore[misc]
        counter: Counter

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            """Shows the bar, from the step on that the training goes on from."""
            self.counter = detail("step", state.max_steps, "step", initial=state.global_step, unit_scale=True)

        def on_substep_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            """A micro-batch that does not end its step."""
            self.counter.update(1 / args.gradient_accumulation_steps)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            """The last micro-batch of a step."""
            self.counter.update(1 / args.gradient_accumulation_steps)

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            """Takes the bar away."""
            self.counter.close()

    return StepBar()
