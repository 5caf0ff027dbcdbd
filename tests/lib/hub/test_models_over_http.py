"""Models by `hub:ORG/NAME` from a hub on loopback, each time by a process of its own."""

import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub_client import LOCATE, environment, last_line, run, start, write_entry
from tests.local_hub import BLOCK, TOKEN, LocalHub

NAME = "org/small"
WEIGHTS = hashlib.shake_256(b"weights").digest(1_500_000)
MODEL: dict[str, bytes | str] = {
    "config.json": '{"model_type": "llama"}',
    "tokenizer.json": '{"version": "1.0"}',
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"a pickle" * 1000,
    "onnx/model.onnx": b"another engine's" * 1000,
    "original/consolidated.00.pth": b"as it was made",
    "1_Pooling/config.json": '{"word_embedding_dimension": 4}',
    "README.md": "# Small",
}
WANTED = {"config.json", "tokenizer.json", "model.safetensors", "1_Pooling/config.json", "README.md"}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    with LocalHub(tmp_path / "repositories", page=3) as hub:
        yield hub


@pytest.fixture
def revision(hub: LocalHub, tmp_path: Path) -> str:
    revision = hub.add("models", NAME, MODEL)
    hub.add("models", NAME, {**MODEL, "model.safetensors": b"of a later commit"})  # main
    write_entry(tmp_path, NAME, revision)
    return revision


def locate(hub: LocalHub, tmp_path: Path, **env: str) -> "subprocess.CompletedProcess[str]":
    return run(["-c", LOCATE], tmp_path, environment(hub.url, tmp_path / "home", **env))


def fetched(result: "subprocess.CompletedProcess[str]") -> Path:
    assert result.returncode == 0, result.stderr
    place = Path(result.stdout.strip())
    assert (place / "model.safetensors").read_bytes() == WEIGHTS
    return place


def test_the_pinned_commit_comes_without_what_is_not_needed_and_then_needs_no_network(
    hub: LocalHub, revision: str, tmp_path: Path
) -> None:
    result = locate(hub, tmp_path)
    place = fetched(result)
    assert {file.relative_to(place).as_posix() for file in place.rglob("*") if file.is_file()} == WANTED
    assert not hub.gets("pytorch_model.bin") and not hub.gets("model.onnx")
    assert "models.m: fetching 5 of 5 files, 1.5 MB, of model org/small" in result.stderr
    assert "hashes checked" in result.stderr
    asked = len(hub.asked)
    again = locate(hub, tmp_path)
    assert fetched(again) == place and not again.stderr
    assert len(hub.asked) == asked
    for other in ({"HF_ENDPOINT": "http://127.0.0.1:9"}, {"HF_HUB_OFFLINE": "1"}):
        assert fetched(locate(hub, tmp_path, **other)) == place
    # And huggingface_hub finds it as if it had fetched it by itself.
    code = f"from huggingface_hub import snapshot_download as s; print(s('{NAME}', revision='{revision}', "
    code += "allow_patterns=['*.json', '*.safetensors', '*.md'], local_files_only=True))"
    assert fetched(run(["-c", code], tmp_path, environment(hub.url, tmp_path / "home"))) == place


@pytest.mark.parametrize(
    ("name", "token", "says"),
    [
        (NAME, {}, f"models.m.revision: '{'0' * 40}' is no commit of URL/org/small (`python -m stages"),
        ("org/smal", {}, "models.m.source: no model 'org/smal' at URL, or a private one: correct the name"),
        (NAME, {"HF_TOKEN": "hf_expired"}, "models.m: URL does not take HF_TOKEN (401): set a valid one, or none"),
        ("org/smal", {"HF_TOKEN": TOKEN}, "models.m.source: no model 'org/smal' at URL, or a private one"),
    ],
)
def test_what_the_hub_does_not_have(hub: LocalHub, tmp_path: Path, name: str, token: dict[str, str], says: str) -> None:
    hub.add("models", NAME, MODEL)
    write_entry(tmp_path, name, "0" * 40)
    assert last_line(locate(hub, tmp_path, **token)).replace(hub.url, "URL").startswith(says)


