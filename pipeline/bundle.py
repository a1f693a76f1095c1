"""Bundles: runs in one file, with all that they need of their store. Format version 1 (docs/reference/record.md).

A bundle is a plain tar file. Its first member, `bundle.json`, says what it is and how many objects follow; each of them is a
member under its key, in order of the keys, without times, owners and modes. So equal records give equal bytes.

    write    what runs need, into a file
    read     a file into an index of its objects; nothing is unpacked
    admit    hold what a bundle has against a store: whether both together verify
    add      put what is new into the store

Import is a union. A key that both have must have equal bytes in both: objects are written once, so one of them was changed, or
two machines went on with the same run apart from one another.
"""

from __future__ import annotations

import graphlib
import io
import json
import os
import re
import tarfile
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.audit import verify
from pipeline.errors import UsageError, VerificationFailed
from pipeline.gates import order
from pipeline.record import artifacts, digest, identities, ledger, ledgers, prunes, reach, runs, waiting
from pipeline.record.store import StoreError
from pipeline.record.writer import event_key
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import BinaryIO

    from pipeline.audit.run import Report
    from pipeline.gates.order import Opened
    from pipeline.record.ledger import Deployment
    from pipeline.record.store import Store
    from pipeline.signing.signers import Trust

FORMAT = "towpath-bundle"
VERSION = 1
ABOUT = "bundle.json"

_RUN = "[0-9]{8}-[0-9]{6}-[0-9a-z]{4}"
_KEY = re.compile(
    r"format\.json"
    r"|blobs/sha256/(?P<start>[0-9a-f]{2})/(?P=start)[0-9a-f]{62}"
    rf"|runs/{_RUN}/[A-Za-z0-9_-]{{1,64}}(\.[1-9][0-9]{{0,8}})?/([0-9]{{8}}\.json|seal\.json|log/[0-9]{{6}}\.jsonl)"
    r"|ledgers/[A-Za-z0-9.-]{1,250}/[0-9]{8}\.json"
    rf"|prunes/{_RUN}\.json"
    r"|identities/[0-9a-f]{64}\.json"
    rf"|inbox/{_RUN}/[A-Za-z0-9_-]{{1,64}}/[A-Za-z0-9_-][A-Za-z0-9._-]{{0,199}}"
)
"""What may stand in a bundle: the layout of a store, and nothing else of it."""
_TRIES = 10
_AT_ONCE_BYTES = 16 * 1024**2
"""A larger object goes through a file."""
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Written:
    """What a bundle was made of. `runs` are also those that were added, as the others cannot be judged without them."""

    runs: list[str]
    objects: int
    size_bytes: int


@dataclass(frozen=True)
class Member:
    """Where an object's bytes are in the file."""

    offset: int
    size: int


class _ReadOnly:
    """What of a store a bundle cannot do."""

    local = False

    def put_new(self, key: str, data: bytes | Path) -> bool:
        """Nothing can be put into a bundle that is there."""
        del data
        raise StoreError(f"{key}: a bundle cannot be written to", where=key)

    def read(self, key: str) -> bytes | None:
        """Give an object's bytes."""
        raise NotImplementedError

    def read_each(self, keys: Iterable[str]) -> Iterator[bytes | None]:
        """Give the bytes of one object after another."""
        return map(self.read, keys)

    def now(self) -> float:
        """Give the time of this machine: a bundle is nobody's clock."""
        return time.time()

    def rewritten(self, prefix: str) -> None:
        """A bundle keeps no versions."""
        del prefix

    def remove(self, key: str, before: float) -> bool:
        """Nothing can be removed from it either."""
        del before
        raise StoreError(f"{key}: a bundle cannot be written to", where=key)


@dataclass
class Bundle(_ReadOnly):
    """An opened bundle: a store that can only be read, see `pipeline.record.store`."""

    file: BinaryIO
    location: str
    members: dict[str, Member]

    def __post_init__(self) -> None:
        self.folders: dict[str, set[str]] = {}
        for key in self.members:
            parts = key.split("/")
            for depth in range(len(parts)):
                self.folders.setdefault("/".join(parts[:depth]), set()).add(parts[depth])

    @property
    def runs(self) -> list[str]:
        """The runs of which the bundle has an object."""
        return [name for name in self.names("runs") if runs.is_id(name)]

    def read(self, key: str) -> bytes | None:
        """Give an object's bytes."""
        member = self.members.get(key)
        return os.pread(self.file.fileno(), member.size, member.offset) if member else None

    def open(self, key: str) -> BinaryIO | None:
        """Open an object for reading."""
        member = self.members.get(key)
        return io.BufferedReader(_Window(self.file.fileno(), member), _CHUNK_BYTES) if member else None

    def names(self, prefix: str) -> list[str]:
        """Give the names directly below `prefix`."""
        return sorted(self.folders.get(prefix, ()))

    def walk(self, prefix: str) -> list[str]:
        """Give the keys of all objects below `prefix`."""
        return sorted(key for key in self.members if key.startswith(f"{prefix}/" if prefix else ""))

    def written_at(self, key: str) -> float | None:
        """No time: a bundle is nobody's clock."""
        del key
        return None


