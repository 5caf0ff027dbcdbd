"""The reward audit: sound rewards pass, hackable ones fail with an explanation."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from stages.lib.grpo.reward_audit import adversarial_replies, audit_rewards, check_audit
from stages.lib.grpo.rewards import Name, ReasoningSample, Reward, build_rewards
from tests.lib.grpo.test_rewards import letters

WEIGHTS: dict[Name, float] = {"format": 1.0, "overlap": 1.0, "similarity": 0.5, "grounded": 0.5, "length": 0.25}
TEXT = (
    "The {name} bridge opened in {year}. It carries two lanes of traffic over the river. Engineers of {name} "
    "closed the bridge for repairs in {month}. A ferry replaced it for eleven months. "
    "The old toll house became a museum of glass."
)
SAMPLES = [
    ReasoningSample(
        id=name,
        question=f"When was the {name} bridge closed?",
        context=TEXT.format(name=name, year=year, month=month),
        reasoning=f"Engineers of {name} closed the bridge for repairs in {month}.",
        answer=f"in {month}",
    )
    for name, year, month in (("Alder", 1932, "March 1988"), ("Brook", 1907, "June 1990"), ("Cedar", 1951, "May 2001"))
]
REPLIES = [SAMPLES[0].reference, "it closed in June 1990", "the lanes ##### two lanes"]


def audited(change: dict[Name, Reward] | None = None, replies: Sequence[str] = REPLIES) -> dict[str, object]:
    rewards = build_rewards(WEIGHTS, letters, (4, 30)) | (change or {})
    return audit_rewards(rewards, WEIGHTS, SAMPLES, replies, references=SAMPLES, tolerance=0.1)


def each(function: Callable[[ReasoningSample, str], float]) -> Reward:
    return lambda samples, replies: [function(s, r) for s, r in zip(samples, replies, strict=True)]


def test_sound_rewards_pass_and_are_described() -> None:
    audit = audited()
    assert audit["failures"] == []
    check_audit(audit, 0.1)
    base = audit["base"]
    assert isinstance(base, dict)
    assert base["format"] == {
        "mean": pytest.approx(2 / 3),
        "variance": pytest.approx(2 / 9),
        # F1 1, 0.57 and 0 against format 1, 0 and 1
        "rank_correlation_with_f1": pytest.approx(0, abs=1e-9),
    }
    assert base["overlap"]["rank_correlation_with_f1"] == pytest.approx(0.866, abs=1e-3)
    assert set(adversarial_replies(SAMPLES[0])) == set(audit["adversarial"])  # type: ignore[call-overload]


def test_a_constant_reward_has_no_rank_correlation() -> None:
    base = audited(replies=["no format"] * 3)["base"]
    assert isinstance(base, dict)
    assert base["format"] == {"mean": 0, "variance": 0, "rank_correlation_with_f1": None}


@pytest.mark.parametrize(
    ("name", "reward", "kind"),
    [
        # The share of the context that is said: copying all of it is best.
        (
            "grounded",
            lambda s, r: len(set(r.split()) & set(s.context.split())) / len(set(s.context.split())),
            "context",
        ),
        ("overlap", lambda s, r: float(len(r) == 0), "empty"),
        ("similarity", lambda s, r: float(s.question in r), "question"),
        ("grounded", lambda s, r: r.count("#####") / 5, "separator_only"),
    ],
)
def test_a_reward_that_a_worthless_reply_tops_fails(
    name: Name, reward: Callable[[ReasoningSample, str], float], kind: str
) -> None:
    audit = audited({name: each(reward)})
    with pytest.raises(ValueError, match=rf"reward audit failed(.|\n)*reward '{name}' is topped by '{kind}") as error:
        check_audit(audit, 0.1)
    assert "grpo.reward_weights" in str(error.value)


def test_a_total_can_be_topped_where_no_content_reward_is() -> None:
    weights = WEIGHTS | {"length": 9.0}
    rewards = build_rewards(weights, letters, (25, 40))  # the honest reference is shorter
    audit = audit_rewards(rewards, weights, SAMPLES, REPLIES, references=SAMPLES, tolerance=0.1)
    assert audit["failures"]
    assert all("'total'" in failure for failure in audit["failures"])


def test_one_sample_in_ten_may_be_noise() -> None:
    # The question's words in one answer of three: over the tolerance of 0.1, under one of 0.5.
    odd = each(lambda s, r: 2.0 if s.id == "Alder" and r == s.question else float(s.answer in r))
    rewards: dict[Name, Reward] = {"overlap": odd}
    strict = audit_rewards(rewards, {"overlap": 1.0}, SAMPLES, REPLIES, references=SAMPLES, tolerance=0.1)
    loose = audit_rewards(rewards, {"overlap": 1.0}, SAMPLES, REPLIES, references=SAMPLES, tolerance=0.5)
    assert any("'question_copied'" in failure and "33%" in failure for failure in strict["failures"])
    assert not any("'question_copied'" in failure for failure in loose["failures"])


@pytest.mark.parametrize(("tolerance", "fails"), [(0.25, False), (0.24, True)])
def test_a_fraud_may_win_on_just_the_tolerated_share(tolerance: float, fails: bool) -> None:
    samples = [replace(SAMPLES[0], id=str(number)) for number in range(4)]

    def reward(asked: Sequence[ReasoningSample], replies: Sequence[str]) -> list[float]:
        honest = [0.0 if sample.id == "0" else 1.0 for sample in asked]
        pairs = zip(asked, replies, honest, strict=True)
        return [value if reply == sample.reference else 0.5 for sample, reply, value in pairs]

    found = audit_rewards(
        {"overlap": reward}, {"overlap": 1.0}, samples, ["x"] * 4, references=samples, tolerance=tolerance
    )
    assert bool(found["failures"]) is fails
