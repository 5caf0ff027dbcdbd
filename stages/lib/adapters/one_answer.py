"""That a set does not teach one answer to everything."""

from collections.abc import Collection, Sequence


def check_classes(answers: Sequence[str], kinds: Collection[str], where: str) -> None:
    """That the data does not teach one answer to everything.

    Args:
        answers: of the training samples.
        kinds: of the training samples.
        where: names the data in the message.

    Raises:
        ValueError: all answers are the same, or all refuse, or all correct.
    """
    if len(answers) > 1 and len(set(answers)) == 1:
        raise ValueError(
            f"{where}: all {len(answers)} answers are {answers[0][:80]!r}: the model would learn to say that to "
            "everything; add records with other answers"
        )
    if len(kinds) and set(kinds) in ({"unanswerable"}, {"false_premise"}):
        raise ValueError(
            f"{where}: all {len(kinds)} samples are of the kind {next(iter(kinds))!r}: the model would learn to refuse "
            "or correct every question; add questions that are answered (instruct.unanswerable_share and "
            "instruct.false_premise_share bound the others)"
        )
