"""A program of a stage that tries what a malicious dependency would, and writes down what it got.

    python hostile.py NOTES < nothing

NOTES is JSON: where the things are that it must not reach. Each attempt is a function; what it gives, or the error that it met,
is in `$TOWPATH_OUTPUTS/tried/tried.json` under its name.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

NOTES = json.loads(sys.argv[1])
INPUTS, OUTPUTS = Path(os.environ["TOWPATH_INPUTS"]), Path(os.environ["TOWPATH_OUTPUTS"])
WORK = OUTPUTS.parent
CLONE_NEWUSER = 0x10000000


def reads_a_secret() -> str:
    return Path(NOTES["secret"]).read_text()


def reads_an_ssh_key() -> str:
    return (Path(NOTES["home"]) / ".ssh/id_ed25519").read_text()


def reads_the_runners_key() -> str:
    return Path(NOTES["key"]).read_text()


def lists_the_record() -> list[str]:
    return sorted(each.name for each in Path(NOTES["store"]).iterdir())


def lists_other_work() -> list[str]:
    return [each.name for each in WORK.parent.iterdir() if each.name != WORK.name]


def reads_shadow() -> int:
    return len(Path("/etc/shadow").read_text())


def finds_the_runners_variables() -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                text = (entry / "environ").read_bytes()
            except OSError:
                continue
            found += [entry.name] if b"THE_RUNNERS_OWN=" in text else []
    return found


def reads_its_parents_variables() -> str:
    text = Path(f"/proc/{os.getppid()}/environ").read_bytes()
    return "found" if b"THE_RUNNERS_OWN=" in text else ""


def signals_another() -> str:
    os.kill(NOTES["victim"], 0)
    return "reached"


def counts_processes() -> int:
    return sum(each.name.isdecimal() for each in Path("/proc").iterdir())


def reaches_the_engine() -> str:
    with socket.socket(socket.AF_UNIX) as engine:
        engine.connect("/var/run/docker.sock")
    return "connected"


def reaches_by_tcp() -> str:
    with socket.create_connection(("127.0.0.1", NOTES["tcp"]), timeout=3) as there:
        return there.recv(10).decode()


def reaches_by_udp() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        there.settimeout(1)
        there.sendto(b"x", ("127.0.0.1", NOTES["udp"]))
        return there.recv(10).decode()


def reaches_an_abstract_socket() -> str:
    with socket.socket(socket.AF_UNIX) as there:
        there.connect("\0" + NOTES["abstract"])
    return "connected"


def writes_its_request() -> str:
    (WORK / "request.json").write_text("{}")
    return "written"


def replaces_its_request() -> str:
    (WORK / "request.json").unlink()
    return "removed"


def writes_its_inputs() -> str:
    for path in (INPUTS / "given", INPUTS / "given/file"):
        path.chmod(0o777)
    (INPUTS / "given/file").write_text("changed")
    return "written"


def writes_the_source() -> str:
    (Path.cwd() / "pipeline.yaml").write_text("changed")
    return "written"


def writes_the_system() -> str:
    Path("/usr/bin/towpath-was-here").touch()
    return "written"


def writes_at_the_top() -> str:
    Path("/towpath-was-here").touch()
    return "written"


def unlocks_itself() -> str:
    (WORK / "lock").unlink()
    return "removed"


def gets_a_namespace() -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER):
        raise OSError(ctypes.get_errno(), "unshare")
    return "made"


def mounts() -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", str(OUTPUTS).encode(), b"tmpfs", 0, None):
        raise OSError(ctypes.get_errno(), "mount")
    return "mounted"


def says_what_it_may() -> dict[str, str]:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {name: lines[name].strip() for name in ("NoNewPrivs", "CapEff", "CapBnd", "NSpid")}


def multiplies() -> int:
    """Have as many threads, which the kernel counts as it does processes, as one is let."""
    threading.stack_size(65_536)
    over = threading.Event()
    count = 0
    try:
        while count < NOTES["threads"]:
            threading.Thread(target=over.wait, daemon=True).start()
            count += 1
    except RuntimeError as error:
        raise BlockingIOError(str(error)) from error
    finally:
        over.set()
    return count


def leaves_somebody_behind() -> str:
    """In a session of its own, with no variable and no descriptor of ours."""
    subprocess.Popen(
        ["setsid", "env", "-i", "/bin/sleep", NOTES["seconds"]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return "left"


def main() -> None:
    tried = {}
    for name, attempt in list(globals().items()):
        if callable(attempt) and getattr(attempt, "__module__", "") == "__main__" and name != "main":
            try:
                tried[name] = {"got": attempt()}
            except (OSError, subprocess.SubprocessError) as error:
                tried[name] = {"met": type(error).__name__}
    (OUTPUTS / "tried").mkdir()
    (OUTPUTS / "tried/tried.json").write_text(json.dumps(tried))


main()
