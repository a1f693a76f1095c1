"""A sandbox by bubblewrap: what a job sees of this machine, and how one is tried.

It hides all files but a read-only toolchain, the job's work directory and its `Sight`; all other processes; and the network, unless
it is in sight. It takes away every capability and any means to get one. It does not hide the kernel.

https://github.com/containers/bubblewrap
"""

from __future__ import annotations

import json
import os
import pwd
import secrets
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import stages.limits
from pipeline.executors import WRITABLE, rlimits
from pipeline.executors.mounts import Mount, arguments

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pipeline.executors import Job

INIT = Path(__file__).with_name("init.py")
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store")
CONFIGURATION = (
    *("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "timezone", "locale.conf"),
    *("passwd", "group", "nsswitch.conf", "hosts", "host.conf", "resolv.conf", "gai.conf", "services", "protocols"),
    *("ssl/certs", "ssl/cert.pem", "ssl/openssl.cnf", "pki/tls/certs", "pki/tls/cert.pem", "pki/tls/openssl.cnf"),
    *("pki/ca-trust", "crypto-policies", "docker/certs.d", "mime.types", "fonts"),
)
"""Of /etc, what programs need to run, to find names and to trust servers. Nothing that holds a secret."""

_NAMESPACES = ("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")
_ALWAYS = ("--die-with-parent", "--as-pid-1", "--cap-drop", "ALL", "--proc", "/proc", "--dev", "/dev")
_VARIANTS: tuple[tuple[str, ...], ...] = (("--disable-userns",), ())
"""Best first. Older versions cannot keep a job from making namespaces of its own."""
_PROBE_S = 10.0


@dataclass(frozen=True)
class Bubblewrap:
    """A program that works here, and what it is called with beside the rest."""

    path: str
    flags: tuple[str, ...] = ()

    def argv(self, job: Job, hidden: Iterable[Path], control: int, info: int) -> list[str]:
        """Give the command that runs a job. `control` leads to its first process, see `init`; `info` tells its process id."""
        network = () if job.sight.network else ("--unshare-net",)
        prepare(job)
        mounted = arguments(mounts(job, hidden, _toolchain(job.variables)))
        told = ("--info-fd", str(info), "--chdir", str(job.folder))
        first = (sys.executable, "-I", "-S", str(INIT), str(control), rlimits.written(rlimits.inside(job.timeout_s)))
        return [self.path, *_NAMESPACES, *network, *_ALWAYS, *self.flags, *mounted, *told, "--", *first, *job.argv]


def prepare(job: Job) -> None:
    """Make the folders that stand for those of this machine."""
    scratch = job.work / "tmp"
    if scratch.is_dir() and _home(job):
        (scratch / ".home").mkdir(exist_ok=True)


def _home(job: Job) -> str | None:
    """The user's own home, where a job knows it: it gets an empty one in its place."""
    home = job.variables.get("HOME", "")
    return home if home.startswith("/") and home != "/" and Path(home) != job.work else None


def mounts(job: Job, hidden: Iterable[Path], toolchain: Iterable[str]) -> Iterator[Mount]:
    """What a job has of this machine's files."""
    yield from (Mount(each, "hidden") for each in _homes())
    yield from _scratch(job)
    for each in toolchain:
        yield Mount(each, "read", lasting=True)
    for path in job.sight.read:
        yield Mount(str(path), "read")
    for path in (*job.sight.hidden, *hidden):
        yield Mount(str(path), "hidden")
    for path in job.sight.write:
        yield Mount(str(path), "write")
    yield Mount(str(job.work), "write")
    for entry in sorted(os.scandir(job.work), key=lambda entry: entry.name):
        if entry.name not in WRITABLE:
            yield Mount(entry.path, "read")


def _homes() -> set[str]:
    """Our own homes: a service's may be in a folder of the system, such as /opt."""
    with suppress(KeyError):
        named = {os.environ.get("HOME", ""), pwd.getpwuid(os.geteuid()).pw_dir}
        return {
            each for each in named if each.startswith("/") and not any(Path(of).is_relative_to(each) for of in SYSTEM)
        }
    return set()


def _scratch(job: Job) -> Iterator[Mount]:
    scratch, home = job.work / "tmp", _home(job)
    for path in ("/tmp", "/var/tmp"):  # noqa: S108 - these are the job's own
        yield Mount(path, "scratch", str(scratch if scratch.is_dir() else job.work))
    if home and (scratch / ".home").is_dir():
        yield Mount(home, "scratch", str(scratch / ".home"))


def _toolchain(variables: Mapping[str, str]) -> Iterator[str]:
    """Where programs are: the system's, those on PATH, the Python that runs us, and what of us a stage needs."""
    yield from SYSTEM
    yield from (f"/etc/{each}" for each in CONFIGURATION)
    home = Path(os.environ.get("HOME") or "/")
    for each in variables.get("PATH", "").split(":"):
        if each.startswith("/") and not home.is_relative_to(os.path.realpath(each)):
            yield from _around(each)
    yield from (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix)
    yield from (sys.executable, str(Path(stages.limits.__file__).parent), str(INIT))


def _around(folder: str) -> Iterator[str]:
    """A folder of programs, and what they need beside it: of a version manager all, of a prefix such as ~/.local its libraries."""
    yield folder
    if Path(folder).name == "shims":
        yield str(Path(folder).parent)
    if Path(folder).name in ("bin", "sbin"):
        yield from (str(Path(folder).parent / each) for each in ("lib", "lib64", "libexec"))


def find(variables: Mapping[str, str]) -> Bubblewrap | str:
    """Give a bubblewrap that works here, or why there is none. It is tried once; what worked is remembered for this machine and user."""
    found = shutil.which("bwrap", path=variables.get("PATH"))
    if found is None:
        return "bubblewrap is not installed"
    memory = _memory(variables)
    key = _key(found)
    known = _remembered(memory, key)
    if known is not None:
        return Bubblewrap(found, _VARIANTS[known])
    said = ""
    for number, flags in enumerate(_VARIANTS):
        said = _try(found, flags)
        if not said:
            _remember(memory, key, number)
            return Bubblewrap(found, flags)
    return f"bubblewrap does not work here: {said}"


def forget(variables: Mapping[str, str]) -> None:
    """Have it tried again next time."""
    with suppress(OSError):
        _memory(variables).unlink(missing_ok=True)


def _try(path: str, flags: tuple[str, ...]) -> str:
    """Give what is wrong with a sandbox that has all that one can have; nothing if nothing is."""
    mounted = arguments([*(Mount(each, "read") for each in SYSTEM), Mount("/etc/passwd", "read")])
    argv = [path, *_NAMESPACES, "--unshare-net", *_ALWAYS, *flags, *mounted, "--", shutil.which("true") or "/bin/true"]
    try:
        done = subprocess.run(
            argv, capture_output=True, stdin=subprocess.DEVNULL, timeout=_PROBE_S, check=False, env={}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = done.stderr.decode(errors="replace").strip().splitlines()
    last = said[-1].removeprefix("bwrap: ").partition(". See ")[0] if said else f"it ended with {done.returncode}"
    return last if done.returncode else ""


def _memory(variables: Mapping[str, str]) -> Path:
    cache = variables.get("XDG_CACHE_HOME", "")
    home = Path(variables.get("HOME") or "/")
    return (Path(cache) if cache.startswith("/") else home / ".cache") / "towpath" / "bubblewrap.json"


def _key(path: str) -> list[Any]:
    """What must be as it was for an earlier trial to count: the program, the kernel, the boot, the user, and our own arguments."""
    about = Path(path).stat()
    kernel = os.uname()
    namespaces = [str(Path(f"/proc/self/ns/{each}").readlink()) for each in ("user", "mnt")]
    asked = [*_NAMESPACES, *_ALWAYS]
    return [
        path,
        about.st_mtime_ns,
        about.st_size,
        about.st_mode,
        kernel.release,
        kernel.version,
        os.geteuid(),
        namespaces,
        asked,
    ]


def _remembered(memory: Path, key: list[Any]) -> int | None:
    with suppress(OSError, ValueError, AttributeError):
        told = json.loads(memory.read_bytes())
        if told.get("key") == key and told.get("variant") in range(len(_VARIANTS)):
            return int(told["variant"])
    return None


def _remember(memory: Path, key: list[Any], variant: int) -> None:
    with suppress(OSError):  # then it is tried again next time
        memory.parent.mkdir(parents=True, exist_ok=True)
        aside = memory.with_name(f".{memory.name}.{secrets.token_hex(4)}")
        aside.write_text(json.dumps({"key": key, "variant": variant}), encoding="utf-8")
        aside.replace(memory)
