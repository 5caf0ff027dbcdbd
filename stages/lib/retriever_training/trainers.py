"""sentence-transformers' trainers for an embedding model and a cross-encoder, over batches in a given order.

Embedding: MultipleNegativesRankingLoss, the other positives of a batch and one hard negative a question as negatives
(Henderson et al., arXiv:1705.00652). Cross-encoder: ListNet (Cao et al., ICML 2007) over the right text and its hard
negatives. Both go on after kill -9 from the last checkpoint (adapters/resuming.py).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.lib.adapters.resuming import train_on
from stages.lib.adapters.schedule import Schedule, trainer_settings
from stages.lib.adapters.step_bar import step_bar
from stages.lib.retriever_training.examples import Example

RIGHT = 10.0  # label of the right text beside 0: ListNet's softmax over labels is then all but one at it


def train_embedding(
    base: Path, examples: Sequence[Example], *, size: int, max_length: int, schedule: Schedule, directory: Path
) -> None:
    """Trains on batches of `size` examples in order, to the end; the last step is a checkpoint.

    Args:
        base: the directory of an embedding model.
        examples: `size` times the steps of them.
        size: questions a step.
        max_length: tokens of a text that are read.
        schedule: how the optimizer steps.
        directory: where the checkpoints lie.
    """
    import torch
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.sentence_transformer.training_args import SentenceTransformerTrainingArguments

    torch.manual_seed(schedule.seed)
    model = SentenceTransformer(str(base), device=_device(), local_files_only=True)
    model.max_seq_length = max_length
    data = Dataset.from_dict(
        {
            "anchor": [example.question for example in examples],
            "positive": [example.positive for example in examples],
            "negative": [example.negatives[0] for example in examples],
        }
    )
    _run(
        SentenceTransformerTrainer(
            model=model,
            args=SentenceTransformerTrainingArguments(**_settings(schedule, len(examples), size, directory)),
            train_dataset=data,
            loss=MultipleNegativesRankingLoss(model),
            callbacks=[step_bar()],
        ),
        directory,
    )


def train_cross_encoder(
    base: Path, examples: Sequence[Example], *, size: int, max_length: int, schedule: Schedule, directory: Path
) -> None:
    """The same for a cross-encoder that starts from the encoder's weights, with a new head; a pair has `max_length`.

    The embeddings of words stay as they are: a short training meets few words, and would move these alone.
    """
    import torch
    from datasets import Dataset
    from sentence_transformers import CrossEncoder
    from sentence_transformers.cross_encoder import CrossEncoderTrainer
    from sentence_transformers.cross_encoder.losses import ListNetLoss
    from sentence_transformers.cross_encoder.training_args import CrossEncoderTrainingArguments

    torch.manual_seed(schedule.seed)  # of the head
    model = CrossEncoder(str(base), num_labels=1, max_length=max_length, device=_device(), local_files_only=True)
    for name, weight in model.named_parameters():
        weight.requires_grad_(".embeddings." not in name)
    data = Dataset.from_dict(
        {
            "query": [example.question for example in examples],
            "docs": [[example.positive, *example.negatives] for example in examples],
            "labels": [[RIGHT] + [0.0] * len(example.negatives) for example in examples],
        }
    )
    settings = _settings(schedule, len(examples), size, directory)
    _run(
        CrossEncoderTrainer(
            model=model,
            args=CrossEncoderTrainingArguments(
                **settings, learning_rate_mapping={r"classifier|pooler": HEAD_LR * schedule.lr}
            ),
            train_dataset=data,
            loss=ListNetLoss(model),
            callbacks=[step_bar()],
        ),
        directory,
    )


HEAD_LR = 5.0  # times lr: the classifier starts from random numbers, the pooler was never used


def _settings(schedule: Schedule, examples: int, size: int, directory: Path) -> dict[str, Any]:
    import torch

    use_cpu = not torch.cuda.is_available()
    return {
        **trainer_settings(schedule, examples // size, directory, use_cpu=use_cpu),
        "per_device_train_batch_size": size,
        "batch_sampler": _in_order,
        "fp16": False,
    }


def _in_order(dataset: Any, batch_size: int, drop_last: bool, **_: Any) -> Any:
    """Batches as the examples stand: who made them kept what is alike apart."""
    from sentence_transformers.base.sampler import DefaultBatchSampler
    from torch.utils.data import SequentialSampler

    return DefaultBatchSampler(SequentialSampler(dataset), batch_size=batch_size, drop_last=drop_last)


def _run(trainer: Any, directory: Path) -> None:
    import transformers

    trainer.remove_callback(transformers.PrinterCallback)
    train_on(trainer, directory)


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
