"""Whatever stands in a record, an audit says so in words: it does not crash, and never calls authentic what was changed.

Two kinds of changes: bytes, by somebody without a key; and values, by somebody who has the keys and puts every digest, link, seal
and signature in order afterwards, so that the strange value is what is read. `TOWPATH_FUZZ` says how many there are of each.
"""

from __future__ import annotations

import copy
import json
import os
import random
import re
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from support.approvers import rules
from support.gated import ASKED, decide, gated
from support.plans import House, command
from support.signing import trust_line

from pipeline import gating, plan
from pipeline.audit import heads, show, verify
from pipeline.errors import StageFailed, TowpathError, Waiting
from pipeline.record import artifacts, chain, digest, ledgers, runs, seals
from pipeline.record.store.directory import open_store
from pipeline.signing import dsse, signers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COUNT = int(os.environ.get("TOWPATH_FUZZ", "60"))
_DIGEST = re.compile(rb"sha256:[0-9a-f]{64}")
_STRANGE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 1.5, 10**30, float("inf"), float("nan"), "", "x", "\ud800", "\x00", "../../..", "/etc/passwd",
    "9999-12-31T23:59:59+00:00", "0001-01-01T00:00:00Z", "2026-01-01T00:00:00", "sha256:" + "0" * 64, [], {}, [[]], [None], {"": None},
    {"a": {"b": 1}}, "x" * 3000, "\u202e", "\U0001f600",
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> House:
    """Three runs: one that alice and bob let through at the second try, one that makes the rules weaker, and one that waits."""
    folder = tmp_path_factory.mktemp("fuzzed")
    project = folder / "project"
    project.mkdir()
    house = House(project, open_store(folder / "store", create=True))
    script = f"test -e {project}/mended || {{ touch {project}/mended; exit 3; }}"
    make = command("make", "mkdir $TOWPATH_OUTPUTS/thing; echo made > $TOWPATH_OUTPUTS/thing/file", outputs=["thing"])
    for people in (2, 1, 1):
        run_id = house.open(make, gated(house, rules(people=people), script), **ASKED)
        with pytest.raises(Waiting):
            house.drive(run_id)
        if len(house.plans) == 3:
            break
        for person in ("alice", "bob"):
            decide(house, run_id, person)
        if people == 2:
            with pytest.raises(StageFailed):
                house.drive(run_id)
        assert house.drive(run_id).done("migrate")
    return house


@pytest.fixture
def house(made: House, tmp_path: Path) -> House:
    shutil.copytree(made.store.root, tmp_path / "copy")
    copied = House(made.project, open_store(tmp_path / "copy", create=False), made.plans)
    copied.trust = signers.trust(trust_line(made.key.public, "builder,gate"), "trust")
    return copied


def told(house: House, *, trusted: bool = True) -> list[str]:
    """What an audit of everything finds, but for the run that waits; that it cannot be read is a finding too.

    Nothing but an expected error may escape.
    """
    try:
        audit = verify.Audit(house.store, house.trust if trusted else None)
        found = [each for run in runs.run_ids(house.store) for each in audit.run(run).findings] + audit.rest()
    except TowpathError as error:
        return [error.message]
    for each in found:
        str(each).encode()
    return [str(each) for each in found if not each.text.startswith("waits for approval")]


def used(house: House) -> None:
    """Read it as the other commands do, each of which may refuse it."""
    for run_id in runs.run_ids(house.store):
        for act in (_look, _show):
            try:
                act(house, run_id)
            except TowpathError as error:
                assert error.message  # noqa: PT017 - refusing is one of two good ends
    try:
        list(heads.heads(house.store))
    except TowpathError as error:
        assert error.message  # noqa: PT017


def _look(house: House, run_id: str) -> None:
    run = runs.load(house.store, run_id)
    compiled = plan.from_json(artifacts.read_json(house.store, run.plan, "the plan"), "the plan")
    for name, stage in compiled.stages.items():
        last = run.last(name)
        if last and last.proposal and stage.rules:
            gating.look(house.store, compiled, run, stage, last.proposal, trust=house.trust)


def _show(house: House, run_id: str) -> None:
    json.dumps(show.show(house.store, run_id))


def test_bytes(house: House) -> None:
    assert told(house) == []
    chance = random.Random(7)  # noqa: S311 - chance, no secret
    files = [path for path in sorted(house.store.root.rglob("*")) if path.is_file()]
    paths = [path for path in files if not {"inbox", "waiting"} & set(path.parts)]  # wishes and hints prove nothing
    for _ in range(COUNT):
        path = chance.choice(paths)
        data = path.read_bytes()
        at, way = chance.randrange(len(data) + 1), chance.randrange(4)
        other = (
            data[:at] + bytes([data[at] ^ chance.randrange(1, 256)]) + data[at + 1 :]
            if way == 0 and at < len(data)
            else data[:at] + data[at + chance.randrange(1, 9) :]
            if way == 1
            else data[:at] + chance.randbytes(3) + data[at:]
            if way == 2
            else chance.choice(paths).read_bytes()
        )
        _put(path, other)
        if other != data:
            assert told(house), f"{path}: {at}, {way}"
            used(house)
        _put(path, data)
    assert told(house) == []


