import json
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from stages.lib.core import progress
from stages.lib.core.metrics import Stopwatch
from stages.lib.core.stage_place import StagePlace, usual_seconds
from tests.graph import ROOT
from tests.terminal import run_on_terminal, screen

FAST = f"""
import os, sys, time
sys.path.insert(0, {str(ROOT)!r})
from stages.lib.core import progress
progress.LOG_SECONDS, progress.FIRST_SECONDS, progress.TICK_SECONDS = 0.4, 0.1, 0.05
"""
STAGE = """
progress.begin("judge", ["read", "judge"])
progress.past_imports(0)
print("read it")
progress.part_ended("read")
with progress.bar("pairs", 100, "pair") as pairs:
    for n in range(100):
        with progress.detail("tokens", None, "token") as tokens:
            tokens.update(5)
            time.sleep(0.01)
        pairs.update()
        if n == 50:
            print("half of it")
"""
NEVER_COUNTED = 'progress.begin("qa", ["load"])\nwith progress.doing("loading"):\n    time.sleep(1.5)\n'
RATE = re.compile(r"pairs:\s+\d+% \d+/100 \[00:00<00:0\d, +[\d.]+pair/s\]")


def in_log(script: str, *arguments: str, **environment: str) -> tuple[str, str, int]:
    """stdout, stderr and exit code of a script whose output nobody sees as it comes."""
    command = [sys.executable, "-c", FAST + script, *arguments]
    done = subprocess.run(command, cwd=ROOT / "tests", capture_output=True, text=True, env=environment, check=False)
    return done.stdout, done.stderr, done.returncode


def test_a_log_has_whole_lines_with_rate_and_time_left() -> None:
    out, told, _ = in_log(STAGE, "a", "b_c")
    assert out == "read it\nhalf of it\n"
    assert "\r" not in told and "\x1b" not in told
    lines = told.splitlines()
    assert lines[0] == "judge a b_c 1/3 imports [00:00<?]"  # at once
    counted = [line for line in lines if RATE.search(line)]
    assert 2 <= len(counted) <= 5, told  # a second at most every 0.4 s, the first rate and the end beside them
    assert all(line.startswith("judge a b_c 3/3 judge [00:0") for line in counted)
    assert counted[-1].split("<")[1].startswith("00:00")  # the last part's bar tells of the whole stage, too
    assert any("| tokens: 5token" in line for line in lines) and "100/100" in lines[-1]


def test_what_cannot_be_counted_says_that_it_goes_on() -> None:
    _, told, _ = in_log(NEVER_COUNTED)
    lines = [line for line in told.splitlines() if line.endswith(("loading [00:00]", "loading [00:01]"))]
    assert 3 <= len(lines) <= 6, told
    assert lines[-1].startswith("qa 1/2 imports [00:01<?]")


def test_a_terminal_has_bars_under_what_is_printed_and_nothing_in_the_end() -> None:
    code, written = run_on_terminal([sys.executable, "-c", FAST + STAGE], ROOT)
    assert code == 0
    bars = [f"judge 3/3 judge [00:0{n}<00:0{m}]" for n in range(3) for m in range(3)]
    assert (
        any(bar in written for bar in bars) and re.search(r"pairs:.*▏?.*pair/s\]", written) and "tokens: 5" in written
    )
    middle = screen(written[: written.index("half of it") + len("half of it\r\n")])
    assert middle[:2] == ["read it", "half of it"], middle
    assert [line for line in screen(written) if line] == ["read it", "half of it"]


def test_a_terminal_of_unknown_size_gets_the_lines_of_a_log() -> None:
    _, written = run_on_terminal([sys.executable, "-c", FAST + STAGE], ROOT, columns=0)
    lines = written.split("\r\n")
    assert lines[0] == "judge 1/3 imports [00:00<?]" and any(RATE.search(line) for line in lines)
    assert "\r" not in "".join(lines)


@pytest.mark.parametrize("error", ["KeyboardInterrupt", "ValueError('no chunks')"])
def test_an_error_is_read_whole_and_no_bar_stays(error: str) -> None:
    script = STAGE.replace("if n == 50:", f"if n == 50:\n            raise {error}")
    _, told, code = in_log(script)
    assert code and told.splitlines()[-1].startswith(error[:10])
    code, written = run_on_terminal([sys.executable, "-c", FAST + script], ROOT)
    seen = [line for line in screen(written) if line]
    assert code and seen[:2] == ["read it", "Traceback (most recent call last):"]
    assert seen[-1].startswith(error[:10]), seen
    assert not any("pair/s" in line for line in seen)


