"""What the graph's outputs are as objects of a DVC remote, and what push and pull cost beside a plain copy.

Run: python -m bench.remote [--cache .dvc/cache] [--rounds 3] [--jobs 8] [--small 100]

First the objects of this checkout's dvc.lock: how many, how large, and which outputs are of many small ones. Then the
same bytes go to one real S3 server on loopback (bench/seaweedfs.py) and come back, by turns:

- dvc: `dvc push` from a clone, and `dvc pull` into a fresh one with `verify` on: hashed, and linked into the workspace
- dvc, unverified: the same with `verify` off
- each: one put and one get an object by botocore, as many at once
- tar: all in one file: packed and put, got and unpacked

Each is a process of its own, from its start to its end; seconds are medians, wall / CPU of the client.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import yaml

from bench.seaweedfs import SeaweedFS
from stages.lib.commands.check_remote import read_remote

ROOT = Path(__file__).resolve().parents[1]
BUCKET = "bench"
WAYS = ("dvc", "dvc, unverified", "each", "tar")


@dataclass(frozen=True)
class Output:
    """An output of dvc.lock that is in the cache."""

    stage: str
    path: str
    objects: dict[str, int]  # bytes by hash; a directory's list of files is one of them


def read_outputs(lock: Path, cache: Path) -> list[Output]:
    """The outputs that DVC stores, in the order of dvc.lock.

    Raises:
        FileNotFoundError: the cache lacks one: the graph did not run here.
    """
    outputs = []
    for stage, body in yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"].items():
        for out in body.get("outs", []):
            if out["path"].startswith("metrics/"):  # cache: false, so they are in git
                continue
            names = [out["md5"]]
            if out["md5"].endswith(".dir"):
                entries = yaml.safe_load(place_of(cache, out["md5"]).read_text(encoding="utf-8"))  # JSON is YAML
                names += [entry["md5"] for entry in entries]
            sizes = {name: place_of(cache, name).stat().st_size for name in names}
            outputs.append(Output(stage, out["path"], sizes))
    return outputs


def place_of(cache: Path, name: str) -> Path:
    """Where the cache has an object.

    Raises:
        FileNotFoundError: nowhere.
    """
    place = cache / "files/md5" / name[:2] / name[2:]
    if not place.is_file():
        raise FileNotFoundError(f"{cache} lacks {name}: run `make repro` here, or name another --cache")
    return place


def objects_of(outputs: Sequence[Output]) -> dict[str, int]:
    """All objects, each once."""
    return {name: size for output in outputs for name, size in output.objects.items()}


def describe(outputs: Sequence[Output], small: int) -> str:
    """The table of outputs, and the sums; `small` is in kB."""
    lines = [f"| output | stage | objects | under {small} kB | MB |", "|---|---|---|---|---|"]
    for output in sorted(outputs, key=lambda output: -sum(output.objects.values())):
        sizes = list(output.objects.values())
        few = sum(size < small * 1000 for size in sizes)
        lines.append(f"| {output.path} | {output.stage} | {len(sizes)} | {few} | {sum(sizes) / 1e6:.2f} |")
    every = objects_of(outputs)
    sizes = sorted(every.values())
    few = sum(size < small * 1000 for size in sizes)
    lists = sum(name.endswith(".dir") for name in every)
    total = sum(sizes)
    few_bytes = sum(size for size in sizes if size < small * 1000)
    lines += [
        "",
        f"{len(sizes)} objects, {lists} of them lists of directories, {total / 1e6:.1f} MB; the median has "
        f"{statistics.median(sizes) / 1e3:.1f} kB, the largest {sizes[-1] / 1e6:.1f} MB. "
        f"Under {small} kB: {few} objects with {100 * few_bytes / total:.1f}% of the bytes",
    ]
    return "\n".join(lines)


def transfer(way: str, direction: str, files: Sequence[Path], *, url: str, prefix: str, place: Path, jobs: int) -> None:
    """A plain copy, without DVC: files to the bucket, or from it into `place`."""
    from botocore.config import Config
    from botocore.session import Session

    config = Config(max_pool_connections=jobs, proxies={})
    client = Session().create_client("s3", endpoint_url=url, region_name="us-east-1", config=config)

    def put(file: Path, name: str) -> None:
        with file.open("rb") as body:
            client.put_object(Bucket=BUCKET, Key=f"{prefix}/{name}", Body=body)

    def get(name: str) -> None:
        body = client.get_object(Bucket=BUCKET, Key=f"{prefix}/{name}")["Body"]
        with (place / name).open("wb") as target:
            shutil.copyfileobj(body, target, 1 << 20)

    names, archive = [file.parent.name + file.name for file in files], place / "all.tar"
    match way, direction:
        case "each", "push":
            with ThreadPoolExecutor(jobs) as pool:
                list(pool.map(put, files, names))
        case "each", "pull":
            with ThreadPoolExecutor(jobs) as pool:
                list(pool.map(get, names))
        case "tar", "push":
            with tarfile.open(archive, "w") as tar:
                for file, name in zip(files, names, strict=True):
                    tar.add(file, name)
            put(archive, archive.name)
        case "tar", "pull":
            get(archive.name)
            with tarfile.open(archive) as tar:
                tar.extractall(place, filter="data")
        case _:
            raise AssertionError(f"{way} {direction}")


def timed(command: Sequence[str], place: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Wall and CPU seconds of a process.

    Raises:
        SystemExit: it failed.
    """
    wall, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-1000:]}{done.stderr[-3000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - wall, cpu


def clone(place: Path, url: str, prefix: str, verify: bool, cache: Path | None = None) -> Path:
    """A clone of this checkout with the remote, and with a cache that is there or an empty one."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(place)], check=True)
    (place / "dvc.lock").write_bytes((ROOT / "dvc.lock").read_bytes())
    options = f"    url = s3://{BUCKET}/{prefix}\n    endpointurl = {url}\n    verify = {str(verify).lower()}\n"
    config = f"[core]\n    remote = store\n['remote \"store\"']\n{options}"
    config += f"[cache]\n    dir = {cache.resolve()}\n" if cache else ""
    (place / ".dvc/config.local").write_text(config, encoding="utf-8")
    return place


def measure(way: str, server: SeaweedFS, cache: Path, names: Sequence[str], *, jobs: int, place: Path) -> list[float]:
    """Wall and CPU seconds of a push to a part of the bucket that was empty, of a pull, and of a push of nothing new.

    Raises:
        SystemExit: a command failed, or what came back is not what was sent.
    """
    prefix = place.name
    environment = server.environment() | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path[1:]])}
    place.mkdir()
    back = place / "back"
    if way.startswith("dvc"):
        verify = way == "dvc"
        command = [sys.executable, "-m", "dvc"]
        push = timed(
            [*command, "push", "--jobs", str(jobs)],
            clone(place / "from", server.url, prefix, verify, cache),
            environment,
        )
        contents = read_remote(server.client(), BUCKET, f"{prefix}/", read=True)
        if not contents.sound or contents.sizes.keys() != set(names):
            sys.exit(f"{way}: {len(names)} objects were to be there, and: {contents.told()}")
        again = timed([*command, "push", "--jobs", str(jobs)], place / "from", environment)
        pull = timed([*command, "pull", "--jobs", str(jobs)], clone(back, server.url, prefix, verify), environment)
        came = {file.parent.name + file.name for file in (back / ".dvc/cache/files/md5").glob("??/*")}
    else:
        back.mkdir()
        again = (0.0, 0.0)
        command = [sys.executable, "-m", "bench.remote", "--plain", way, "--url", server.url, "--prefix", prefix]
        command += ["--cache", str(cache), "--jobs", str(jobs), "--place"]
        push = timed([*command, str(place), "--direction", "push"], ROOT, environment)
        pull = timed([*command, str(back), "--direction", "pull"], ROOT, environment)
        came = {file.name for file in back.iterdir()} - {"all.tar"}
    if came != set(names):
        sys.exit(f"{way}: {len(came)} of {len(names)} objects came back")
    return [*push, *pull, *again]


def table(found: dict[str, list[list[float]]]) -> str:
    """Medians, and each as a multiple of `each`."""
    medians = {
        way: [statistics.median(column) for column in zip(*rounds, strict=True)] for way, rounds in found.items()
    }
    base = medians["each"]
    lines = [
        "| way | push, s (wall / CPU) | of `each` | pull, s (wall / CPU) | of `each` | push again |",
        "|---" * 6 + "|",
    ]
    for way, (push, push_cpu, pull, pull_cpu, again, again_cpu) in medians.items():
        cells = [f"{push:.2f} / {push_cpu:.2f}", f"{push / base[0]:.2f}", f"{pull:.2f} / {pull_cpu:.2f}"]
        cells += [f"{pull / base[2]:.2f}", f"{again:.2f} / {again_cpu:.2f}" if again else ""]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=ROOT / ".dvc/cache", help="of a checkout in which the graph ran")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=8, help="objects under way at once, of dvc and of each")
    parser.add_argument("--small", type=int, default=100, help="kB under which an object is called small")
    for name in ("plain", "url", "prefix", "place", "direction"):  # a process of our own, which is timed
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    args = parser.parse_args()
    outputs = read_outputs(ROOT / "dvc.lock", args.cache)
    names = sorted(objects_of(outputs))
    if args.plain:
        files = [place_of(args.cache, name) for name in names]
        where = {"url": args.url, "prefix": args.prefix, "place": Path(args.place)}
        transfer(args.plain, args.direction, files, jobs=args.jobs, **where)
        return
    print(describe(outputs, args.small), flush=True)
    found: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as place, SeaweedFS(Path(place) / "seaweedfs") as server:
        server.client().create_bucket(Bucket=BUCKET)
        for number in range(args.rounds):
            for index, way in enumerate(WAYS):
                folder = Path(place) / f"{number}-{index}"
                found[way].append(measure(way, server, args.cache, names, jobs=args.jobs, place=folder))
                shutil.rmtree(folder)
                print(
                    f"round {number + 1}, {way}: {found[way][-1][0]:.1f} s, {found[way][-1][2]:.1f} s", file=sys.stderr
                )
    print(f"\n{table(found)}")


if __name__ == "__main__":
    main()
