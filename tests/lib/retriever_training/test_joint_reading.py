from pathlib import Path

import numpy as np
import pytest
import torch

from stages.lib.retriever_training import joint_reading
from tests.lib.retriever_training.tiny_base import write_tiny_base

TEXTS = ["a red fox", "a blue whale", "green"]
PAIRS = [("who is red?", "a red fox"), ("who?", "a blue whale swims far away."), ("green", "green")]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_base(tmp_path_factory.mktemp("tiny"))


def scores(model: object, pairs: list[tuple[str, str]]) -> np.ndarray:
    found: np.ndarray = model.predict(pairs, show_progress_bar=False)  # type: ignore[attr-defined]
    return found


def test_a_score_is_the_weighted_mean_of_the_best_cosines(base: Path) -> None:
    model = joint_reading.begin(base, TEXTS, 64, "cpu")
    reader, interaction = model[0], model[1]
    tokenizer = reader.tokenizer
    for question, text in PAIRS:
        pair = tokenizer(question, text, return_tensors="pt")
        with torch.inference_mode():
            states = reader.model(**pair).last_hidden_state[0].numpy()
        states /= np.linalg.norm(states, axis=1, keepdims=True)
        asked = len(tokenizer(question)["input_ids"]) - 2
        cosines = states[1 : asked + 1] @ states[asked + 2 : -1].T
        weights = interaction.weights[pair["input_ids"][0, 1 : asked + 1]].numpy()
        expected = joint_reading.SCALE * (cosines.max(axis=1) @ weights) / weights.sum()
        assert scores(model, [(question, text)])[0] == pytest.approx(expected, abs=1e-4)


def test_a_score_does_not_depend_on_what_it_is_batched_with(base: Path) -> None:
    model = joint_reading.begin(base, TEXTS, 64, "cpu")
    alone = np.concatenate([scores(model, [pair]) for pair in PAIRS])
    assert scores(model, PAIRS) == pytest.approx(alone, abs=1e-4)


def test_rare_tokens_weigh_more_and_text_is_read_as_the_base_reads(base: Path) -> None:
    model = joint_reading.begin(base, TEXTS, 64, "cpu")
    weights, ids = model[1].weights, model[0].tokenizer.convert_tokens_to_ids
    assert weights[ids("x")] > weights[ids("r")] > weights[ids("a")] > 0  # x: in none, r: begins none, a: in two
    types = model[0].model.embeddings.token_type_embeddings.weight
    assert torch.equal(types[0], types[1])


def test_what_is_saved_scores_the_same(base: Path, tmp_path: Path) -> None:
    model = joint_reading.begin(base, TEXTS, 64, "cpu")
    model.save_pretrained(str(tmp_path / "saved"))
    again = joint_reading.load(tmp_path / "saved", 64, "cpu")
    assert scores(again, PAIRS) == pytest.approx(scores(model, PAIRS), abs=1e-5)
