from pathlib import Path
from typing import Any

import pytest

from stages.lib.commands.draw_graph import above, draw, edges, places
from tests.graph import STAGES
from tests.params_of import project_params

PARAMS: dict[str, Any] = project_params()


def test_arrows_are_the_graph_s_without_those_that_a_longer_way_says() -> None:
    found = edges(STAGES, PARAMS)
    assert found["judge"] == {"qa"}  # not dedup, whose chunks it reads too
    assert found["eval"] == {"gguf", "grpo"}
    assert found["benchmark"] == {"rerank", "retriever"}
    assert above("gguf", found) >= {"chunk", "qlora"} and "grpo" not in above("gguf", found)


def test_a_released_base_is_joined_and_else_left_out() -> None:
    assert "base" not in places(edges(STAGES, PARAMS))
    released = PARAMS | {"gguf": PARAMS["gguf"] | {"model": PARAMS["gguf"]["base"]}}
    assert edges(STAGES, released)["gguf"] >= {"base"}
    assert "base" in places(edges(STAGES, released))


def test_each_stage_stands_right_of_what_it_reads_from_and_alone_in_its_place() -> None:
    found = edges(STAGES, PARAMS)
    place = places(found)
    assert len(set(place.values())) == len(place)
    for name, parents in found.items():
        assert all(place[parent][0] < place[name][0] for parent in parents)


def test_the_picture_is_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw(tmp_path / "graph.png", STAGES, PARAMS)
    assert (tmp_path / "graph.png").read_bytes().startswith(b"\x89PNG")