def test_values(house: House, made: House) -> None:
    """What is meant here is that nothing but an expected error comes of it: whether it is found, other tests say one by one."""
    chance = random.Random(11)  # noqa: S311 - chance, no secret
    original = {path: path.read_bytes() for path in sorted(house.store.root.rglob("*")) if path.is_file()}
    objects = list(_objects(house))
    for _ in range(COUNT):
        victim = chance.choice(objects)
        _Rebuilt(house, made, victim, chance).all(original)
        told(house, trusted=chance.random() < 0.7)
        used(house)
        for path in set(house.store.root.rglob("*")) - set(original):
            if path.is_file():
                path.unlink()
        for path, data in original.items():
            if path.read_bytes() != data:
                _put(path, data)
    assert told(house) == []


def test_rebuilding_changes_nothing_by_itself(house: House, made: House) -> None:
    original = {path: path.read_bytes() for path in sorted(house.store.root.rglob("*")) if path.is_file()}
    _Rebuilt(house, made, "nothing", random.Random(1)).all(original)  # noqa: S311 - chance, no secret
    assert told(house) == []


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        path.chmod(0o640)
    path.write_bytes(data)


def _objects(house: House) -> Iterator[str]:
    """Keys of what has a form: events of chains and ledgers, and values among the blobs."""
    root = house.store.root
    for path in sorted(root.rglob("*")):
        key = path.relative_to(root).as_posix()
        is_value = key.startswith("blobs/") and path.is_file() and path.read_bytes().startswith(b"{")
        is_event = key.startswith(("runs/", "ledgers/")) and key.endswith(".json") and path.name != seals.NAME
        if is_value or is_event:
            yield key


def _strange(value: Any, chance: random.Random) -> Any:
    """Change one thing somewhere in a JSON value."""
    value = copy.deepcopy(value)
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, inner in pairs:
            places.append((node, key))
            walk(inner)

    walk(value)
    if not places or chance.random() < 0.03:
        return chance.choice(_STRANGE)
    node, key = chance.choice(places)
    if isinstance(node, dict) and chance.random() < 0.2:
        del node[key]
    elif isinstance(node, dict) and chance.random() < 0.1:
        node[str(chance.choice(_STRANGE))] = chance.choice(_STRANGE)
    else:
        node[key] = chance.choice(_STRANGE)
    return value


def _dumps(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


@dataclass
class _Rebuilt:
    """A record with one value changed, and whatever names it put in order: digests, links, seals, signatures."""

    house: House
    made: House
    victim: str
    chance: random.Random
    now: dict[bytes, bytes] = field(default_factory=dict)

    def all(self, original: dict[Path, bytes]) -> None:
        root = self.house.store.root
        objects = {path.relative_to(root).as_posix(): data for path, data in original.items()}
        values = {key: data for key, data in objects.items() if key.startswith("blobs/") and data.startswith(b"{")}
        for _ in range(6):  # as deep as blobs name one another
            for key, data in values.items():
                self.blob(key, data)
        chains: dict[str, list[str]] = {}
        for key in objects:
            if key.startswith(("runs/", "ledgers/")) and "/log/" not in key and not key.endswith(seals.NAME):
                chains.setdefault(key.rpartition("/")[0], []).append(key)
        for name in sorted(chains, key=_place):
            self.chain(name, {key: objects[key] for key in chains[name]}, is_sealed=f"{name}/{seals.NAME}" in objects)

    def blob(self, key: str, data: bytes) -> None:
        name = f"sha256:{key.rpartition('/')[2]}".encode()
        if key == self.victim and name in self.now:
            return
        other = self.changed(key, data)
        if other != data:
            artifacts.put_blob(self.house.store, other)
            self.now[name] = digest.of_bytes(other).encode()

    def chain(self, name: str, objects: dict[str, bytes], *, is_sealed: bool) -> None:
        root, last, is_ledger = self.house.store.root, b"", name.startswith("ledgers/")
        for key, data in objects.items():
            line = dsse.parse(data, key).payload if is_ledger else data
            last = self.changed(key, line)
            self.now[digest.of_bytes(line).encode()] = digest.of_bytes(last).encode()
            _put(root / key, ledgers.encode(last, self.made.key) if is_ledger else last)
        if is_sealed:
            head = chain.Head(name, digest.of_bytes(last), len(objects))
            _put(root / name / seals.NAME, seals.encode(head, self.made.key))

    def changed(self, key: str, data: bytes) -> bytes:
        data = _DIGEST.sub(lambda found: self.now.get(found[0], found[0]), data)
        if key != self.victim:
            return data
        value = json.loads(data)
        if "data" in value and self.chance.random() < 0.8:
            return _dumps({**value, "data": _strange(value["data"], self.chance)})
        return _dumps(_strange(value, self.chance))


def _place(name: str) -> tuple[int, str]:
    """Order chains so that each stands after what it names."""
    return (0 if name.endswith("/open") else 1 if name.startswith("ledgers/") else 2), name
