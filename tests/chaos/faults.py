"""A runner that dies where it is told to: the process that forks it, and the fault points it passes.

    python faults.py < orders > answers

Each line on standard input is an order, one JSON object; a command is forked off, with all of Towpath imported already, as
a process, session and process group of its own. The answers are its process id, and how it ended. Only the product's
borders are wrapped: the store's writes, the executor, the signing program, and where the embedded AWS is asked for.

A fault point has a name such as `before runs/RUN/build.1 chain.opened` and a number if it is passed more than once. What was
passed is written to a file before anything else happens, so it can be read after `kill -9`.
"""

from __future__ import annotations

import base64
import importlib
import json
import os
import re
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.executors import Job

MODULES = (
    *(
        "pipeline.cli.main",
        "pipeline.cli.opening",
        "pipeline.cli.run",
        "pipeline.cli.approve",
        "pipeline.cli.look",
        "pipeline.cli.audit",
    ),
    *("pipeline.cli.progress", "pipeline.cli.report", "pipeline.engine", "pipeline.checks", "pipeline.source"),
    *("pipeline.definition", "pipeline.compiling", "pipeline.executors.process", "pipeline.record.store.directory"),
    *("pipeline.gates.sshsig", "pipeline.signing.keys", "pipeline.signing.signers", "pipeline.audit.verify"),
    *("pipeline.audit.telling", "pipeline.embedded"),
)
RUN_ID = re.compile(r"\d{8}-\d{6}-[0-9a-z]{4}")


class Points:
    """The fault points of one process, in the order in which it passes them."""

    def __init__(self, journal: Path, kill_at: str | None, kill_after: int | None) -> None:
        self._journal = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._kill_at, self._kill_after = kill_at, kill_after
        self._passed: Counter[str] = Counter()
        self._lock = threading.Lock()

    def reach(self, what: str, **more: Any) -> None:
        """Pass a point, or die there."""
        with self._lock:
            self._passed[what] += 1
            name = what if self._passed[what] == 1 else f"{what} #{self._passed[what]}"
            os.write(self._journal, json.dumps({"point": name, **more}).encode() + b"\n")
            if name == self._kill_at or self._passed.total() == self._kill_after:
                os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(60)  # the kernel is on its way


def wrap(points: Points, endpoint_url: str | None, *, orphans: bool) -> None:
    """Put fault points at the runner's borders. With `orphans` a stage's process outlives its runner."""
    from pipeline import embedded
    from pipeline.executors import process
    from pipeline.gates import sshsig
    from pipeline.record.store.directory import DirectoryStore

    put_new, write_aside = DirectoryStore.put_new, DirectoryStore._write_aside
    submit, watch, sign = process.ProcessExecutor.submit, process.ProcessExecutor.watch, sshsig.sign
    writing = threading.local()

    def put_new_between(self: DirectoryStore, key: str, data: bytes | Path) -> bool:
        writing.what = named(key, data)
        points.reach(f"before {writing.what}")
        new = put_new(self, key, data)
        points.reach(f"after {writing.what}", key=key, new=new)
        return new

    def write_aside_then(self: DirectoryStore, data: bytes | Path) -> Path:
        path = write_aside(self, data)
        points.reach(f"within {writing.what}")
        return path

    def submit_between(self: process.ProcessExecutor, job: Job) -> None:
        points.reach(f"before starting {RUN_ID.sub('RUN', job.handle)}")
        submit(self, job)
        points.reach(f"after starting {RUN_ID.sub('RUN', job.handle)}")

    def watch_then(self: process.ProcessExecutor, handle: str, *arguments: Any) -> Any:
        ended = watch(self, handle, *arguments)
        points.reach(f"after the end of {RUN_ID.sub('RUN', handle)}")
        return ended

    def sign_between(*arguments: Any) -> str:
        points.reach("before ssh-keygen")
        signature = sign(*arguments)
        points.reach("after ssh-keygen")
        return signature

    def endpoint(_on_progress: Any) -> str:
        points.reach("before asking for the embedded AWS")
        assert endpoint_url
        points.reach("after asking for the embedded AWS")
        return endpoint_url

    DirectoryStore.put_new = put_new_between  # type: ignore[method-assign]
    DirectoryStore._write_aside = write_aside_then  # type: ignore[method-assign]
    process.ProcessExecutor.submit = submit_between  # type: ignore[method-assign]
    process.ProcessExecutor.watch = watch_then  # type: ignore[assignment,method-assign]
    sshsig.sign = sign_between  # type: ignore[assignment]
    embedded.endpoint = endpoint  # type: ignore[assignment]
    if orphans:
        process._dies_with_us = list


def named(key: str, data: bytes | Path) -> str:
    """What a write is, the same in every run."""
    folder, _, name = RUN_ID.sub("RUN", key).rpartition("/")
    if folder.startswith("blobs/"):
        return "a blob"
    if folder.startswith("inbox/"):
        return f"{folder} a decision"
    if name.endswith(".json") and name[0].isdigit() and isinstance(data, bytes):
        event = json.loads(data)
        if "payload" in event:  # signed, as in ledgers
            event = json.loads(base64.b64decode(event["payload"]))
        phase = event["data"].get("phase")
        return f"{folder} {event['type']}{f' of {phase}' if phase else ''}"
    return f"{folder} {name}".strip()


def command(order: dict[str, Any]) -> None:
    """Be the command that was ordered; never returns."""
    os.setsid()
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["variables"])
    if order["orphans"]:
        os.environ["TOWPATH_ISOLATION"] = "none"  # nothing in a sandbox lives on
    for number, name in ((0, os.devnull), (1, order["out"]), (2, order["err"])):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        descriptor = os.open(name, flags, 0o600)
        os.dup2(descriptor, number)
        os.close(descriptor)
    points = Points(Path(order["journal"]), order["kill_at"], order["kill_after"])
    wrap(points, order["endpoint_url"], orphans=order["orphans"])
    sys.argv = ["towpath", *order["argv"]]
    from pipeline.cli.main import main

    status = 0
    try:
        main()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def serve() -> None:
    for module in MODULES:
        importlib.import_module(module)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    for line in iter(sys.stdin.readline, ""):
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            command(order)
        print(json.dumps({"pid": pid}), file=answers)
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"status": os.waitstatus_to_exitcode(status)}), file=answers)


if __name__ == "__main__":
    serve()
