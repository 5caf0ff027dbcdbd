"""A cross-encoder that needs no head learned from nothing: question and text are read as one, token looks for token.

An encoder reads `[CLS] question [SEP] text [SEP]`. The score is that of late interaction over the states of this joint
reading (reranking/late_interaction.py): each token of the question counts with its weight times the greatest cosine
that it finds among the text's tokens. So an embedding model's weights rank well before the first step, and a short
training is enough. Weights of tokens are their IDF among the texts of the training.

B pairs, T tokens of a pair, H dimensions of a state, V tokens of the vocabulary.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.base.modules import Module, Transformer

from stages.lib.reranking.late_interaction import inverse_document_frequency

SCALE = 20.0  # of the mean cosine: a temperature of 0.05


class Interaction(Module):  # type: ignore[misc]  # its base has no types
    """States of a joint reading -> a score a pair."""

    def __init__(self, weights: torch.Tensor) -> None:
        """`weights`: (V,) of a question's tokens."""
        super().__init__()
        self.register_buffer("weights", weights)

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Puts `scores` (B, 1) beside the features of the pairs."""
        ids, types = features["input_ids"], features["token_type_ids"]  # (B, T), types 0: question, 1: text
        states = torch.nn.functional.normalize(features["token_embeddings"], dim=-1)  # (B, T, H)
        edges = (ids == ids[0, 0]) | (ids == _separator(ids, types))
        asked = (types == 0) & ~edges & (features["attention_mask"] == 1)
        told = (types == 1) & ~edges & (features["attention_mask"] == 1)
        cosines = (states @ states.transpose(1, 2)).masked_fill(~told[:, None, :], -1.0)  # (B, T, T)
        weights = self.weights[ids] * asked  # (B, T)
        score = (cosines.amax(dim=2) * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-6)
        return {**features, "scores": SCALE * score[:, None]}

    def save(self, output_path: str, *_: Any, safe_serialization: bool = True, **__: Any) -> None:
        """Writes the weights of the tokens."""
        self.save_torch_weights(output_path, safe_serialization=safe_serialization)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **named: Any) -> "Interaction":
        """Reads what `save` wrote."""
        from safetensors.torch import load_file

        return cls(load_file(Path(model_name_or_path) / subfolder / "model.safetensors")["weights"])


def _separator(ids: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
    """The token that ends the question: the last of type 0 in the first pair, before the padding."""
    return ids[0, int((types[0] == 1).int().argmax()) - 1]


def begin(base: Path, texts: Sequence[str], max_length: int, device: str) -> CrossEncoder:
    """The cross-encoder before its training, from the directory of an embedding model; `texts` decide the IDF."""
    reader = Transformer(
        str(base),
        model_kwargs={"local_files_only": True},
        config_kwargs={"num_labels": 1, "local_files_only": True},
        max_seq_length=max_length,
    )
    types = reader.model.embeddings.token_type_embeddings.weight
    with torch.no_grad():  # an embedding model has read texts as type 0 alone
        types[1:] = types[:1]
    counted, unseen = inverse_document_frequency(
        [reader.tokenizer(text, verbose=False)["input_ids"] for text in dict.fromkeys(texts)]
    )
    weights = torch.full((reader.model.config.vocab_size,), unseen)
    for token, weight in counted.items():
        weights[token] = weight
    return _model([reader, Interaction(weights)], device)


def load(directory: Path, max_length: int, device: str) -> CrossEncoder:
    """A cross-encoder that was trained; it reads `max_length` tokens of a pair, or as many as it has places for."""
    reader = Transformer(str(directory), model_kwargs={"local_files_only": True})
    reader.max_seq_length = min(max_length, reader.model.config.max_position_embeddings)
    return _model([reader, Interaction.load(str(directory), "1_Interaction")], device)


def _model(modules: list[Any], device: str) -> CrossEncoder:
    return CrossEncoder(modules=modules, device=device, activation_fn=torch.nn.Identity())
