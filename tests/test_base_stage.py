import json
from pathlib import Path

import pytest
import yaml

from stages.base import main
from tests.params_of import models


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump({"models": models()}))


@pytest.mark.parametrize("name", ["smollm2-135m", "zephyr-7b"])
def test_the_note_says_which_weights_the_base_has(name: str) -> None:
    main(name)
    entry = models()[name]
    expected = {"base": name, "source": entry["source"], "weights": entry.get("revision") or entry["sha256"]}
    assert json.loads(Path("models", name).read_text()) == expected


def test_an_unknown_base_is_named_and_nothing_written() -> None:
    with pytest.raises(ValueError, match="no model 'zephyr' under models:; there are"):
        main("zephyr")
    assert not Path("models").exists()
