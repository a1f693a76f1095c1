"""SHA-256 digests, written `sha256:<hex>`, and the one canonical JSON form that is ever digested as a value."""

from __future__ import annotations

import hashlib
import json
import math
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import BinaryIO

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CHUNK_BYTES = 1 << 20


def of_bytes(data: bytes) -> str:
    """Give the digest of `data`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def of_stream(stream: BinaryIO) -> tuple[str, int]:
    """Give the digest and the size in bytes of what is left of `stream`."""
    hasher, size_bytes = hashlib.sha256(), 0
    while chunk := stream.read(_CHUNK_BYTES):
        hasher.update(chunk)
        size_bytes += len(chunk)
    return "sha256:" + hasher.hexdigest(), size_bytes


def is_digest(text: object) -> bool:
    """Tell whether `text` has the form of a digest."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


def parse(data: bytes | str) -> Any:
    """Read JSON that can be written again as `canonical`: without infinities, and without halves of characters. Raises ValueError."""
    text = data if isinstance(data, str) else data.decode()
    try:
        value = _DECODER.decode(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if "\\u" in text:
        _ENCODER.encode(value).encode()
    return value


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number that JSON has")
    return number


_DECODER = json.JSONDecoder(parse_constant=_number, parse_float=_number)
_ENCODER = json.JSONEncoder(ensure_ascii=False)
"""Made once: `json.loads` and `json.dumps` make theirs anew for each call with options, and a log has a million lines."""


def canonical(value: Any) -> bytes:
    """Give JSON with sorted keys, no spaces, UTF-8: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
