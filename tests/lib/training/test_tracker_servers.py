"""wandb, the real one, with servers as they are: none, hanging, failing, dying; and with installs that are broken."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from stages.lib.curves.curves import Point
from stages.lib.training import trackers as module
from stages.lib.training.trackers import Trackers, open_trackers
from tests.lib.training.wandb_server import WandbServer, wandb_server

ROOT = Path(__file__).parents[3]
real = pytest.mark.skipif("not __import__('importlib.util').util.find_spec('wandb')", reason="wandb is not installed")
OFFLINE = re.compile(
    r"^tracker wandb: not with (\S+): (.*); tracked offline; to send the run later: wandb sync (\S+)$", re.MULTILINE
)


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A key, and no settings of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(module, "START", 2.0)


def send(run: str, server: WandbServer) -> list[int]:
    """Does what the line about an offline run says; returns the steps that the server has of it then."""
    command = [str(Path(sys.executable).parent / "wandb"), "sync", run]
    environment = {**os.environ, "WANDB_BASE_URL": server.url, "WANDB_API_KEY": "a" * 40}
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return server.steps(run.rpartition("-")[2])


def steps_of(run: str) -> list[int]:
    """The steps of an offline run."""
    with wandb_server() as server:
        return send(run, server)


def told(place: Path, steps: range, past: int = 0) -> Trackers:
    """Trackers told of some steps, after so many of an earlier process."""
    points = [Point(step, 1.0 / step, None, 0.1, 1.0) for step in range(1, past + 1)]
    trackers = open_trackers(["wandb"], place, {"lr": 0.1}, points)
    for step in steps:
        trackers.log(step, {"train_loss": 1.0 / step, "lr": 0.1, "grad_norm": 1.0})
    return trackers


@real
@pytest.mark.parametrize("server", ["hangs", "refuses", "no login"])
def test_without_a_server_the_run_is_tracked_offline_and_says_how_to_send_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], server: str
) -> None:
    with wandb_server("hangs") as hanging:
        urls = {"hangs": hanging.url, "refuses": "http://127.0.0.1:9", "no login": hanging.url}
        monkeypatch.setenv("WANDB_BASE_URL", urls[server])
        if server == "no login":
            monkeypatch.delenv("WANDB_API_KEY")
        trackers = told(tmp_path / "a", range(1, 6))
        if server == "hangs":
            assert hanging.asked == 0  # nobody waited for it
        trackers.close()
    ((url, why, place),) = OFFLINE.findall(capsys.readouterr().err)
    assert (url, trackers.failures) == (urls[server], {})
    assert ("API key" if server == "no login" else "no answer within 2 s") in why
    assert steps_of(place) == [1, 2, 3, 4, 5]


@real
@pytest.mark.slow
@pytest.mark.parametrize("server", ["fails", "unknown name", "no TLS"])
def test_other_servers_that_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], server: str
) -> None:
    with wandb_server("fails") as failing:
        urls = {"unknown name": "http://nowhere.invalid", "no TLS": failing.url.replace("http", "https")}
        monkeypatch.setenv("WANDB_BASE_URL", urls.get(server, failing.url))
        told(tmp_path / "a", range(1, 6)).close()
    ((_, _, place),) = OFFLINE.findall(capsys.readouterr().err)
    assert steps_of(place) == [1, 2, 3, 4, 5]


@real
@pytest.mark.parametrize("mood", ["hangs", "fails"])
def test_a_server_that_dies_in_mid_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], mood: Any
) -> None:
    """What the run offline has is the whole run: sent later, it takes the place of the part that the server has."""
    monkeypatch.setattr(module, "START", 20.0)
    monkeypatch.setattr(module, "FINISH", 4.0)
    with wandb_server() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        trackers = told(tmp_path / "a", range(1, 4))
        wait_for(lambda: bool(server.history))
        server.mood = mood
        for step in (4, 5):
            trackers.log(step, {"train_loss": 1.0})
        trackers.close()
        ((_, _, place),) = OFFLINE.findall(capsys.readouterr().err)
        assert not trackers.failures
        server.mood = "well"
        assert send(place, server) == [1, 2, 3, 4, 5]
        assert len(server.history) == 1


def wait_for(happened: Any) -> None:
    """Waits; half a minute at most."""
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


VICTIM = """
import os, signal, sys
from pathlib import Path
from stages.lib.training.trackers import open_trackers
trackers = open_trackers(["wandb"], Path(sys.argv[1]), {})
for step in range(1, 7):
    trackers.log(step, {"train_loss": 1.0 / step, "lr": 0.1, "grad_norm": 1.0})
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""


@real
def test_a_killed_training_goes_on_in_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "START", 20.0)
    with wandb_server() as server:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "WANDB_BASE_URL": server.url}
        command = [sys.executable, "-c", VICTIM, str(tmp_path / "a")]
        with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE) as victim:
            wait_for(lambda: server.history)
            victim.communicate(b"\n")
        assert victim.returncode == -signal.SIGKILL
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        told(tmp_path / "a", range(5, 9), past=4).close()  # the last checkpoint was of step 4
        ((run, _),) = server.history.items()
        assert server.steps(run) == [1, 2, 3, 4, 5, 6, 7, 8]
        assert server.exits[run] == 0


