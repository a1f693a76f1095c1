"""The forms in which a secret may turn up in a text: what is searched for. Pure.

Each of the texts of a value (itself, without the white space or quotes around it, each line, each leaf of a JSON document) is
sought as it is and as programs write it: base64 and base64url at each place of three bytes, percent-encoded, in hexadecimal, and
with the escapes of JSON, Python, HTML, shells, SQL and CSV.

Line breaks and whatever a terminal does not show count for nothing, here and in what is searched (`visible`): a value may be
wrapped, coloured or cut anywhere.
"""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
import urllib.parse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

SHORTEST_BYTES = 6
"""A shorter text stands in every log by chance, and would be masked there."""

_INVISIBLE = re.compile(
    rb"\x1b\[[0-?]{0,64}[ -/]{0,8}[@-~]"  # colours and movements of the cursor, ECMA-48, 5.4
    rb"|[\x00-\x08\x0a-\x1f\x7f]"
    rb"|\xc2[\x80-\x9f]|\xe2\x80[\x8b-\x8f\xa8-\xae]|\xe2\x81[\xa0-\xaf]|\xef\xbb\xbf"  # the same in UTF-8, and of no width
)
_MAYBE_INVISIBLE = bytes([*range(9), *range(0x0A, 0x20), 0x7F, 0xC2, 0xE2, 0xEF])
_BEGUN = re.compile(rb"(?:\x1b(?:\[[0-?]{0,64}[ -/]{0,8})?|\xc2|\xe2[\x80\x81]?|\xef\xbb?)\Z")
_LONGEST_ESCAPE = 75


def visible(text: bytes) -> bytes:
    """Give a text without line breaks, terminal escapes, control characters but tabs, and characters of no width."""
    return text if is_visible(text) else _INVISIBLE.sub(b"", text)


def is_visible(text: bytes) -> bool:
    """Tell quickly whether all of a text is visible; False if it may be not."""
    return len(text.translate(None, _MAYBE_INVISIBLE)) == len(text)


def unfinished(text: bytes) -> int:
    """Give how many of the last bytes would be invisible if the right ones followed."""
    found = _BEGUN.search(text, max(0, len(text) - _LONGEST_ESCAPE))
    return len(found[0]) if found else 0


def forms(value: bytes) -> set[bytes]:
    """Give every form of a value that is long enough to be sought."""
    found = {visible(form) for text in _texts(value) for form in _forms(text)}
    return {form for form in found if len(form) >= SHORTEST_BYTES}


def _texts(value: bytes) -> set[bytes]:
    found = {value, value.strip(), value.strip().strip(b"\"'"), *_leaves(value)}
    found |= {line.strip() for text in tuple(found) for line in text.splitlines()}
    return {text for text in found if len(visible(text)) >= SHORTEST_BYTES}


def _leaves(value: bytes) -> Iterator[bytes]:
    """The texts and numbers of a JSON document."""
    try:
        waiting: list[Any] = [json.loads(value, parse_int=str, parse_float=str)]
    except (ValueError, RecursionError):
        return
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
        elif isinstance(each, str):
            yield each.encode("utf-8", "surrogatepass")


def _forms(text: bytes) -> Iterator[bytes]:
    yield text
    yield from _base64(text)
    yield from _hexadecimal(text)
    yield from _percent(text)
    yield from _escaped(text)


def _base64(text: bytes) -> Iterator[bytes]:
    """Encoded alone, and amid other bytes: characters that hold bits of what stands around are left out."""
    for value in (text, text + b"\n"):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(value).rstrip(b"=")
            yield encode(value)
            for before in range(3):
                bits = 8 * (before + len(value))
                yield encode(bytes(before) + value)[-(-8 * before // 6) : bits // 6]


def _hexadecimal(text: bytes) -> Iterator[bytes]:
    pairs = [f"{byte:02x}" for byte in text]
    for mark in ("", "\\x", "%"):
        written = "".join(mark + pair for pair in pairs)
        yield written.encode()
        yield "".join(mark + pair.upper() for pair in pairs).encode()


_UNQUOTED = ("", "/", "-_.!~*'()", ";,/?:@&=+$-_.!~*'()#")
"""What is not encoded: by Python with and without `/`, by JavaScript's encodeURIComponent and encodeURI."""
_PERCENT = re.compile(r"%[0-9A-F]{2}")


def _percent(text: bytes) -> Iterator[bytes]:
    for unquoted in _UNQUOTED:
        written = urllib.parse.quote_from_bytes(text, safe=unquoted)
        for each in (written, written.replace("%20", "+")):
            yield each.encode()
            yield _PERCENT.sub(lambda found: found[0].lower(), each).encode()


def _escaped(text: bytes) -> Iterator[bytes]:
    yield repr(text)[2:-1].encode()
    yield text.decode("utf-8", "backslashreplace").encode("utf-8", "surrogatepass")
    try:
        plain = text.decode("utf-8")
    except UnicodeDecodeError:
        return
    for written in (*_as_json(plain), *_quoted(plain)):
        yield written.encode("utf-8", "surrogatepass")


_HTML_SAFE = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})
_CAPITALS = re.compile(r"\\u[0-9a-f]{4}")


def _as_json(text: str) -> Iterator[str]:
    for ascii_only in (True, False):
        written = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        for each in (written, written.replace("/", "\\/"), written.translate(_HTML_SAFE)):
            yield each
            yield json.dumps(each, ensure_ascii=ascii_only)[1:-1]  # JSON within JSON
            yield _CAPITALS.sub(lambda found: "\\u" + found[0][2:].upper(), each)


def _quoted(text: str) -> Iterator[str]:
    yield repr(text)[1:-1]
    for apostrophe in ("&#x27;", "&#39;", "&apos;", "'"):
        for quote in ("&quot;", "&#34;", '"'):
            yield html.escape(text, quote=False).replace('"', quote).replace("'", apostrophe)
    yield shlex.quote(text)
    yield text.replace("'", "'\\''")
    yield text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
    yield re.sub(r'([\\"$`])', r"\\\1", text)
    yield re.sub(r"([^\w@%+=:,./-])", r"\\\1", text)
    yield text.replace("'", "''")
    yield text.replace('"', '""')
