"""Small DVC projects with a remote in a bucket, and clones of them."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bench.seaweedfs import SeaweedFS
from stages.lib.commands.check_remote import Contents, read_remote

BUCKET = "llmill"
# Two stages: one writes a directory and a file, the next reads them; a metric stays in git, as in the project's graph.
DVC_YAML = """\
stages:
  write:
    cmd: python write.py
    deps: [write.py]
    params: [files, lines]
    outs: [data/parts, data/all.txt]
  count:
    cmd: python count.py
    deps: [count.py, data/parts, data/all.txt]
    outs: [models/counted]
    metrics:
      - count.json: {cache: false}
"""
WRITE = """\
import pathlib, yaml
params = yaml.safe_load(open("params.yaml"))
count = params["files"]
parts = pathlib.Path("data/parts")
parts.mkdir(parents=True)
for i in range(count):
    (parts / f"{i:04}.txt").write_text(f"part {i}\\n" * params["lines"])
pathlib.Path("data/all.txt").write_text("".join(f"part {i}\\n" for i in range(count)))
"""
COUNT = """\
import json, pathlib
files = sorted(pathlib.Path("data/parts").iterdir())
counted = pathlib.Path("models/counted")
counted.mkdir(parents=True)
(counted / "names.txt").write_text("\\n".join(file.name for file in files))
(counted / "first.txt").write_bytes(files[0].read_bytes())
json.dump({"files": len(files)}, open("count.json", "w"))
"""


@dataclass
class Store:
    """A place of its own in the bucket of a server."""

    server: SeaweedFS
    prefix: str

    @property
    def url(self) -> str:
        """The remote's."""
        return f"s3://{BUCKET}/{self.prefix}"

    def contents(self) -> Contents:
        """All that lies there, read without DVC."""
        return read_remote(self.server.client(), BUCKET, f"{self.prefix}/", read=True)

    def key(self, name: str) -> str:
        """Of an object, by its hash."""
        return f"{self.prefix}/files/md5/{name[:2]}/{name[2:]}"


@dataclass
class Project:
    """A folder with git and DVC in it; `environment` is what its commands run with."""

    place: Path
    environment: dict[str, str] = field(repr=False)

    @contextmanager
    def started(self, *arguments: str, **more: str) -> "Iterator[subprocess.Popen[str]]":
        """A dvc process there, which ends with the block."""
        command, pipe = [sys.executable, "-m", "dvc", *arguments], subprocess.PIPE
        env = self.environment | more
        with subprocess.Popen(command, cwd=self.place, env=env, stdout=pipe, stderr=pipe, text=True) as process:
            try:
                yield process
            finally:
                process.kill()

    def tried(self, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
        """The same to its end, however it ends."""
        with self.started(*arguments, **more) as process:
            out, error = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, out, error)

    def dvc(self, *arguments: str, **more: str) -> str:
        """What it prints; it has to end well."""
        done = self.tried(*arguments, **more)
        assert done.returncode == 0, f"dvc {' '.join(arguments)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def git(self, *arguments: str) -> str:
        """The same of git."""
        done = subprocess.run(["git", *arguments], cwd=self.place, capture_output=True, text=True, check=True)
        return done.stdout

    def commit(self) -> None:
        """Everything that is not ignored."""
        self.git("add", "--all")
        self.git("-c", "user.name=a", "-c", "user.email=a@localhost", "commit", "--quiet", "--message", "a")

    def clone(self, place: Path) -> "Project":
        """Another checkout of what is committed, with an empty cache."""
        subprocess.run(["git", "clone", "--quiet", str(self.place), str(place)], check=True)
        return Project(place, dict(self.environment))

    def cached(self) -> dict[str, Path]:
        """The objects of its cache by their hash."""
        root = self.place / ".dvc/cache/files/md5"
        return {file.parent.name + file.name: file for file in root.glob("??/*")}

    def objects(self) -> dict[str, Path]:
        """Those that are pushed: what its dvc.lock names in data/ and models/; other runs' are in the cache too."""
        cached, found = self.cached(), {}
        for stage in yaml.safe_load((self.place / "dvc.lock").read_text())["stages"].values():
            for out in stage["outs"]:
                if out["path"].startswith(("data/", "models/")):
                    found[out["md5"]] = cached[out["md5"]]
                    if out["md5"].endswith(".dir"):
                        files = json.loads(cached[out["md5"]].read_text())
                        found |= {file["md5"]: cached[file["md5"]] for file in files}
        return found

    def files(self, *folders: str) -> dict[str, str]:
        """Hash by path, of the files in some of its folders."""
        return {
            file.relative_to(self.place).as_posix(): hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
            for folder in folders
            for file in sorted((self.place / folder).rglob("*"))
            if file.is_file()
        }


def environment(server: SeaweedFS) -> dict[str, str]:
    """Of a process: the server's credentials, and this Python first on PATH."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return server.environment() | {"PATH": path, "DVC_NO_ANALYTICS": "1"}


def write_config(place: Path, store: Store, **more: Any) -> None:
    """.dvc/config as docs/remote.md writes it: no credentials, as it goes into git."""
    options = {"url": store.url, "endpointurl": store.server.url, "verify": "true"} | more
    lines = ["[core]", "    analytics = false", "    remote = store", "['remote \"store\"']"]
    (place / ".dvc").mkdir(exist_ok=True)
    (place / ".dvc/config").write_text("\n".join([*lines, *(f"    {key} = {value}" for key, value in options.items())]))
    (place / ".dvc/.gitignore").write_text("/config.local\n/tmp\n/cache\n")


def small_project(place: Path, store: Store, files: int = 40, lines: int = 5) -> Project:
    """The project of DVC_YAML, run and committed."""
    place.mkdir(parents=True)
    project = Project(place, environment(store.server))
    project.git("init", "--quiet")
    write_config(place, store)
    for name, text in {"dvc.yaml": DVC_YAML, "write.py": WRITE, "count.py": COUNT}.items():
        (place / name).write_text(text)
    (place / "params.yaml").write_text(f"files: {files}\nlines: {lines}\n")
    (place / ".gitignore").write_text("/data/\n/models/\n")
    project.dvc("repro", "--quiet")
    project.commit()
    return project


def copied(project: Project, place: Path, store: Store) -> Project:
    """A copy of a project that was run, with another remote."""
    shutil.copytree(project.place, place, symlinks=True)
    write_config(place, store)
    other = Project(place, dict(project.environment))
    other.commit()
    return other