@real
def test_two_people_with_one_config_have_two_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory's name is a hash of params and data: theirs are called alike."""
    monkeypatch.setattr(module, "START", 20.0)
    with wandb_server() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        for person in ("a", "b"):
            told(tmp_path / person / "pretrain/0123456789abcdef", range(1, 3)).close()
        told(tmp_path / "a/pretrain/0123456789abcdef", range(3, 4), past=2).close()
        assert sorted(len(rows) for rows in server.history.values()) == [2, 3]
        assert set(server.groups.values()) == {"pretrain-0123456789abcdef"}


@real
@pytest.mark.parametrize(("mode", "runs"), [("offline", 1), ("disabled", 0)])
def test_wandb_mode_is_respected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], mode: str, runs: int
) -> None:
    with wandb_server() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_MODE", mode)
        trackers = told(tmp_path, range(1, 3))
        trackers.close()
        assert (server.asked, trackers.failures) == (0, {})
    said = capsys.readouterr().err
    assert len(list(tmp_path.glob("wandb/offline-run-*/*.wandb"))) == runs
    assert said.count("tracked offline; to send the run later: wandb sync") == runs


BROKEN = {
    "import": "raise ImportError('libfoo.so is missing')",
    "import hangs": "import time; time.sleep(1000)",
    "ends the interpreter": "import os; os._exit(3)",
    "init asks": "def init(**_): input('key: ')\ndef Settings(**_): pass",
    "log hangs": "hang_at = 'log'",
    "finish hangs": "hang_at = 'finish'",
    "exit hangs": "hang_at = 'exit'",
}
STAND_IN = """
import atexit, time
class Run:
    disabled, offline, url = False, False, 'http://x/run'
    class settings: sync_dir = '/x'
    def log(self, *_, **__): time.sleep(1000 * (hang_at == 'log'))
    def finish(self, **_): time.sleep(1000 * (hang_at == 'finish'))
def init(**_): return Run()
def Settings(**_): pass
def teardown(): pass
atexit.register(lambda: time.sleep(1000 * (hang_at == 'exit')))
"""


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("import", "failed at the end: ImportError: libfoo.so is missing"),
        ("import hangs", "failed at the end: no answer within 1 s"),
        ("ends the interpreter", "failed at the end: its process has ended, exit status 3"),
        ("init asks", "failed at the end: EOFError: EOF when reading a line"),
        ("log hangs", "failed at the end: no answer within 1 s"),
        ("finish hangs", "failed at the end: no answer within 1 s"),
        ("exit hangs", ""),
    ],
)
def test_an_install_that_is_broken_costs_the_tracker_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], broken: str, reason: str
) -> None:
    for limit in ("IMPORT", "ROW", "FINISH"):
        monkeypatch.setattr(module, limit, 1.0)
    code = BROKEN[broken]
    (tmp_path / "wandb.py").write_text(code + STAND_IN if code.startswith("hang_at") else code)
    monkeypatch.syspath_prepend(tmp_path)
    trackers = told(tmp_path / "a", range(1, 3))
    trackers.close()
    assert trackers.failures == ({"wandb": reason} if reason else {})
    assert capsys.readouterr().err.count("lacks steps") == bool(reason)


def test_the_whole_end_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLOSE", 0.2)
    (tmp_path / "wandb.py").write_text("import time; time.sleep(1000)")
    monkeypatch.syspath_prepend(tmp_path)
    trackers = told(tmp_path / "a", range(1, 3))
    trackers.close()
    assert trackers.failures == {"wandb": "failed at the end: not done within 0 s"}


FULL = """
import resource, signal, sys
from pathlib import Path
from stages.lib.training.trackers import open_trackers
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
trackers = open_trackers(["dvclive"], Path(sys.argv[1]), {})
trackers.log(1, {"train_loss": 1.0})
trackers.close()
print(trackers.failures)
"""


def test_a_full_disk_is_named_although_no_log_can_be_written(tmp_path: Path) -> None:
    """The kernel refuses to make files longer than 10 bytes, as it does on a full disk."""
    pytest.importorskip("dvclive", reason="dvclive is not installed (optional)")
    command = [sys.executable, "-c", FULL, str(tmp_path / "a")]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    assert re.match(r"\{'dvclive': 'failed at the end: \w*Error: .*", done.stdout), done.stdout


def processes_of(place: Path) -> list[bytes]:
    """Command lines of processes that name a directory."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(file.read_bytes())
        except OSError:
            continue
    return [line for line in found if str(place).encode() in line]


def test_a_training_that_failed_leaves_the_run_to_end_by_itself(tmp_path: Path) -> None:
    pytest.importorskip("dvclive", reason="dvclive is not installed (optional)")
    trackers = open_trackers(["dvclive"], tmp_path, {})
    trackers.log(1, {"train_loss": 1.0})
    trackers.close(failed=True)
    assert not trackers.failures
    wait_for(lambda: not processes_of(tmp_path))
    assert (tmp_path / "dvclive/plots/metrics/train_loss.tsv").read_text().splitlines()[1:] == ["1\t1.0"]


def test_servers_know_what_a_run_had() -> None:
    """The stand-in for the server: an upload that begins at a line takes the place of what stands behind it."""
    server = WandbServer("well")
    for offset, content in ((0, ['{"_step": 1}', '{"_step": 2}']), (1, ['{"_step": 3}'])):
        server.answer(
            "/files/e/p/r/file_stream", {"files": {"wandb-history.jsonl": {"offset": offset, "content": content}}}
        )
    assert server.steps("r") == [1, 3]