@pytest.mark.parametrize(
    ("token", "says"),
    [
        ({}, "is gated: accept its terms there, then set HF_TOKEN"),
        ({"HF_TOKEN": "hf_of_another"}, "the account of HF_TOKEN has no access to it: accept its terms there"),
    ],
)
@pytest.mark.usefixtures("revision")
def test_a_gated_model_says_what_to_do(hub: LocalHub, tmp_path: Path, token: dict[str, str], says: str) -> None:
    hub.gated[NAME] = 403
    line = last_line(locate(hub, tmp_path, **token))
    assert line.startswith(f"models.m: {hub.url}/org/small is gated") and says in line
    fetched(locate(hub, tmp_path, HF_TOKEN=TOKEN))
    at_the_cdn = [asked for asked in hub.asked if not hub.url.endswith(f":{asked.port}")]
    assert at_the_cdn and not [asked for asked in at_the_cdn if asked.authorization]  # the token stays with the hub


@pytest.mark.parametrize("how", ["cut", "reset"])
def test_a_broken_transfer_goes_on_where_it_broke(hub: LocalHub, revision: str, tmp_path: Path, how: str) -> None:
    getattr(hub.faults, how)["model.safetensors"] = [5 * BLOCK, 3 * BLOCK, 0]
    fetched(locate(hub, tmp_path))
    ranges = [asked.range for asked in hub.gets("model.safetensors") if not hub.url.endswith(f":{asked.port}")]
    assert len(ranges) == 4 and ranges[0] == ""
    starts = [int(found.removeprefix("bytes=").removesuffix("-")) for found in ranges[1:]]
    assert starts == sorted(starts) and starts[-1] > 0
    if how == "cut":
        assert starts == [5 * BLOCK, 8 * BLOCK, 8 * BLOCK]
        assert hub.sent["model.safetensors"] == len(WEIGHTS)


@pytest.mark.usefixtures("revision")
def test_a_server_that_hangs_is_left(hub: LocalHub, tmp_path: Path) -> None:
    hub.faults.stall["model.safetensors"] = [90]
    before = time.monotonic()
    fetched(locate(hub, tmp_path, HF_HUB_DOWNLOAD_TIMEOUT="1"))
    assert time.monotonic() - before < 90


@pytest.mark.usefixtures("revision")
def test_two_processes_fetch_once(hub: LocalHub, tmp_path: Path) -> None:
    hub.faults.seconds_per_block = 0.05
    both = [start(["-c", LOCATE], tmp_path, environment(hub.url, tmp_path / "home")) for _ in range(2)]
    for process in both:
        out, error = process.communicate(timeout=600)
        assert (Path(out.strip()) / "model.safetensors").read_bytes() == WEIGHTS, error
    assert hub.sent["model.safetensors"] == len(WEIGHTS)


def test_a_server_without_ranges_is_asked_for_the_whole(hub: LocalHub, revision: str, tmp_path: Path) -> None:
    hub.faults.no_range = True
    hub.faults.cut["model.safetensors"] = [5 * BLOCK]
    fetched(locate(hub, tmp_path))
    assert hub.sent["model.safetensors"] == 5 * BLOCK + len(WEIGHTS)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_another_content_than_the_hub_lists_is_never_used(
    hub: LocalHub, revision: str, tmp_path: Path, file: str
) -> None:
    hub.faults.corrupt[file] = 1
    fetched(locate(hub, tmp_path))  # once: fetched again
    hub.faults.corrupt[file] = 99
    line = last_line(run(["-c", LOCATE], tmp_path, environment(hub.url, tmp_path / "other")))
    assert f"{file}: came twice with the hash" in line and "not used" in line
    assert not list((tmp_path / "other").rglob(f"snapshots/*/{file}"))
    hub.faults.corrupt.clear()
    fetched(run(["-c", LOCATE], tmp_path, environment(hub.url, tmp_path / "other")))


