"""An embedded AWS for tests, with a home and a port of its own."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def embedded_aws(home: Path) -> Iterator[str]:
    """Start it, give its endpoint, and stop it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "TOWPATH_EMBEDDED_HOME": str(home), "TOWPATH_EMBEDDED_PORT": str(port)}
    command = [sys.executable, "-I", "-m", "stages.embedded"]
    started = subprocess.run([*command, "start", "--json"], env=environment, stdout=subprocess.PIPE, check=True)
    try:
        yield json.loads(started.stdout)["endpoint_url"]
    finally:
        subprocess.run([*command, "stop"], env=environment, stdout=subprocess.DEVNULL, check=True)


def new_account() -> str:
    """An account that no other test uses."""
    return "".join(secrets.choice("123456789") for _ in range(12))
