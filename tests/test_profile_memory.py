"""The estimate of each process of a profile, held against the card that the profile is for."""

import pytest

from profiles.memory import CARDS, GB, SHARE, card_of, estimates, grpo_bytes
from profiles.overlay import lay_over, read_profile
from stages.grpo import Params as GrpoParams
from stages.lib.core.params import from_mapping
from stages.lib.weights.models import model_entry
from tests.graph import ROOT
from tests.params_of import project_params

HALVES = ["laptop", "rtx4060-8g", "rtx4060-8g-long", "rtx4060ti-16g", "h100"]
# What a release takes is more than these cards have: it runs on the CPU (gguf.device), in a machine of so much.
MACHINES = {"rtx4060-8g": 16 * GB, "rtx4060ti-16g": 32 * GB}


@pytest.mark.parametrize("name", HALVES)
def test_each_process_fits_into_the_profiles_card(name: str) -> None:
    machine = MACHINES.get(name.removesuffix("-long"))
    params = project_params()
    lay_over(params, read_profile(name))
    assert (params["gguf"]["device"] == "cpu") == bool(machine)
    found = dict(estimates(name))
    assert {"dedup", "instruct"} <= found.keys() or name == "h100"
    assert name == "laptop" or {"qlora", "grpo", "gguf"} <= found.keys()
    for title, size in found.items():
        if title == "gguf" and machine:
            assert card_of(name) < size <= SHARE * machine
        else:
            assert size <= SHARE * card_of(name), f"{title}: {size / GB:.1f} GB"


def test_the_largest_processes_are_as_docs_say() -> None:
    page = (ROOT / "docs/profiles.md").read_text(encoding="utf-8")
    for name in ("laptop", "rtx4060-8g", "rtx4060ti-16g", "h100"):
        found = dict(estimates(name))
        told = [title for title in ("qlora", "grpo", "gguf") if title in found]
        asked = max(size for title, size in found.items() if title not in told)
        cells = [f"{size / GB:.1f}" for size in (asked, *(found[title] for title in told))]
        assert f"| `{name}` | {CARDS[name] / GB:.1f} | {' | '.join(cells)} |" in page


def test_a_micro_batch_that_is_too_large_is_seen() -> None:
    params = project_params()
    lay_over(params, read_profile("rtx4060ti-16g"))
    entry = model_entry(params["grpo"]["base"], params["models"], "params.yaml")
    larger = from_mapping(GrpoParams, params["grpo"] | {"micro_batch": 16}, where="grpo")
    assert grpo_bytes(larger, entry) > CARDS["rtx4060ti-16g"]


def test_a_profile_for_no_card_is_refused() -> None:
    with pytest.raises(ValueError, match="profile smoke is for no card; there are laptop, rtx4060-8g"):
        card_of("smoke")
