"""The hash of the code behind a result: what changes it and what does not, on a small project of its own."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from stages.lib.cache.code_identity import closure, code_identity, unit_of
from stages.lib.cache.definitions import Unit
from stages.lib.embedding.text_encoder import TextEncoder

ROOT = Path(__file__).parents[3]
FILES = {
    "model": '''
        """A model."""
        import math
        from work import table
        from work.shapes import Edge, Shape

        SCALE = 4
        UNUSED = 1

        class Base:
            def size(self) -> int:
                return SCALE

        class Model(Base):
            """Doc."""

            width: int
            edge: Edge
            depth: int = 2

            def forward(self, shape: Shape) -> float:
                # a comment
                if self.width < 0:
                    raise ValueError(f"width {self.width}")
                print("forward")
                return self.step(shape) * table.ROWS[0]()

            def step(self, shape: Shape) -> float:
                return math.sqrt(shape.area() + self.edge.length())

            def draw(self) -> None:
                picture()

        def picture() -> None:
            return

        table.register("model", SCALE)
    ''',
    "table": """
        from math import floor as rounded

        def one() -> int:
            return rounded(1.5)

        def other() -> int:
            return 2

        def register(name: str, value: int) -> None:
            pass

        ROWS = [one]
        ROWS += [register]
    """,
    "shapes": """
        class Shape:
            side: float

            def area(self) -> float:
                return self.side ** 2

        class Edge:
            def length(self) -> float:
                return 1.0
    """,
    "train": """
        from work.model import Model, picture
        from work.table import other

        def train(model: Model, steps: int) -> float:
            from work.late import rate

            other = rate(steps)
            return other * model.forward(None)

        def show() -> None:
            picture()
    """,
    "late": """
        def rate(steps: int) -> float:
            return 1 / steps
    """,
}


def project(place: Path, module: str = "", old: str = "", new: str = "") -> Path:
    """The project, with a text replaced in one module."""
    (place / "work").mkdir(parents=True)
    for name, text in FILES.items():
        content = textwrap.dedent(text)
        if name == module:
            assert old in content, old
            content = content.replace(old, new)
        (place / f"work/{name}.py").write_text(content)
    return place


def identity(place: Path, root: str = "train:train", without: str = "") -> list[str]:
    module, name = root.split(":")
    stop = [Unit(*f"work.{without}".split(":"))] if without else []
    return list(closure(place, [Unit(f"work.{module}", name)], stop).values())


MATTERS = [
    ("train", "other * model", "other + model"),
    ("late", "1 / steps", "2 / steps"),  # an import within the function
    ("model", "self.step(shape) *", "self.step(shape) +"),
    ("model", "SCALE = 4", "SCALE = 5"),  # a constant, by the base class
    ("model", "math.sqrt(", "math.cbrt("),
    ("model", "depth: int = 2", "depth: int = 3"),
    ("model", "self.width < 0", "self.width < 1"),
    ("model", 'register("model"', 'register("other"'),  # what importing the module does
    ("table", "[one]", "[other]"),  # a function in a table
    ("table", "ROWS += [register]", "ROWS += []"),  # the second statement that binds it
    ("table", "rounded(1.5)", "rounded(2.5)"),
    ("table", "import floor as", "import ceil as"),  # another's function by the same name
    ("shapes", "** 2", "** 3"),  # named in an annotation alone
    ("shapes", "return 1.0", "return 2.0"),  # the type of a field without a default
]
MATTERS_NOT = [
    ("model", "# a comment", "# another"),
    ("model", '"""Doc."""', '"""Other."""'),
    ("model", "width {self.width}", "the width is {self.width}"),
    ("model", 'print("forward")', 'print("on")'),
    ("model", "UNUSED = 1", "UNUSED = 2"),
    ("model", "    width: int", "    height: float\n    width: int"),  # a field brings a value, which is in the key
    ("table", "return 2", "return 3"),  # a function that nobody calls; train's `other` is a local name
    ("train", "    picture()", "    picture(); picture()"),
    ("shapes", "class Shape", "\n\nclass Shape"),
]


@pytest.mark.parametrize(("module", "old", "new"), MATTERS)
def test_a_line_that_has_a_part_in_the_result_changes_it(tmp_path: Path, module: str, old: str, new: str) -> None:
    assert identity(project(tmp_path / "a")) != identity(project(tmp_path / "b", module, old, new))


@pytest.mark.parametrize(("module", "old", "new"), MATTERS_NOT)
def test_a_line_that_has_none_changes_nothing(tmp_path: Path, module: str, old: str, new: str) -> None:
    assert identity(project(tmp_path / "a")) == identity(project(tmp_path / "b", module, old, new))


def test_a_method_brings_what_it_calls_on_self_and_no_other(tmp_path: Path) -> None:
    before = identity(project(tmp_path / "a"), "model:Model.step")
    assert before == identity(project(tmp_path / "b", "model", "picture()\n", "return\n"), "model:Model.step")
    assert before != identity(project(tmp_path / "c", "model", "math.sqrt(", "math.cbrt("), "model:Model.step")
    forward = identity(tmp_path / "a", "model:Model.forward")
    assert forward != identity(tmp_path / "c", "model:Model.forward")


def test_the_search_stops_where_it_is_told_to(tmp_path: Path) -> None:
    one, other = project(tmp_path / "a"), project(tmp_path / "b", "shapes", "** 2", "** 3")
    assert identity(one, without="shapes:Shape") == identity(other, without="shapes:Shape")
    assert identity(one, without="shapes:") == identity(other, without="shapes:")


def test_a_module_that_moves_to_another_room_stays_what_it_was(tmp_path: Path) -> None:
    moved = project(tmp_path / "b", "model", "work.shapes", "work.room.shapes")
    (moved / "work/room").mkdir()
    (moved / "work/shapes.py").rename(moved / "work/room/shapes.py")
    assert identity(project(tmp_path / "a")) == identity(moved)


def test_a_module_loaded_by_its_name_counts_as_a_whole(tmp_path: Path) -> None:
    by_name = ("train", "from work.late import rate", 'rate = importlib.import_module("work.late").rate')
    one, other = project(tmp_path / "a", *by_name), project(tmp_path / "b", *by_name)
    (other / "work/late.py").write_text((other / "work/late.py").read_text().replace("1 /", "2 /"))
    assert identity(one) != identity(other)


def test_of_this_project(tmp_path: Path) -> None:
    assert unit_of(TextEncoder.identity) == Unit("stages.lib.embedding.text_encoder", "TextEncoder.identity")
    found = closure(ROOT, [unit_of(TextEncoder)])
    assert {"stages.lib.embedding.pooling:mean", "stages.lib.embedding.token_states:padded_length"} <= set(found)
    assert code_identity(TextEncoder) == code_identity(TextEncoder) != code_identity(TextEncoder.encode)


def test_a_stage_that_runs_as_main_has_the_identity_that_an_import_gives() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "stages.lib.cache.code_identity", "stages.pretrain:begin"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert "stages.lib.gpt.model:MLP" in listed
    assert not [name for name in listed if "hellaswag" in name or "picture" in name or "records" in name]
