"""A database of rpm made by hand."""

from __future__ import annotations

import sqlite3
import struct
from typing import Any


def header(tags: dict[int, Any]) -> bytes:
    """One of rpm's headers: whole numbers in lists, texts, and lists of texts."""
    index, data = b"", b""
    for tag, value in sorted(tags.items()):
        if isinstance(value, str):
            kind, count, content = 6, 1, value.encode() + b"\0"
        elif all(isinstance(each, int) for each in value):
            data += b"\0" * (-len(data) % 4)
            kind, count, content = 4, len(value), struct.pack(f">{len(value)}I", *value)
        else:
            kind, count, content = 8, len(value), b"".join(each.encode() + b"\0" for each in value)
        index += struct.pack(">IIII", tag, kind, len(data), count)
        data += content
    return struct.pack(">II", len(tags), len(data)) + index + data


def package(name: str, version: str, release: str, **more: Any) -> dict[int, Any]:
    """The tags of a package; `epoch=`, `source=` and `files=` are left out if they are not given."""
    tags: dict[int, Any] = {1000: name, 1001: version, 1002: release, 1022: "x86_64"}
    if "epoch" in more:
        tags[1003] = [more["epoch"]]
    if "source" in more:
        tags[1044] = more["source"]
    if "files" in more:
        split = [path.rpartition("/") for path in more["files"]]
        folders = sorted({f"{folder}/" for folder, _, _ in split})
        tags[1116] = [folders.index(f"{folder}/") for folder, _, _ in split]
        tags[1117], tags[1118] = [name for _, _, name in split], folders
    return tags


def database(
    *blobs: Any, schema: str = "CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)"
) -> bytes:
    """An rpmdb.sqlite with these headers, marked as one with a write-ahead log, as rpm leaves it."""
    connection = sqlite3.connect(":memory:")
    connection.executescript(schema)
    connection.executemany("INSERT INTO Packages (blob) VALUES (?)", [(blob,) for blob in blobs])
    connection.commit()
    data = bytearray(connection.serialize())
    connection.close()
    data[18:20] = b"\2\2"
    return bytes(data)
