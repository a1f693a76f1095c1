"""The virtual environment that the daemon runs in: made on first use, from a lock file with hashes.

It is apart from ours because ministack pins its dependencies exactly, and so that nobody who never uses the embedded AWS
installs it.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from stages.contract import StageError

if TYPE_CHECKING:
    from collections.abc import Callable

REQUIREMENTS = Path(__file__).with_name("requirements.lock")


def interpreter(progress: Callable[[str], None]) -> Path:
    """The environment's Python; made if missing, by one process, however many ask. Raises StageError."""
    for place in _places():
        if (python := _python(place / name())).exists():
            return python
    parent = next(filter(_writable, _places()), None)
    if parent is None:
        raise StageError(
            f"there is no place to make the embedded AWS's virtual environment: {' and '.join(map(str, _places()))} "
            "cannot be written",
            hint="Set XDG_DATA_HOME to a directory that can be written.",
        )
    with (parent / f".{name()}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _python(parent / name()).exists():
            _make(parent, progress)
    return _python(parent / name())


def name() -> str:
    """Another lock file or another Python is another environment."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:16]
    return f"embedded-{digest}-{sys.implementation.cache_tag}"


def _places() -> list[Path]:
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    places = [Path(data).absolute() / "towpath"]
    if sys.prefix != sys.base_prefix:  # in a virtual environment; else it would be the system's own directory
        places.insert(0, Path(sys.prefix) / "share" / "towpath")
    return places


def _writable(place: Path) -> bool:
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(place, os.W_OK)


def _python(environment: Path) -> Path:
    return environment / "bin" / "python"


def _make(parent: Path, progress: Callable[[str], None]) -> None:
    """Make it aside and rename it, so that what is there is whole. Environments survive this when run by `bin/python`."""
    aside = parent / f".{name()}.making"
    shutil.rmtree(aside, ignore_errors=True)
    progress(f"Making the embedded AWS's virtual environment in {parent / name()} (once, less than a minute).")
    try:
        has_pip = importlib.util.find_spec("pip") is not None
        _run([sys.executable, "-I", "-m", "venv", *(["--without-pip"] if has_pip else []), str(aside)])
        install = ["install", "--quiet", "--disable-pip-version-check", "--no-input", "--require-hashes"]
        pip = [sys.executable, "-I", "-m", "pip", "--python"] if has_pip else []
        target = str(_python(aside))
        _run([*pip, target, *([] if has_pip else ["-I", "-m", "pip"]), *install, "--requirement", str(REQUIREMENTS)])
        aside.rename(parent / name())
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        output = done.stdout.decode(errors="replace").strip()
        raise StageError(
            f"the embedded AWS's virtual environment cannot be made: {' '.join(command[1:5])} … ended with "
            f"{done.returncode}:\n{output[-2000:]}",
            hint="It needs Python's venv module and a way to PyPI, or to what pip's configuration names instead.",
            cls="retryable",
        )
