"""Form and content are measured apart."""

import numpy as np

from stages.lib.grpo.format_gain import gain_line, gains, measure_replies
from stages.lib.grpo.rewards import AnswerSimilarity, build_rewards
from tests.lib.grpo.test_rewards import SAMPLE, letters


def test_a_right_answer_without_the_separator_has_its_content() -> None:
    replies = ["in March 1988", "because ##### in March 1988", "because ##### in a ferry"]
    rewards = build_rewards({"format": 1.0, "overlap": 3.0}, letters, (2, 30))
    found = measure_replies([SAMPLE] * 3, replies, AnswerSimilarity(letters), rewards, {"format": 0.5, "overlap": 2.0})
    assert found["format"].tolist() == [0, 1, 1]
    assert found["answer_f1"].tolist()[:2] == [1, 1]
    assert found["answer_f1"][2] < 0.5
    assert found["answer_similarity"][0] == found["answer_similarity"][1] > found["answer_similarity"][2]
    assert found["reward"].tolist()[:2] == [0, 2.5]  # weighted as in training, where what is out of format gets nothing
    assert 0.5 <= found["reward"][2] < 2.5


def test_one_line_tells_it() -> None:
    line = gain_line({"format": {"base": 0.25, "tuned": 0.5, "gain": 0.25, "low": -0.1, "high": 0.6}})
    assert line == "format 0.250 -> 0.500 (+0.250, 95% -0.100 to +0.600)"


def test_gains_are_paired() -> None:
    base, tuned = np.arange(50, dtype=np.float64), np.arange(50, dtype=np.float64) + 1
    found = gains({"f": base}, {"f": tuned}, 200, 0)["f"]
    assert (found["gain"], found["low"], found["high"]) == (1, 1, 1)  # unpaired, the interval would be wide
    assert found["p"] < 0.01
