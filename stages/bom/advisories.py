"""A folder of advisories in OSV's format: JSON files, and zips of them as OSV hands them out.

https://ossf.github.io/osv-schema/. What is in the folder and is neither `.json` nor `.zip` is left alone.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
import zlib
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stages.contract import InvalidInput, Problem
from stages.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stages.contract import Json

Key = tuple[str, str]
"""An ecosystem as OSV writes it, and a package's name in it."""

MOST_PROBLEMS = 20


@dataclass(frozen=True)
class Advisory:
    """One advisory on one package: the whole, the part on the package, and the file it is from."""

    document: Json
    affected: Json
    file: str


@dataclass
class Database:
    """What was found. `digest` is of all files; `by_package` holds what was asked for, `ecosystems` all there are."""

    digest: str
    count: int = 0
    ecosystems: set[str] = field(default_factory=set)
    by_package: dict[Key, list[Advisory]] = field(default_factory=lambda: defaultdict(list))


def files(folder: Path) -> list[Path]:
    """The files of advisories in a folder and those below it, in order."""
    return sorted(path for path in folder.rglob("*") if path.suffix in (".json", ".zip") and path.is_file())


def check(folder: Path, name: str) -> None:
    """Raises InvalidInput if there is no file of advisories in the folder, which is called `name`."""
    if not files(folder):
        hint = "Put advisories in OSV's format there, as .json or .zip: https://google.github.io/osv.dev/data/"
        raise InvalidInput([Problem(f"{name} holds no advisories", hint=hint)])


def load(folder: Path, name: str, wanted: set[Key]) -> Database:
    """Read a folder and keep what is on the wanted packages. Raises InvalidInput with what is no advisory."""
    check(folder, name)
    paths = files(folder)
    database = Database(_digest(folder, paths))
    problems: list[Problem] = []
    left = LIMITS.advisories_bytes
    for path in paths:
        shown = f"{name}/{path.relative_to(folder).as_posix()}"
        try:
            for file, data in _documents(path, shown):
                left = _left(left, data)
                _add(database, file, data, wanted)
        except _Wrong as error:
            problems.append(Problem(str(error), file=error.file))
        except (OSError, ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
            problems.append(Problem(f"it cannot be read: {error}", file=shown))
        if len(problems) >= MOST_PROBLEMS:
            break
    if problems:
        raise InvalidInput(problems)
    return database


def _left(left: int, data: bytes) -> int:
    if len(data) > left:
        raise ValueError(f"there are more than {LIMITS.advisories_bytes:,} bytes of advisories")
    return left - len(data)


class _Wrong(Exception):
    def __init__(self, file: str, message: str) -> None:
        super().__init__(message)
        self.file = file


def normal(ecosystem: str, name: str) -> Key:
    """A package as it is looked up. Python's names have several spellings: PEP 503."""
    return ecosystem, re.sub(r"[-_.]+", "-", name).lower() if ecosystem == "PyPI" else name


def _documents(path: Path, shown: str) -> Iterator[tuple[str, bytes]]:
    if path.suffix == ".json":
        with path.open("rb") as file:
            yield shown, _bounded(file.read(LIMITS.advisory_bytes + 1), shown)
        return
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.filename.endswith(".json"):
                with archive.open(member) as content:
                    inner = f"{shown}/{member.filename}"
                    yield inner, _bounded(content.read(LIMITS.advisory_bytes + 1), inner)


def _bounded(data: bytes, file: str) -> bytes:
    if len(data) > LIMITS.advisory_bytes:
        raise _Wrong(file, f"it is larger than {LIMITS.advisory_bytes:,} bytes")
    return data


def _add(database: Database, file: str, data: bytes, wanted: set[Key]) -> None:
    try:
        document: Any = json.loads(data)
        parts = [(normal(*_package(part)), part) for part in document.get("affected") or [] if part.get("package")]
        _texts(document["id"])
    except RecursionError:
        raise _Wrong(file, "it is nested too deeply") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _Wrong(file, f"it is no advisory in OSV's format: {error!r}"[:300]) from error
    if document.get("withdrawn"):
        return
    database.count += 1
    for key, part in parts:
        database.ecosystems.add(key[0])
        if key in wanted:
            database.by_package[key].append(Advisory(document, part, file))


def _package(part: Json) -> Key:
    ecosystem, name = part["package"]["ecosystem"], part["package"]["name"]
    _texts(ecosystem, name)
    return ecosystem, name


def _texts(*values: Any) -> None:
    if not all(isinstance(value, str) and value for value in values):
        raise TypeError("an id, an ecosystem or a package's name is no text")


def _digest(folder: Path, paths: list[Path]) -> str:
    content = {}
    for path in paths:
        with path.open("rb") as file:
            content[path.relative_to(folder).as_posix()] = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
