"""The ways in which jobs are isolated on this machine, for tests that hold for each of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.executors import bubblewrap
from pipeline.executors.isolation import Isolation

if TYPE_CHECKING:
    from pipeline.executors.bubblewrap import Bubblewrap


def found() -> Bubblewrap:
    """The bubblewrap of this machine; the test is skipped where none works."""
    here = bubblewrap.find(os.environ)
    if isinstance(here, str):
        pytest.skip(here)
    return here


def isolation(mode: str) -> Isolation:
    """Give a way by the word that the record has for it; the test is skipped where it cannot be had."""
    return Isolation(found()) if mode == "bubblewrap" else Isolation()


def running(word: str) -> list[int]:
    """The processes of this machine that have this word among their arguments, wherever they see themselves."""
    here = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if state != "Z" and word.encode() in words:
            here.append(int(entry.name))
    return here


NOBODY = 65_534
_AS_NOBODY = """
set -e
if [ -n "$1" ]; then
  mkdir -p "$3"
  mount --bind "$2" "$3"
  mount -t tmpfs -o mode=755 none "$1"
  mkdir -p "$2"
  mount --move "$3" "$2"
fi
shift 3
exec setpriv --reuid=65534 --regid=65534 --clear-groups sh -c 'exec "$@"' sh "$@"
"""


def as_nobody(argv: list[str], scratch: Path) -> list[str]:
    """A command as an ordinary user, for root: what hides our Python from others is opened, in a mount namespace of its own."""
    python = Path(sys.base_prefix).resolve()
    shut = next((str(each) for each in reversed(python.parents) if not each.stat().st_mode & 0o001), "")
    aside = str(scratch / "aside")
    return [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        _AS_NOBODY,
        "sh",
        shut,
        str(python),
        aside,
        *argv,
    ]
