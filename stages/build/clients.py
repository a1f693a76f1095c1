"""The docker clients on this machine: what each can do is asked once, and again when its program or plugin has changed.

Asking takes 50 ms, as every client is started twice. What is kept (`clients.json` in the folder of the kind's cache) is a hint: it
counts only for the very files it was asked of, and is forgotten when a build fails.
"""

from __future__ import annotations

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.build.builders import Client, numbers
from stages.images import engine

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION = 1
KEPT = "clients.json"
PROBE_TIMEOUT_S = 20
_PLUGIN = "cli-plugins/docker-buildx"
_PLUGIN_FOLDERS = ("/usr/local/lib/docker", "/usr/local/libexec/docker", "/usr/lib/docker", "/usr/libexec/docker")
"""Where a client looks for plugins beside its configuration's folder.

https://github.com/docker/cli/blob/master/cli-plugins/manager/manager_unix.go
"""


def find(home: Path | None) -> list[Client]:
    """Give the clients on PATH, in its order. `home` is where answers are kept, None if nowhere."""
    paths = [Path(folder, "docker") for folder in os.get_exec_path()]
    different = {str(path.resolve()): str(path) for path in reversed(paths) if os.access(path, os.X_OK)}
    programs = list(reversed(different.values()))
    files = [list(each) for each in _files(programs)]
    kept = _read(home, files) if home else None
    if kept is not None:
        return kept
    found = _probe(programs)
    if home:
        _keep(home, files, found)
    return found


def forget(home: Path | None) -> None:
    """Ask anew the next time."""
    if home:
        (home / KEPT).unlink(missing_ok=True)


def _files(programs: list[str]) -> Iterator[tuple[str, int, int, int]]:
    """What the answers depend on: programs, plugins and configuration, each by size, inode and time."""
    own = os.environ.get("DOCKER_CONFIG") or str(Path.home() / ".docker")
    plugins = [f"{folder}/{_PLUGIN}" for folder in (own, *_PLUGIN_FOLDERS)]
    for path in (*programs, *plugins, f"{own}/config.json"):
        with suppress(OSError):
            about = Path(path).stat()
            yield path, about.st_size, about.st_ino, about.st_mtime_ns


def _read(home: Path, files: list[list[Any]]) -> list[Client] | None:
    try:
        document = json.loads((home / KEPT).read_bytes())
        if (document["v"], document["files"]) != (VERSION, files):
            return None
        return [
            Client(str(each["path"]), tuple(each["version"]), tuple(each["buildx"]) if each["buildx"] else None)
            for each in document["clients"]
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(home: Path, files: list[list[Any]], found: list[Client]) -> None:
    document = {"v": VERSION, "files": files, "clients": [asdict(each) for each in found]}
    aside = home / f"{KEPT}.{os.getpid()}"
    with suppress(OSError):  # it only saves time
        home.mkdir(parents=True, exist_ok=True)
        aside.write_text(json.dumps(document), encoding="utf-8")
        aside.replace(home / KEPT)


def _probe(programs: list[str]) -> list[Client]:
    """Ask them, all at the same time: each takes its time to start."""
    with ThreadPoolExecutor(2 * len(programs) or 1) as pool:
        asked = [
            (path, pool.submit(_ask, path, "--version"), pool.submit(_ask, path, "buildx", "version"))
            for path in programs
        ]
    found = [(path, version.result(), buildx.result()) for path, version, buildx in asked]
    return [
        Client(path, numbers(version), numbers(buildx) if buildx else None)
        for path, version, buildx in found
        if version
    ]


def _ask(*argv: str) -> str | None:
    """What a program says of itself, or None if it does not work."""
    environment = {**os.environ, "DOCKER_HOST": engine.host()}
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=PROBE_TIMEOUT_S,
            check=False,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
