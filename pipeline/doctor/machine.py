"""What this machine has: programs, an engine, disk, a clock, keys."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from pipeline import embedded
from pipeline.doctor import Check, Finding
from pipeline.errors import TowpathError
from pipeline.executors import isolation
from pipeline.signing import keys, signers

_MIN_FREE_BYTES = 5 * 1024**3
_PROGRAM_TIMEOUT_S = 25
_BUILDX = "sudo apt-get install docker-buildx   (docker-buildx-plugin where Docker's own packages are used)"


def checks(project: Path) -> list[Check]:
    """Everything that is looked at on any machine."""
    return [
        Check("Python", _python),
        Check("isolation of stages", lambda: [_isolation()]),
        Check("Docker Engine", lambda: _engine(project)),
        Check("credential helper", lambda: _helpers(os.environ)),
        Check("git", _git),
        Check("registry of the embedded AWS", _registry),
        Check("stages end with their runner", _setpriv),
        Check("clock", lambda: [_clock()]),
        Check("runner's key", lambda: [_key(), *_trust(os.environ)]),
        Check("approver's key", lambda: [_approver(os.environ)]),
        Check("embedded AWS", _embedded),
    ]


def _python() -> list[Finding]:
    return [Finding("Python", "good", f"{sys.version.split()[0]} at {sys.executable}")]


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


def _engine(project: Path) -> list[Finding]:
    """Ask the engine itself, by a program of ours: a client proves nothing."""
    argv = [sys.executable, "-I", "-m", "stages.build"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_PROGRAM_TIMEOUT_S, check=False)
    if done.returncode:
        where = os.environ.get("DOCKER_HOST", "/var/run/docker.sock")
        mend = "sudo apt-get install docker.io && sudo systemctl start docker"
        if "DOCKER_HOST" in os.environ:
            mend = "unset DOCKER_HOST   (or start the engine that it names)"
        elif Path(where).exists() and not os.access(where, os.W_OK):
            mend = "sudo usermod -aG docker $USER   (then log in anew)"
        return [Finding("Docker Engine", "bad", f"none answers at {where}", mend), _disk("disk", project)]
    told: dict[str, Any] = json.loads(done.stdout)
    engine = Finding("Docker Engine", "good", f"{told['engine']} {told['version']} {told['arch']} at {told['address']}")
    return [engine, _buildkit(told), *_disks(project, told)]


def _buildkit(told: dict[str, Any]) -> Finding:
    """What `builder: auto` takes: without BuildKit all works but secrets, ssh and caches in a build."""
    if told["buildkit"]:
        return Finding("BuildKit", "good", told["builder"].partition(", ")[2])
    found = f"{told['builder'].partition(', ')[2]}; secrets, ssh and caches in builds need BuildKit"
    return Finding("BuildKit", "note", found, _BUILDX)


def _disks(project: Path, told: dict[str, Any]) -> list[Finding]:
    root = Path(told.get("root") or "")
    ours = str(told["address"]).startswith("unix:") and root.is_dir()
    return [_disk("disk", project), *([_disk("disk of the engine", root)] if ours else [])]


def _helpers(variables: Any) -> list[Finding]:
    """The programs that the Docker configuration takes logins from. For ECR none is needed: Towpath asks for its tokens itself."""
    what = "credential helper"
    folder = Path(variables.get("DOCKER_CONFIG") or Path.home() / ".docker")
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        named = {str(name) for name in [config.get("credsStore"), *(config.get("credHelpers") or {}).values()] if name}
        plain = sorted(host for host, login in (config.get("auths") or {}).items() if login.get("auth"))
    except (OSError, ValueError, AttributeError) as error:
        return [
            Finding(what, "bad", f"{file} cannot be read: {error}", f"Correct {file}, or begin anew: docker login HOST")
        ]
    found = []
    for name in sorted(named):
        program = f"docker-credential-{name}"
        path = shutil.which(program)
        mend = None if path else f"Install {program}, or take it out of {file}"
        found.append(
            Finding(what, "good" if path else "bad", path or f"{file} names {program}, which is not found", mend)
        )
    if plain:
        hint = "Name a helper in `credsStore`: https://docs.docker.com/reference/cli/docker/login/#credential-stores"
        found.append(Finding(what, "note", f"{file} holds logins in the clear: {', '.join(plain)}", hint))
    return found or [Finding(what, "good", "none is named, and none is needed for Amazon ECR")]


def _git() -> list[Finding]:
    found = shutil.which("git")
    if found:
        return [Finding("git", "good", found)]
    return [Finding("git", "note", "not found: runs will not know their source commit", "sudo apt-get install git")]


def _registry() -> list[Finding]:
    found = shutil.which("docker-registry")
    if found:
        return [Finding("registry of the embedded AWS", "good", found)]
    return [
        Finding(
            "registry of the embedded AWS",
            "note",
            "not found; only `aws: embedded` needs it",
            "sudo apt-get install docker-registry",
        )
    ]


def _setpriv() -> list[Finding]:
    found = shutil.which("setpriv")
    if found:
        return [Finding("stages end with their runner", "good", found)]
    return [Finding("stages end with their runner", "note", "setpriv is not found", "sudo apt-get install util-linux")]


def _disk(what: str, folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    good = free >= _MIN_FREE_BYTES
    return Finding(
        what,
        "good" if good else "bad",
        f"{free / 1024**3:.1f} GiB free at {folder}",
        None if good else "docker system prune",
    )


def _clock() -> Finding:
    """Ask the kernel whether something keeps its clock in time, adjtimex(2)."""
    kept = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)) not in (
        -1,
        _TIME_ERROR,
    )
    if kept:
        return Finding("clock", "good", "kept in time")
    text = "nothing seems to keep this machine's clock in time; AWS refuses requests of a clock that is minutes off"
    return Finding("clock", "note", text, "sudo timedatectl set-ntp true")


_TIMEX_BYTES = 512  # struct timex has 208; modes, its first field, is 0: only look
_TIME_ERROR = 5


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


def _trust(variables: Any) -> list[Finding]:
    """Whether the runner's key is among those that count, where somebody says which do."""
    named = variables.get("TOWPATH_TRUST")
    if not named:
        return []
    what = "keys that count"
    try:
        trust = signers.load_trust(Path(named))
    except TowpathError as error:
        hint = error.hint or "Correct TOWPATH_TRUST, or leave it out: unset TOWPATH_TRUST"
        return [Finding(what, "bad", f"{named}: {error.message}", hint)]
    try:
        own = keys.load(Path(variables.get("TOWPATH_KEY") or keys.default_path(variables))).public
    except TowpathError as error:
        return [Finding(what, "bad", f"{named} cannot have the runner's own: {error.message}", error.hint)]
    if trust.key("builder", own.fingerprint):
        return [Finding(what, "good", f"{named}, the runner's own among them")]
    line = f"echo 'builder,gate namespaces=\"{signers.NAMESPACE}\" {own.line}' >>{named}"
    return [Finding(what, "bad", f"{named} does not have the runner's own, {own.fingerprint}", line)]


