import pytest

from stages.lib.english.facts import pick_facts
from stages.lib.qa.openings import Opening, openings

TOPIC = "peft's LoraConfig"


def first_opening(text: str, continued: bool = False) -> Opening | None:
    found = [opening for fact in pick_facts(text, limit=1) for opening in openings(fact, TOPIC, continued)]
    return found[0] if found else None


@pytest.mark.parametrize(
    ("text", "opening"),
    [
        (
            "If the callback returns False, the replacement will be rolled back.",
            "What happens if the callback returns False",
        ),
        (
            "The tracker must be registered before the `Accelerator` is made by the user.",
            "When must the tracker",
        ),
        ("Diffusers models are not supported because their denoisers differ.", "Why are Diffusers models"),
        ("The models are refused because their denoisers differ too much.", "Why are the models"),
        ("Monteclora introduces variational inference into LoRA.", "What does Monteclora introduce"),
        ("The other processes will enter after the main process exits.", "When will the other processes"),
        ("The default splitter is a recursive one with four separators.", "What is the default splitter"),
        (
            "A higher rank generally leads to better results but needs memory.",
            "What does a higher rank generally lead to",
        ),
        ("It leads to better results but needs much more memory than before.", None),
        ("Recursively pads the tensors of all processes to the same size.", f"What does {TOPIC} do"),
        ("Returns the batches that are left for the current process only.", f"What does {TOPIC} return"),
        ("To enable logging to ClearML, include `clearml` in the trackers.", "How do you enable logging to ClearML"),
        ("Several waveforms can be generated at once with `num_waveforms`.", "How can several waveforms be generated"),
        ("Apply rotary embeddings to the query states of the model.", f"What does {TOPIC} do"),
        ("The difference with the other hook is that the model stays.", None),
        ("Keeping the factors apart lets the optimizer precondition them.", None),
        ("A helper class to support local SGD on top of the accelerator.", f"What is {TOPIC}"),
        (
            "r (`int`, defaults to 8): Rank of the update matrices of each layer.",
            f"What is the default value of the parameter r of {TOPIC}",
        ),
        (
            "safe_merge (`bool`): If `True`, a copy of the weights is checked for NaNs.",
            f"What happens if the parameter safe_merge of {TOPIC} is True",
        ),
        (
            "dims (`float`): The fraction of the weights that is to be preserved.",
            f"Which parameter of {TOPIC} specifies the fraction",
        ),
        (
            "recurse (`bool`): Whether or not to remove all hooks of children recursively.",
            f"Which parameter of {TOPIC} decides whether to",
        ),
        (
            "low_mem (`bool`): Creates empty adapter weights on the meta device.",
            f"What do you specify with the parameter low_mem of {TOPIC}",
        ),
        (
            "fan_in (`bool`): Set this to True if the layer stores its weights transposed.",
            f"Which parameter of {TOPIC} should be set to True if the",
        ),
    ],
)
def test_what_is_asked_about_a_fact(text: str, opening: str | None) -> None:
    found = first_opening(text)
    assert (found.text if found else None) == opening


def test_prose_below_a_parameter_names_the_parameter() -> None:
    text = "eps (`float`): Epsilon.\n    If the rank is zero, the update is skipped by the optimizer."
    found = first_opening(text)
    assert found == Opening(f"For the parameter eps of {TOPIC}, what happens if the rank is zero", whole=True)


def test_a_later_piece_does_not_speak_for_the_topic() -> None:
    summary = "Splits the batches that are left for the current process only."
    assert first_opening(summary) == Opening(f"What does {TOPIC} do", whole=True, broad=True)
    assert first_opening(summary, continued=True) is None
    condition = "When passing a string, a regex match will be performed on it."
    assert first_opening(condition) is not None
    assert first_opening(condition, continued=True) is None
