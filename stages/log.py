"""A stage's log: one JSON object a line on standard output. The runner reads it as data; people see the message."""

from __future__ import annotations

import json
import sys
import threading

_lock = threading.Lock()


def log(message: str, **fields: str | float | bool | None) -> None:
    """Say something. `fields` are kept beside the message: `function="HelloWorldFunction"`, `level="warning"`."""
    line = json.dumps({"message": message, **fields}, ensure_ascii=False) + "\n"
    with _lock:
        sys.stdout.write(line)
        sys.stdout.flush()
