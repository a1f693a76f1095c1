"""What Towpath needs on this machine, and whether it is there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline import embedded
from pipeline.errors import TowpathError
from pipeline.executors import isolation
from pipeline.signing import keys, signers

_MIN_FREE_BYTES = 5 * 1024**3


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `repair` is what to type if it is bad, else what to do with it."""

    what: str
    state: Literal["good", "bad", "note"]
    found: str
    repair: str | None = None


def examine(project: Path) -> list[Finding]:
    """Look at everything; nothing is changed."""
    return [_python(), _isolation(), _engine(), _git(), _registry(), _setpriv(), _disk(project), _key(), _embedded()]


def _python() -> Finding:
    return Finding("Python", "good", f"{sys.version.split()[0]} at {sys.executable}")


def _isolation() -> Finding:
    what = "isolation of stages"
    try:
        found = isolation.choose("best-effort", os.environ)
    except TowpathError as error:
        return Finding(what, "bad", error.message, error.hint)
    if found.sandbox:
        able = "" if found.sandbox.flags else ", of a version that lets them make namespaces of their own"
        return Finding(what, "good", f"each in a sandbox, by {found.sandbox.path}{able}")
    return Finding(what, "note", found.missing or "none", found.remedy)


def _engine() -> Finding:
    """Ask the engine itself: a client proves nothing. A process of its own, so that the client library need not be loaded here."""
    code = "import docker,sys; i=docker.from_env(timeout=5).version(); sys.stdout.write(i['Version']+' '+i['Arch'])"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=30, check=False)
    where = os.environ.get("DOCKER_HOST", "/var/run/docker.sock")
    if done.returncode == 0:
        return Finding("Docker Engine", "good", f"{done.stdout} at {where}")
    mend = "sudo apt-get install docker.io && sudo systemctl start docker"
    if "DOCKER_HOST" in os.environ:
        mend = "unset DOCKER_HOST   (or start the engine that it names)"
    return Finding("Docker Engine", "bad", f"none answers at {where}", mend)


def _git() -> Finding:
    found = shutil.which("git")
    if found:
        return Finding("git", "good", found)
    return Finding("git", "note", "not found: runs will not know their source commit", "sudo apt-get install git")


def _registry() -> Finding:
    found = shutil.which("docker-registry")
    if found:
        return Finding("registry of the embedded AWS", "good", found)
    return Finding(
        "registry of the embedded AWS",
        "note",
        "not found; only `aws: embedded` needs it",
        "sudo apt-get install docker-registry",
    )


def _setpriv() -> Finding:
    found = shutil.which("setpriv")
    if found:
        return Finding("stages end with their runner", "good", found)
    return Finding("stages end with their runner", "note", "setpriv is not found", "sudo apt-get install util-linux")


def _disk(project: Path) -> Finding:
    free = shutil.disk_usage(project).free
    text = f"{free / 1024**3:.1f} GiB free"
    return Finding(
        "disk",
        "good" if free >= _MIN_FREE_BYTES else "bad",
        text,
        None if free >= _MIN_FREE_BYTES else "docker system prune",
    )


def _key() -> Finding:
    what = "runner's key"
    try:
        path = Path(os.environ.get("TOWPATH_KEY") or keys.default_path(os.environ))
        if not path.exists() and not os.environ.get("TOWPATH_KEY"):
            return Finding(what, "note", f"none yet; the first run makes {path}")
        public = keys.load(path).public
    except TowpathError as error:
        return Finding(what, "bad", f"{error.where or ''}: {error.message}".removeprefix(": "), error.hint)
    enrol = f'for --trust FILE: builder,gate namespaces="{signers.NAMESPACE}" {public.line}'
    return Finding(what, "good", f"{public.fingerprint} at {path}", enrol)


def _embedded() -> Finding:
    try:
        answer = embedded.call("status", lambda _line: None)
    except TowpathError as error:
        return Finding("embedded AWS", "note", error.message.splitlines()[0], "towpath embedded start")
    running = answer.get("state") == "running"
    return Finding(
        "embedded AWS",
        "good" if running else "note",
        f"{answer.get('state')} {answer.get('endpoint_url') or ''}".strip(),
    )