def _approver(variables: Any) -> Finding:
    """The SSH keys that somebody here could approve with: those of the agent, then those in ~/.ssh."""
    what = "approver's key"
    if shutil.which("ssh-keygen") is None:
        return Finding(what, "bad", "ssh-keygen is not found, and it signs", "sudo apt-get install openssh-client")
    lists = shutil.which("ssh-add") if variables.get("SSH_AUTH_SOCK") else None
    listed = subprocess.run([lists, "-L"], capture_output=True, text=True, timeout=10, check=False) if lists else None
    held = listed.stdout.splitlines() if listed and listed.returncode == 0 else []
    files = sorted(Path.home().glob(".ssh/id_*.pub"))
    if held or files:
        named = [*(f"{len(held)} in the agent" for _ in held[:1]), *map(str, files)]
        return Finding(what, "good", ", ".join(named))
    return Finding(
        what, "note", "none in an agent or in ~/.ssh; only whoever approves needs one", "ssh-keygen -t ed25519"
    )


def _embedded() -> list[Finding]:
    try:
        answer = embedded.call("status", lambda _line: None)
    except TowpathError as error:
        return [Finding("embedded AWS", "note", error.message.splitlines()[0], "towpath embedded start")]
    running = answer.get("state") == "running"
    return [
        Finding(
            "embedded AWS",
            "good" if running else "note",
            f"{answer.get('state')} {answer.get('endpoint_url') or ''}".strip(),
        )
    ]