class _Window(io.RawIOBase):
    """A part of a file, read by place, so that several may be read at a time."""

    def __init__(self, descriptor: int, member: Member) -> None:
        super().__init__()
        self._descriptor, self._member, self._at = descriptor, member, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._member.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), max(0, self._member.size - self._at))
        data = os.pread(self._descriptor, wanted, self._member.offset + self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class _Union(_ReadOnly):
    """What a store would hold with a bundle in it."""

    def __init__(self, bundle: Bundle, store: Store) -> None:
        self.bundle, self.store, self.location = bundle, store, store.location

    def read(self, key: str) -> bytes | None:
        found = self.bundle.read(key)
        return self.store.read(key) if found is None else found

    def open(self, key: str) -> BinaryIO | None:
        return self.bundle.open(key) or self.store.open(key)

    def names(self, prefix: str) -> list[str]:
        return sorted({*self.bundle.names(prefix), *self.store.names(prefix)})

    def walk(self, prefix: str) -> list[str]:
        return sorted({*self.bundle.walk(prefix), *self.store.walk(prefix)})

    def written_at(self, key: str) -> float | None:
        return self.store.written_at(key)


# Export


def write(store: Store, run_ids: Iterable[str], path: Path) -> Written:
    """Write a bundle of these runs; the file is there as a whole or not at all. Raises StoreError, VerificationFailed."""
    wanted, keys = needed(store, run_ids)
    about = {"format": FORMAT, "v": VERSION, "runs": wanted, "objects": len(keys)}
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as aside:
            try:
                with tarfile.open(fileobj=aside, mode="w", format=tarfile.PAX_FORMAT) as tar:
                    data = digest.canonical(about)
                    tar.addfile(_header(ABOUT, len(data)), io.BytesIO(data))
                    for key in keys:
                        _copy_in(store, key, tar)
                aside.flush()
                os.fsync(aside.fileno())
                size_bytes = aside.tell()
                Path(aside.name).replace(path)
            except BaseException:
                Path(aside.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
    return Written(wanted, len(keys), size_bytes)


def needed(store: Store, run_ids: Iterable[str]) -> tuple[list[str], list[str]]:
    """Give these runs with those that they need to be judged, and the keys of all that they need. A run may be under way."""
    found: dict[str, reach.Reach] = {}
    waiting = list(run_ids)
    while waiting:
        run_id = waiting.pop()
        if run_id not in found:
            found[run_id] = reach.of_run(store, run_id)
            _, others = reach.in_ledgers(store, found[run_id])
            others |= found[run_id].inherits | _placed(store, found[run_id])
            waiting += [each for each in others if store.names(f"runs/{each}")]
    keys = set(_settled(store, found.values()))
    for run_id, reached in found.items():
        keys |= _contents(store, reach.of_run(store, run_id))  # anew: what was written meanwhile may name more
        identity = reached.opened.data.get("identity")
        keys |= {identities.key_of(identity)} if identity and identities.named(store, identity) == run_id else set()
    strange = [key for key in keys if not _KEY.fullmatch(key) and not key.startswith("inbox/")]
    if strange:
        raise VerificationFailed(f"{min(strange)} has no place in a record", where=min(strange))
    return sorted(found), sorted({"format.json", *filter(_KEY.fullmatch, keys)})


def _placed(store: Store, reached: reach.Reach) -> set[str]:
    """Give the runs that deployed since, and of which only their openings tell whether that makes this one outdated."""
    placed: set[str] = set()
    for name in reached.ledgers:
        ours = order.of(reached.opened, name)
        for each in ledger.deployments(ledgers.read(store, name).events):
            other = runs.opened(store, each.run, each.opening) if each.seq >= ours.since else None
            if other and _outdates(each, ours, order.of(other, name)) != _outdates(each, ours, None):
                placed.add(each.run)
    return placed


def _outdates(each: Deployment, ours: Opened, theirs: Opened | None) -> bool:
    return order.newer([each], ours, lambda _: theirs) is not None


def _settled(store: Store, reached: Iterable[reach.Reach]) -> list[str]:
    """List what runs and their ledgers consist of until twice the same is there: what one says of the other then holds."""
    known, before = list(reached), None
    for _ in range(_TRIES):
        now = [key for each in known for key in reach.objects(store, each.run)]
        books = sorted({name for each in known for name in each.ledgers})
        now += [f"{name}/{key}" for name in books for key in store.names(name)]
        if now == before:
            break
        before = now
    return before or []


def _contents(store: Store, reached: reach.Reach) -> set[str]:
    """Give the keys of what a run names and the store has, and of the records that tell where the rest of it is gone."""
    named, _ = reach.in_ledgers(store, reached)
    named |= reached.documents
    for each in reached.artifacts:
        named |= {each.sha256, *(file.sha256 for file in reach.files(store, each))}
    there = {each for each in named if store.written_at(artifacts.blob_key(each)) is not None}
    gone = named - there
    told = [each for each in prunes.each(store, None) if gone & {one.sha256 for one in each.removed}] if gone else []
    return {artifacts.blob_key(each) for each in there} | {prunes.key_of(each.id) for each in told}


def _copy_in(store: Store, key: str, tar: tarfile.TarFile) -> None:
    stream = store.open(key)
    if stream is None:
        raise VerificationFailed(f"{key} is not in the store any more", where=key)
    with stream:
        size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        tar.addfile(_header(key, size), stream)


def _header(name: str, size: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size, header.mode = size, 0o444
    return header


# Import


def read(file: BinaryIO, location: str) -> Bundle:
    """Read where a bundle's objects are. Raises VerificationFailed for what is none, or has anything that does not belong there."""
    members: dict[str, Member] = {}
    total_bytes = 0
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            while (header := tar.next()) is not None:
                vars(tar)["members"] = []  # it would keep them all
                total_bytes += header.size
                _check(header, members, total_bytes)
                members[header.name] = Member(header.offset_data, header.size)
    except (tarfile.TarError, OSError, ValueError, OverflowError, RecursionError) as error:
        raise VerificationFailed(f"it is not a bundle: {error}", where=location) from error
    whole = os.fstat(file.fileno()).st_size
    if any(each.offset + each.size > whole for each in members.values()):
        raise VerificationFailed("the bundle was cut off", where=location)
    about = members.pop(ABOUT, None)
    _check_about(os.pread(file.fileno(), about.size, about.offset) if about else b"", len(members), location)
    return Bundle(file, location, members)


def _check(header: tarfile.TarInfo, members: Mapping[str, Member], total_bytes: int) -> None:
    """Refuse a member that no export writes. Raises VerificationFailed."""
    name = header.name
    if header.type != tarfile.REGTYPE or header.issparse():
        raise VerificationFailed(f"{name!r} is no plain file, as every object is", where=_shown(name))
    if not (_KEY.fullmatch(name) if members else name == ABOUT):
        raise VerificationFailed(f"{name!r} has no place in a bundle", where=_shown(name))
    if name in members:
        raise VerificationFailed(f"{name} is there twice", where=name)
    limit = LIMITS.output_bytes if name.startswith("blobs/") else LIMITS.bundled_bytes
    if not 0 <= header.size <= limit:
        raise VerificationFailed(f"{name} has {header.size:,} bytes, and may have {limit:,}", where=name)
    if len(members) >= LIMITS.bundle_objects or total_bytes > LIMITS.bundle_bytes:
        text = f"a bundle has at most {LIMITS.bundle_objects:,} objects and {LIMITS.bundle_bytes:,} bytes"
        raise VerificationFailed(text, where=name)


def _check_about(data: bytes, objects: int, location: str) -> None:
    try:
        about = json.loads(data)
        told = about["format"], about["v"], about["objects"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise VerificationFailed(f"it is not a bundle: it does not begin with {ABOUT}", where=location) from error
    if told[:2] != (FORMAT, VERSION):
        raise VerificationFailed(
            f"it is of the format {told[0]!r}, {told[1]!r}, not {FORMAT!r}, {VERSION}", where=location
        )
    if told[2] != objects:
        raise VerificationFailed(f"the bundle was cut off: {objects} of {told[2]} objects are there", where=location)


def _shown(name: str) -> str:
    return name.encode("unicode_escape").decode()


def admit(bundle: Bundle, store: Store, trust: Trust | None) -> list[Report]:
    """Verify a bundle together with what the store has already, and give what was found of each run.

    Raises VerificationFailed that names the first object that does not hold. Nothing is written.
    """
    for key in _in_both(bundle, store):
        _compare(bundle, store, key)
    union = _Union(bundle, store)
    audit = verify.Audit(union, trust)
    reports = [audit.run(run_id) for run_id in bundle.runs]
    found = [each for report in reports for each in report.findings]
    found += [each for name in bundle.names("ledgers") for each in audit.targets.book(f"ledgers/{name}").findings]
    found += audit.identities(bundle.names(identities.PREFIX))
    for key in bundle.members:
        if key.startswith("blobs/"):
            wrong = audit.blobs.check(f"sha256:{key.rpartition('/')[2]}", "of the bundle")
            found += [wrong] if wrong else []
    for each in found:
        if each.grade == "broken":
            raise VerificationFailed(str(each), where=each.key, hint="Nothing of it was imported.")
    return reports


def _in_both(bundle: Bundle, store: Store) -> list[str]:
    """Give the keys that the store has already, by a listing for each run, ledger and first byte of a digest."""
    parts = [key.split("/") for key in bundle.members]
    prefixes = {"/".join(each[: 3 if each[0] == "blobs" else 2]) for each in parts}
    there = {key for prefix in prefixes for key in store.walk(prefix)}
    return [key for key in bundle.members if key in there or key == "format.json"]


def _compare(bundle: Bundle, store: Store, key: str) -> bool:
    """Tell whether the store has an object already. Raises VerificationFailed if it has other bytes there."""
    there, ours = store.open(key), bundle.open(key)
    if there is None or ours is None:
        return False
    with there, ours:
        while True:
            one, two = there.read(_CHUNK_BYTES), ours.read(_CHUNK_BYTES)
            if one != two:
                break
            if not one:
                return True
    text = f"{key}: {store.location} holds other bytes than the bundle"
    hint = "One of them was changed, or two machines went on with it apart. Compare both: towpath audit verify"
    raise VerificationFailed(text, where=key, hint=hint)


def add(bundle: Bundle, store: Store) -> int:
    """Put what is new into the store, and give how many objects that were. To be called once the bundle was admitted.

    What is named comes before what names it, and a run's opening is finished last: before that no command takes it for a run. So
    a kill in the middle leaves nothing that does not hold, and the same import again does the rest.
    """
    new = 0
    for key in in_order(bundle):
        if key != "format.json" and _put(bundle, store, key):
            new += 1
        elif key != "format.json":
            _compare(bundle, store, key)
    for run_id in bundle.runs:
        with suppress(UsageError):  # a run that was never opened waits for nobody
            waiting.note(store, runs.load(store, run_id))
    return new


def _put(bundle: Bundle, store: Store, key: str) -> bool:
    member = bundle.members[key]
    if member.size <= _AT_ONCE_BYTES:
        return store.put_new(key, bundle.read(key) or b"")
    with tempfile.NamedTemporaryFile() as aside, _Window(bundle.file.fileno(), member) as source:
        while data := source.read(_CHUNK_BYTES):
            aside.write(data)
        aside.flush()
        return store.put_new(key, Path(aside.name))


def in_order(bundle: Bundle) -> list[str]:
    """Give the keys in an order in which each object comes after what it names."""
    rest = [key for key in bundle.members if not key.startswith("runs/")]
    first = ("blobs/", "prunes/", "inbox/", "ledgers/")
    found = sorted(rest, key=lambda key: (next((n for n, each in enumerate(first) if key.startswith(each)), 0), key))
    openings = []
    for run_id in bundle.runs:
        for name in _by_need(bundle, run_id):
            base = f"runs/{run_id}/{name}"
            keys = [f"{base}/log/{each}" for each in bundle.names(f"{base}/log")]
            keys += [f"{base}/{each}" for each in bundle.names(base) if each != "log"]
            if name != "open":
                found += keys
            else:
                openings += sorted(keys, key=lambda key: (key == event_key(key.rpartition("/")[0], 2), key))
    named = [
        key for key in found if key.startswith(f"{identities.PREFIX}/")
    ]  # a run is opened whole before it is named
    return [key for key in found if key not in named] + openings + named


def _by_need(bundle: Bundle, run_id: str) -> list[str]:
    """Give a run's chains, each after those that it builds on and the one that it follows."""
    names = set(bundle.names(f"runs/{run_id}"))
    needs = {name: _needs(bundle.read(event_key(f"runs/{run_id}/{name}", 0))) for name in sorted(names)}
    sorter = graphlib.TopologicalSorter({name: sorted(each & names) for name, each in needs.items()})
    return list(sorter.static_order())  # heads are digests, so there is no circle in what was verified


def _needs(line: bytes | None) -> set[str]:
    """Give the chains that a chain's first event names, which was verified if it is there."""
    if line is None:
        return set()
    data = json.loads(line)["data"]
    named = [*(data.get("builds_on") or []), *([data["follows"]] if data.get("follows") else [])]
    return {str(each["chain"]).rpartition("/")[2] for each in named}