def test_a_busy_hub_is_asked_again(hub: LocalHub, revision: str, tmp_path: Path) -> None:
    hub.faults.status = {"tree": [503], "model.safetensors": [429, 500, 503]}
    before = time.monotonic()
    fetched(locate(hub, tmp_path))
    assert time.monotonic() - before >= 1  # Retry-After
    hub.faults.status = {"tree": [404]}
    other = run(["-c", LOCATE], tmp_path, environment(hub.url, tmp_path / "other"))
    assert last_line(other).startswith(f"models.m: {hub.url} answers 404 for 'org/small'")


def test_a_killed_process_leaves_what_came_and_the_next_goes_on(hub: LocalHub, revision: str, tmp_path: Path) -> None:
    hub.faults.seconds_per_block = 0.1
    process = start(["-c", LOCATE], tmp_path, environment(hub.url, tmp_path / "home"))
    deadline = time.monotonic() + 300
    while hub.sent["model.safetensors"] < 8 * BLOCK:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (part,) = (tmp_path / "home").rglob("*.part")
    came = part.stat().st_size
    assert 2 * BLOCK < came < len(WEIGHTS)
    hub.faults.seconds_per_block = 0
    result = locate(hub, tmp_path)
    fetched(result)
    assert f"bytes={came}-" in {asked.range for asked in hub.gets("model.safetensors")}
    assert "of it here from before" in result.stderr
    assert not list((tmp_path / "home").rglob("*.part"))


def test_ctrl_c_ends_at_once_and_keeps_what_came(hub: LocalHub, revision: str, tmp_path: Path) -> None:
    hub.faults.seconds_per_block = 0.1
    process = start(["-c", LOCATE], tmp_path, environment(hub.url, tmp_path / "home"))
    while hub.sent["model.safetensors"] < 8 * BLOCK:
        assert process.poll() is None
        time.sleep(0.01)
    before = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert time.monotonic() - before < 10 and process.returncode
    assert list((tmp_path / "home").rglob("*.part"))


def test_without_network_what_is_missing_is_told(hub: LocalHub, revision: str, tmp_path: Path) -> None:
    line = last_line(locate(hub, tmp_path, HF_ENDPOINT="http://127.0.0.1:9"))
    assert line.startswith(
        f"models.m: hub:org/small at {revision} is not (whole) in {tmp_path}/home/hub, and cannot be fetched: http"
    )
    assert "run again with a network" in line and "HF_ENDPOINT" in line and "HF_HOME" in line
    line = last_line(locate(hub, tmp_path, HF_HUB_OFFLINE="1"))
    assert "cannot be fetched while HF_HUB_OFFLINE is set: run once" in line
    # Half of it is not enough.
    place = fetched(locate(hub, tmp_path))
    (place / "tokenizer.json").unlink()
    assert "models.m: hub:org/small at" in last_line(locate(hub, tmp_path, HF_HUB_OFFLINE="1"))
    # A file that something cut is fetched again.
    fetched(locate(hub, tmp_path))
    os.truncate((place / "model.safetensors").resolve(), 1000)
    fetched(locate(hub, tmp_path))


def test_what_another_tool_fetched_is_used_without_network(hub: LocalHub, revision: str, tmp_path: Path) -> None:
    code = f"from huggingface_hub import snapshot_download as s; s('{NAME}', revision='{revision}')"
    assert run(["-c", code], tmp_path, environment(hub.url, tmp_path / "home")).returncode == 0
    fetched(locate(hub, tmp_path, HF_HUB_OFFLINE="1"))
    (lists,) = (tmp_path / "home").rglob("trees")
    for file in lists.iterdir():  # as older versions of huggingface_hub leave it
        file.unlink()
    fetched(locate(hub, tmp_path, HF_HUB_OFFLINE="1"))


