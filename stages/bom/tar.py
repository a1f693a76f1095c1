"""Read the entries of a layer as they come, as the engines that unpack it do (Go's archive/tar).

Not tarfile: it takes a broken header for the end of the archive, applies global headers that engines ignore, and reads
extended headers of any size into memory. Where this reader and an engine might differ, a layer could show the one what
it hides from the other; so whatever is not plain is refused. Formats: ustar and pax(1), and GNU's long names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 512
EXTENDED_BYTES = 1 << 20
"""The largest extended header, as in Go: the longest path is 4 KiB, extended attributes are 64 KiB."""

Kind = Literal["file", "folder", "symlink", "hardlink", "other"]

_KINDS: dict[bytes, Kind] = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",
    b"5": "folder",
    b"2": "symlink",
    b"1": "hardlink",
}
_WITHOUT_CONTENT = (b"1", b"2", b"3", b"4", b"5", b"6")
"""Links, devices, folders, pipes: whatever size they state, no content follows."""


class Unreadable(Exception):
    """It is no archive, or not one that everybody reads in the same way."""


class Source(Protocol):
    """Bytes in order. `position` counts what has been given or passed over."""

    position: int

    def read(self, size: int) -> bytes:
        """Give that many bytes; fewer only at the end."""

    def skip(self, size: int) -> None:
        """Pass over that many bytes. Raises Unreadable if there are fewer."""


@dataclass(frozen=True)
class Entry:
    """One entry. Its content is the next `size` bytes of the source; what is not read of it is passed over."""

    name: str
    kind: Kind
    size: int
    link: str
    sparse: bool


def entries(source: Source) -> Iterator[Entry]:
    """Give the entries in order. Raises Unreadable at the first thing that is not plain."""
    extended: dict[str, str] = {}
    while (header := _header(source)) is not None:
        flag, size = header[156:157], _number(header[124:136])
        if flag == b"x":
            extended |= _records(_extended(source, size))
        elif flag == b"g":
            _extended(source, size)
        elif flag in (b"L", b"K"):
            value = _extended(source, size).partition(b"\0")[0]
            extended["path" if flag == b"L" else "linkpath"] = _text(value)
        else:
            entry = _entry(header, extended)
            end = source.position + _padded(entry.size)
            yield entry
            source.skip(end - source.position)
            extended = {}


def _entry(header: bytes, extended: dict[str, str]) -> Entry:
    flag = header[156:157]
    if flag == b"S":
        raise Unreadable("it has a sparse file in GNU's old form")
    name = extended.get("GNU.sparse.name") or extended.get("path") or _name(header)
    kind = "folder" if flag in (b"0", b"\0") and name.endswith("/") else _KINDS.get(flag, "other")
    size = _decimal(extended["size"]) if "size" in extended else _number(header[124:136])
    link = extended.get("linkpath") or _text(_field(header[157:257]))
    sparse = any(key.startswith("GNU.sparse.") for key in extended)
    return Entry(name, kind, 0 if flag in _WITHOUT_CONTENT else size, link, sparse)


def _header(source: Source) -> bytes | None:
    """The next header; None at the end, which is two empty blocks, or no more bytes at all."""
    block = source.read(BLOCK)
    if not block:
        return None
    if len(block) == BLOCK and not block.strip(b"\0"):
        if source.read(BLOCK).strip(b"\0"):
            raise Unreadable("it goes on behind its end")
        return None
    if len(block) < BLOCK:
        raise Unreadable("it ends within a header")
    if _number(block[148:156]) != sum(block[:148]) + sum(block[156:]) + 8 * 0x20:
        raise Unreadable(f"a header at byte {source.position - BLOCK:,} is broken")
    return block


def _extended(source: Source, size: int) -> bytes:
    if size > EXTENDED_BYTES:
        raise Unreadable(f"it has an extended header of {size:,} bytes")
    data = source.read(size)
    if len(data) < size:
        raise Unreadable("it ends within an extended header")
    source.skip(_padded(size) - size)
    return data


def _records(data: bytes) -> dict[str, str]:
    """The records `<length> <key>=<value>\\n` of a pax header."""
    found: dict[str, str] = {}
    start = 0
    while start < len(data):
        space = data.find(b" ", start, start + 20)
        length = _decimal(data[start:space].decode("ascii", "replace")) if space > 0 else 0
        record = data[space + 1 : start + length]
        key, equals, value = record.partition(b"=")
        if space < 0 or start + length > len(data) or not equals or not record.endswith(b"\n"):
            raise Unreadable("it has a broken extended header")
        found[_text(key)] = _text(value[:-1])
        start += length
    return found


def _name(header: bytes) -> str:
    name, prefix = _field(header[:100]), _field(header[345:500])
    return _text(prefix + b"/" + name if prefix and header[257:263] == b"ustar\0" else name)


def _field(data: bytes) -> bytes:
    return data.partition(b"\0")[0]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _number(field: bytes) -> int:
    """Octal digits, or for what is too large GNU's base 256."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0").partition(b"\0")[0]
    try:
        return int(digits, 8) if digits else 0
    except ValueError:
        raise Unreadable("a number in a header is none") from None


def _decimal(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 20:
        raise Unreadable("a number in an extended header is none")
    return int(text)


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
