"""Write chains: one writer each. The writer that put the first event owns the chain."""

from __future__ import annotations

import os
import secrets
import socket
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pipeline
from pipeline.errors import VerificationFailed
from pipeline.record import chain, digest, seals
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.record.store import Store
    from pipeline.signing.keys import Key


def event_key(name: str, seq: int) -> str:
    """Give the key of one event of a chain."""
    return f"{name}/{seq:08d}.json"


def segment_key(name: str, number: int) -> str:
    """Give the key of one segment of a log."""
    return f"{name}/{number:06d}.jsonl"


@cache
def pid_namespace() -> str:
    """Give what tells apart processes of equal number, in containers of one machine."""
    return str(Path("/proc/self/ns/pid").readlink())


@cache
def boot_id() -> str:
    """Give what identifies this machine since it was started."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def process_started(pid: int) -> str | None:
    """Give when a process was started, in the kernel's ticks since boot, or None if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return stat.rpartition(")")[2].split()[19]


def writer_identity() -> dict[str, Any]:
    """Say who writes: enough for another runner to tell whether this one still lives."""
    return {
        "nonce": secrets.token_hex(8),
        "host": socket.gethostname(),
        "boot": boot_id(),
        "pid_namespace": pid_namespace(),
        "pid": os.getpid(),
        "started": process_started(os.getpid()),
        "version": pipeline.__version__,
    }


class ChainWriter:
    """Append events to one chain, each durable before `append` returns.

    The chain says whose it is: its first event names `key`, which seals it when it is closed. Without a key it stays unsealed.
    """

    def __init__(self, store: Store, name: str, key: Key | None) -> None:
        self.name = name
        self._key = key
        self._store = store
        self._seq = 0
        self._prev: str | None = None

    @property
    def head(self) -> chain.Head:
        """Where the chain ends now. Only once it is opened."""
        assert self._prev is not None  # noqa: S101 - a chain without events has no head, and no caller asks for one
        return chain.Head(self.name, self._prev, self._seq)

    def open(self, data: dict[str, Any]) -> bool:
        """Put the first event; False if another writer has it. This is how an attempt is claimed."""
        writer = {**writer_identity(), "key": self._key.public.line if self._key else None}
        return self._put(chain.CHAIN_OPENED, {"chain": self.name, "writer": writer, **data})

    def append(self, kind: str, data: dict[str, Any]) -> None:
        """Put the next event. Raises VerificationFailed if someone else wrote to our chain."""
        if not self._put(kind, data):
            raise VerificationFailed(f"{self.name}: someone else wrote event {self._seq} of a chain that is ours")

    def close(self, data: dict[str, Any]) -> None:
        """Put the last event, then the seal. A writer killed between the two leaves a chain without seal: nobody seals for it."""
        self.append(chain.CHAIN_CLOSED, data)
        if self._key:
            seals.put(self._store, self.head, self._key)

    def _put(self, kind: str, data: dict[str, Any]) -> bool:
        line = chain.encode(self._seq, self._prev, kind, data)
        key = event_key(self.name, self._seq)
        if (
            not self._store.put_new(key, line) and self._store.read(key) != line
        ):  # a lost response looks like a taken key
            return False
        self._seq, self._prev = self._seq + 1, digest.of_bytes(line)
        return True


class LogWriter:
    """Write a log: a chain whose events are kept in segments of `LIMITS.log_segment_bytes` or `_s`."""

    def __init__(self, store: Store, name: str, opening: str) -> None:
        self.name = name
        self._store = store
        self._lines: list[bytes] = []
        self._size_bytes = 0
        self._segment = 0
        self._seq = 0
        self._prev: str | None = None
        self._since = time.monotonic()
        self._add(chain.CHAIN_OPENED, {"chain": name, "opening": opening})

    @property
    def head(self) -> chain.Head:
        """Where the log ends now."""
        assert self._prev is not None  # noqa: S101 - the first line is written on creation
        return chain.Head(self.name, self._prev, self._seq)

    def line(self, data: dict[str, Any]) -> None:
        """Add a line; it is durable once its segment is stored."""
        self._add(chain.LOG_LINE, data)
        self.flush_if_due()

    def flush_if_due(self) -> None:
        """Store what is not stored yet, if there is enough of it or it has waited long enough."""
        if self._size_bytes >= LIMITS.log_segment_bytes or time.monotonic() - self._since >= LIMITS.log_segment_s:
            self.flush()

    def flush(self) -> None:
        """Store what is not stored yet as a segment."""
        if self._lines and not self._store.put_new(
            segment_key(self.name, self._segment), b"\n".join(self._lines) + b"\n"
        ):
            raise VerificationFailed(f"{self.name}: someone else wrote segment {self._segment} of a log that is ours")
        self._segment += bool(self._lines)
        self._lines, self._size_bytes, self._since = [], 0, time.monotonic()

    def _add(self, kind: str, data: dict[str, Any]) -> None:
        line = chain.encode(self._seq, self._prev, kind, data)
        self._lines.append(line)
        self._size_bytes += len(line)
        self._seq, self._prev = self._seq + 1, digest.of_bytes(line)


def read_chain(store: Store, name: str) -> list[chain.Event]:
    """Read a chain of single events from the store and check it. Raises VerificationFailed."""
    keys = [key for key in store.names(name) if key.endswith(".json") and key != seals.NAME]
    for seq, key in enumerate(keys):
        if key != event_key(name, seq).rpartition("/")[2]:
            raise VerificationFailed(f"{name}: event {seq} is missing, and {key} is there")
    return chain.verify((data or b"" for data in store.read_each(f"{name}/{key}" for key in keys)), name)


class LogReader:
    """Read a log that is still being written: each call of `new` gives the lines since the last one, checked."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._name = name
        self._segment = 0
        self._last: chain.Event | None = None

    def new(self) -> list[chain.Event]:
        """Give the events of the segments stored meanwhile. Raises VerificationFailed."""
        events: list[chain.Event] = []
        while (data := self._store.read(segment_key(self._name, self._segment))) is not None:
            for line in data.removesuffix(b"\n").split(b"\n"):
                event = chain.decode(line, self._name)
                chain.check_link(event, self._last.seq + 1 if self._last else 0, self._last, self._name)
                self._last = event
                events.append(event)
            self._segment += 1
        return events


def read_log(store: Store, name: str) -> list[chain.Event]:
    """Read a log with all its segments and check it. Raises VerificationFailed."""
    return list(follow_log(store, name))


def follow_log(store: Store, name: str) -> Iterator[chain.Event]:
    """Do the same line by line, for a log of millions: each is given once it is checked, and none is kept."""
    return chain.verified(_log_lines(store, name), name)


def _log_lines(store: Store, name: str) -> Iterator[bytes]:
    keys = store.names(name)
    for number, key in enumerate(keys):
        if key != segment_key(name, number).rpartition("/")[2]:
            raise VerificationFailed(f"{name}: segment {number} is missing, and {key} is there")
    for data in store.read_each(f"{name}/{key}" for key in keys):
        yield from (data or b"").removesuffix(b"\n").split(b"\n")