def test_a_second_process_and_a_forked_one_are_silent() -> None:
    _, told, _ = in_log(NEVER_COUNTED, RANK="1")
    assert told == ""
    forked = "if not os.fork():\n    progress.detail('child', 9, 'it').update()\n    time.sleep(0.6)\n    os._exit(0)\n"
    _, told, _ = in_log('progress.begin("qa", ["x"])\n' + forked + "os.wait()\n")
    assert told.splitlines()[0] == "qa 1/2 imports [00:00<?]" and "child" not in told


def test_bars_of_libraries_are_silent_in_a_stage() -> None:
    others = "import tqdm.auto\nfor _ in tqdm.auto.tqdm(range(9), desc='Loading weights'):\n    time.sleep(0.01)\n"
    _, told, _ = in_log('progress.begin("qa", ["x"])\n' + others + "list(progress.each([1], 'items', 'item'))\n")
    assert told.startswith("qa 1/2 imports") and "Loading weights" not in told


def test_without_a_stage_library_code_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    with progress.doing("loading"), progress.detail("tokens", 5, "token") as tokens:
        tokens.update()
    assert list(progress.each([1, 2], "items", "item")) == [1, 2]
    with progress.bar(None, 5, "pair") as nobody:
        nobody.update()
    assert capfd.readouterr() == ("", "")
    with progress.bar("pairs", 5, "pair", initial=2) as pairs:
        pairs.update()
    told = capfd.readouterr().err
    assert told.startswith("pairs:  40% 2/5 [00:00<?") and told.endswith("\n")


def test_no_thread_outlives_the_last_bar() -> None:
    def tickers() -> int:
        return sum(thread.name == "progress" for thread in threading.enumerate())

    with progress.bar("outer", 2, "it"), progress.bar("inner", 2, "it"):
        assert tickers() == 1
    end = time.monotonic() + 10
    while tickers() and time.monotonic() < end:
        time.sleep(0.05)
    assert not tickers()


def test_items_are_counted_where_a_loop_is_left_early(capfd: pytest.CaptureFixture[str]) -> None:
    _, told, _ = in_log(
        'progress.begin("qa", ["x"])\nfor n in progress.each(range(9), "items", "item"):\n    time.sleep(0.5)\n'
        "    if n == 2: break\ntime.sleep(0.5)\n"
    )
    assert "items:  22% 2/9" in told and "items" not in told.splitlines()[-1]


def test_time_left_is_the_last_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert usual_seconds("grpo") == {}
    file = tmp_path / "timings" / "grpo.json"
    file.parent.mkdir()
    for broken in ("", "[]", '{"parts": 3}', '{"parts": {"train": null}}'):
        file.write_text(broken)
        assert usual_seconds("grpo") == {}
    file.write_text(json.dumps({"parts": {"imports": 5, "validate": 20, "train": 100, "write": 1}}))
    place = StagePlace("grpo", ["imports", "validate", "train", "validate", "write"], usual_seconds("grpo"))
    assert 125.5 < (place.seconds_left(None) or 0) <= 126
    place.end_part("imports")
    assert 120.5 < (place.seconds_left(None) or 0) <= 121
    assert place.seconds_left(300.0) == 300 + 111  # what is counted now is slower
    place.end_part("write")
    assert place.told(None).startswith("grpo 5/5 write [00:00<00:0")
    place.end_part("train")  # came before
    assert place.place == 4


def test_a_first_run_goes_by_what_was_measured_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for place, content in (("bench/usual_seconds.json", {"grpo": {"train": 9}}), ("timings/grpo.json", {"parts": {}})):
        file = tmp_path / place
        file.parent.mkdir()
        assert usual_seconds("qa") == {}
        file.write_text(json.dumps(content))
        assert usual_seconds("grpo") == content.get("grpo", {})


def test_time_left_is_not_known_in_a_first_run_but_in_its_last_part() -> None:
    assert StagePlace("grpo", ["imports", "train"], {}).seconds_left(7.0) is None
    timed = StagePlace("grpo", ["imports", "train", "write"], {"imports": 3.0, "train": 5.0})
    assert timed.seconds_left(7.0) == 12.0  # what was not timed took no time
    last = StagePlace("grpo", ["imports"], {})
    assert last.seconds_left(None) is None and last.seconds_left(7.0) == 7.0


def test_a_stopwatch_counts_from_the_stages_beginning() -> None:
    script = """
from stages.lib.core.metrics import Stopwatch
progress.begin("qa", ["ask"])
time.sleep(0.2)
watch = Stopwatch("qa")
assert watch.parts["imports"] >= 0.2, watch.parts
watch.lap("ask")
print(sorted(watch.parts))
"""
    out, told, _ = in_log(script)
    assert out == "['ask', 'imports']\n", told
    assert Stopwatch("qa").parts == {}