def test_a_full_disk_is_told_before_and_during(hub: LocalHub, revision: str, tmp_path: Path) -> None:
    small = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, 700_000))\n"
    small += "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    line = last_line(run(["-c", small + LOCATE], tmp_path, environment(hub.url, tmp_path / "home")))
    assert line.startswith(
        f"models.m: 'org/small': no room in {tmp_path}/home/hub (File too large): make room, or HF_HOME"
    )
    ranges = len(hub.gets("model.safetensors"))
    fetched(locate(hub, tmp_path))  # with room, what came is gone on with
    assert any(asked.range for asked in hub.gets("model.safetensors")[ranges:])
    full = "import collections, shutil\nshutil.disk_usage = lambda _: collections.namedtuple('U', 'free')(1000)\n"
    before = len(hub.asked)
    line = last_line(run(["-c", full + LOCATE], tmp_path, environment(hub.url, tmp_path / "other")))
    assert line.startswith(f"models.m: 'org/small' needs 1.5 MB more in {tmp_path}/other/hub, where 1.0 kB are free")
    assert not [asked for asked in hub.asked[before:] if "resolve" in asked.path]


def test_a_sha256_of_the_entry_holds_for_the_hub_too(hub: LocalHub, revision: str, tmp_path: Path) -> None:
    write_entry(tmp_path, NAME, revision, sha256={"model.safetensors": hashlib.sha256(WEIGHTS).hexdigest()})
    fetched(locate(hub, tmp_path))
    write_entry(tmp_path, NAME, revision, sha256={"model.safetensors": "0" * 64})
    assert "another file than was tested" in locate(hub, tmp_path).stderr


def test_pickles_alone_are_no_model(hub: LocalHub, tmp_path: Path) -> None:
    revision = hub.add("models", "org/old", {"config.json": "{}", "pytorch_model.bin": b"x" * 1000})
    write_entry(tmp_path, "org/old", revision)
    line = last_line(locate(hub, tmp_path))
    assert line.startswith(f"models.m: org/old at {revision}: holds no *.safetensors") and "never opened" in line


def test_of_several_gguf_files_the_named_one_comes(hub: LocalHub, tmp_path: Path) -> None:
    files = {f"m-{name}.gguf": name.encode() * 1000 for name in ("Q4_K_M", "Q8_0")}
    revision = hub.add("models", "org/gguf", {"config.json": "{}", **files})
    write_entry(tmp_path, "org/gguf", revision, backend="llama_cpp")
    line = last_line(locate(hub, tmp_path))
    digest = hashlib.sha256(files["m-Q4_K_M.gguf"]).hexdigest()
    assert "sha256: holds 2 GGUF files" in line and f"m-Q4_K_M.gguf: {digest}" in line
    write_entry(tmp_path, "org/gguf", revision, backend="llama_cpp", sha256={"m-Q4_K_M.gguf": digest})
    result = locate(hub, tmp_path)
    assert result.stdout.strip().endswith("/m-Q4_K_M.gguf"), result.stderr
    assert not hub.gets("m-Q8_0.gguf")


def test_pin_prints_the_commit_that_main_is(hub: LocalHub, revision: str, tmp_path: Path) -> None:
    command = ["-m", "stages.lib.commands.pin", NAME]
    result = run(command, tmp_path, environment(hub.url, tmp_path / "home"))
    assert result.stdout == f"revision: {hub.revision('models', NAME, 'main')}\n"
    result = run([*command, "--revision", revision], tmp_path, environment(hub.url, tmp_path / "home"))
    assert result.stdout == f"revision: {revision}\n"
    result = run([*command, "--dataset"], tmp_path, environment(hub.url, tmp_path / "home"))
    assert last_line(result).startswith(f"pin.name: no data set 'org/small' at {hub.url}")
