"""BERT's encoder by PyTorch's own layers, for a CPU: a model directory's weights without an import of transformers.

That import takes 2.8 s of a core and 250 MB, in each process that embeds. Devlin et al., NAACL 2019; its layers are
those of Vaswani et al. (norms behind each block, GELU), which `torch.nn.TransformerEncoder` has with one product for
queries, keys and values. Equal to transformers' BertModel to the last bits (the tests say how far).

B rows per batch, T tokens, H the hidden size.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from stages.lib.core.records import read_json_object

WEIGHTS = "model.safetensors"
PARTS = {  # of a layer: torch's name -> transformers' name
    "self_attn.out_proj": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "linear1": "intermediate.dense",
    "linear2": "output.dense",
    "norm2": "output.LayerNorm",
}


def is_plain(directory: Path) -> bool:
    """Whether a model directory is of BERT as it was published, in one file under today's names."""
    config = read_json_object(directory / "config.json")
    plain = (
        config.get("model_type") == "bert"
        and config.get("hidden_act") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and not config.get("is_decoder")
    )
    if not plain or not (directory / WEIGHTS).is_file():
        return False
    with safe_open(directory / WEIGHTS, framework="pt") as file:
        names = set(file.keys())
    return {"embeddings.LayerNorm.weight", "encoder.layer.0.attention.self.query.weight"} <= names


def load(directory: Path, dtype: str) -> "Bert":
    """The encoder of a directory that `is_plain`.

    Raises:
        RuntimeError: a weight is missing or of another shape than the config tells.
    """
    config = read_json_object(directory / "config.json")
    stored = {name: value.to(getattr(torch, dtype)) for name, value in load_file(directory / WEIGHTS).items()}
    with torch.device("meta"):  # no memory and no random numbers before the weights are there
        network = Bert(config)
    network.load_state_dict(_renamed(stored, config["num_hidden_layers"]), assign=True)
    return network.eval()


def _renamed(stored: dict[str, torch.Tensor], layers: int) -> dict[str, torch.Tensor]:
    """The weights under the names of `Bert`."""
    renamed = {
        "words.weight": stored["embeddings.word_embeddings.weight"],
        "positions.weight": stored["embeddings.position_embeddings.weight"],
        "types.weight": stored["embeddings.token_type_embeddings.weight"],
    }
    for kind in ("weight", "bias"):
        renamed[f"norm.{kind}"] = stored[f"embeddings.LayerNorm.{kind}"]
        for layer in range(layers):
            source, target = f"encoder.layer.{layer}", f"encoder.layers.{layer}"
            products = [stored[f"{source}.attention.self.{name}.{kind}"] for name in ("query", "key", "value")]
            renamed[f"{target}.self_attn.in_proj_{kind}"] = torch.cat(products)
            for ours, theirs in PARTS.items():
                renamed[f"{target}.{ours}.{kind}"] = stored[f"{source}.{theirs}.{kind}"]
    return renamed


class Bert(nn.Module):
    """The encoder without its pooler, whose vector no pooling of ours uses."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width, eps = config["hidden_size"], config.get("layer_norm_eps", 1e-12)
        self.words = nn.Embedding(config["vocab_size"], width)
        self.positions = nn.Embedding(config["max_position_embeddings"], width)
        self.types = nn.Embedding(config["type_vocab_size"], width)
        self.norm = nn.LayerNorm(width, eps)
        layer = nn.TransformerEncoderLayer(
            width,
            config["num_attention_heads"],
            config["intermediate_size"],
            dropout=0.0,
            activation="gelu",
            layer_norm_eps=eps,
            batch_first=True,
        )
        self.encoder = nn.TransformerEncoder(layer, config["num_hidden_layers"], enable_nested_tensor=False)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, position_ids: torch.Tensor | None = None
    ) -> SimpleNamespace:
        """(B, T) ids, 1 for real tokens, and places (None: from 0 on) -> last_hidden_state (B, T, H).

        Several rows are masked whether or not there is padding, so that none depends on the others; one row has none.
        """
        padding = attention_mask == 0 if len(input_ids) > 1 else None
        assert padding is not None or bool(attention_mask.all()), "no padding beside a text alone"
        if position_ids is None:
            position_ids = torch.arange(input_ids.shape[1])
        embedded = self.norm(self.words(input_ids) + self.types.weight[0] + self.positions(position_ids))
        return SimpleNamespace(last_hidden_state=self.encoder(embedded, src_key_padding_mask=padding))
