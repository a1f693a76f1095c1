"""The packages in an rpmdb.sqlite, which is SQLite with one of rpm's headers for each package.

The header's form: https://rpm-software-management.github.io/rpm/manual/format_header.html. The database comes out of an
image, so it is opened in memory, distrusted, and may not compute for long.
"""

from __future__ import annotations

import contextlib
import sqlite3
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_PACKAGES = 100_000
HEADER_BYTES = 64 << 20
_STEPS = 50_000_000
"""Of SQLite's machine: reading a table takes some ten for each row."""
_NAME, _VERSION, _RELEASE, _EPOCH, _ARCH, _SOURCE = 1000, 1001, 1002, 1003, 1022, 1044
_DIRECTORY_INDEXES, _BASE_NAMES, _DIRECTORIES = 1116, 1117, 1118
_INT32, _STRING, _STRINGS = 4, 6, 8


class Unreadable(Exception):
    """It is no database of rpm, or a broken one."""


@dataclass(frozen=True)
class Header:
    """What is taken from a package's header. `version` is [epoch:]version-release."""

    name: str
    version: str
    arch: str
    source: tuple[str, str]
    files: list[str]


def headers(database: bytes) -> Iterator[Header]:
    """Give the packages of a database. Raises Unreadable."""
    for blob in _blobs(database):
        try:
            yield _header(blob)
        except (struct.error, IndexError, KeyError, ValueError, TypeError) as error:
            raise Unreadable(f"a package's header is broken: {error!r}") from error


def _blobs(database: bytes) -> list[bytes]:
    if database[:16] != b"SQLite format 3\0":
        raise Unreadable("it is no SQLite database")
    # Bytes 18 and 19 ask for a write-ahead log, which a database in memory cannot have (https://sqlite.org/fileformat.html)
    plain = database[:18] + b"\1\1" + database[20:]
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        try:
            connection.deserialize(plain)
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, HEADER_BYTES)
            connection.set_progress_handler(lambda: 1, _STEPS)
            kind = connection.execute("SELECT type, sql FROM sqlite_schema WHERE name = 'Packages'").fetchone()
            if not kind or kind[0] != "table" or "VIRTUAL" in str(kind[1]).upper():
                raise Unreadable("it has no table of packages")
            found = connection.execute("SELECT blob FROM Packages ORDER BY hnum").fetchmany(MOST_PACKAGES + 1)
        except (sqlite3.Error, OverflowError, MemoryError) as error:
            raise Unreadable(f"SQLite says: {error}") from error
    blobs = [row[0] for row in found]
    if len(blobs) > MOST_PACKAGES or not all(isinstance(blob, bytes) for blob in blobs):
        raise Unreadable("its table of packages is none of rpm's")
    return blobs


def _header(blob: bytes) -> Header:
    tags = _tags(blob)
    version = f"{tags[_VERSION]}-{tags[_RELEASE]}"
    epoch = tags.get(_EPOCH)
    full = f"{epoch[0]}:{version}" if epoch else version
    arch = str(tags.get(_ARCH, ""))
    return Header(str(tags[_NAME]), full, arch, _source(str(tags.get(_SOURCE, "")), full), list(_files(tags)))


def _source(file: str, version: str) -> tuple[str, str]:
    """Source package and version from `name-version-release.src.rpm`; the epoch is the package's own."""
    name, *rest = file.removesuffix(".rpm").removesuffix(".src").removesuffix(".nosrc").rsplit("-", 2)
    if len(rest) != 2:
        return "", ""
    epoch = version.partition(":")[0] + ":" if ":" in version else ""
    return name, f"{epoch}{'-'.join(rest)}"


def _files(tags: dict[int, Any]) -> Iterator[str]:
    folders = tags.get(_DIRECTORIES, [])
    for name, index in zip(tags.get(_BASE_NAMES, []), tags.get(_DIRECTORY_INDEXES, []), strict=True):
        yield f"{folders[index]}{name}"


def _tags(blob: bytes) -> dict[int, Any]:
    count, size = struct.unpack_from(">II", blob)
    start = 8 + 16 * count
    if len(blob) < start + size:
        raise ValueError("it is shorter than it says")
    data = blob[start : start + size]
    wanted = {_NAME, _VERSION, _RELEASE, _EPOCH, _ARCH, _SOURCE, _DIRECTORY_INDEXES, _BASE_NAMES, _DIRECTORIES}
    entries = struct.iter_unpack(">IIII", blob[8:start])
    return {tag: _value(data, *about) for tag, *about in entries if tag in wanted}


def _value(data: bytes, kind: int, offset: int, count: int) -> Any:
    if kind == _INT32:
        return struct.unpack_from(f">{count}I", data, offset)
    if kind not in (_STRING, _STRINGS):
        raise ValueError(f"it has a value of type {kind}")
    texts = data[offset:].split(b"\0", count)[:count] if kind == _STRINGS else [data[offset:].partition(b"\0")[0]]
    found = [text.decode("utf-8", "replace") for text in texts]
    return found if kind == _STRINGS else found[0]
