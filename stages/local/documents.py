"""JSON as Lambda takes it, and no more of it than that. Pure."""

from __future__ import annotations

import codecs
import json
from typing import Any

SYNCHRONOUS_BYTES = 6_291_456
ASYNCHRONOUS_BYTES = 1_048_576
"""Of an event, https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""


def event(data: bytes) -> bytes:
    """The JSON of an event as a function is given it: without the byte order mark that some editors write.

    Raises ValueError for what is no JSON in UTF-8: Python's own reader takes NaN, and UTF-16.
    """
    data = data.removeprefix(codecs.BOM_UTF8)
    read(data.decode())
    return data


def read(text: str) -> Any:
    """The value of a JSON text. Raises ValueError."""
    try:
        return json.loads(text, parse_constant=_refused)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refused(name: str) -> None:
    raise ValueError(f"{name} is no value in JSON")
