"""Where a project stands in git: which commit, and whether its files are as in that commit."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

from pipeline.errors import VerificationFailed

if TYPE_CHECKING:
    from pathlib import Path

_OURS = ":(exclude,top).towpath"
_NOTHING_OF_THEIRS = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
"""A project's configuration names programs, and to look at it is to run none of them."""


def state(project: Path) -> dict[str, Any]:
    """Give `commit` (None without git), `clean` (nothing differs, nothing is untracked), and `changed`, the tracked files
    that differ, at most twenty of them. Our own `.towpath` does not count.
    """
    commit = git(project, "rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "clean": None, "changed": []}
    listed = (
        git(project, "status", "--porcelain", "--untracked-files=normal", "--ignore-submodules=dirty", "--", ".", _OURS)
        or ""
    ).splitlines()
    changed = [line[3:] for line in listed if not line.startswith("??")]
    return {"commit": commit, "clean": not listed, "changed": sorted(changed)[:20]}


def compare(opened: dict[str, Any] | None, now: dict[str, Any]) -> None:
    """Refuse a source that is not what the run was opened with. Raises VerificationFailed.

    A run that was opened at a commit with no tracked file changed reads that very commit to its end. What was not so to
    begin with (changes in no commit, or no git) cannot be held to anything; it stands in the record as what it is.
    """
    if not opened or opened.get("commit") is None or opened.get("changed"):
        return
    hint = f"Check out {opened['commit'][:12]} again, or start a new run with what is there now: towpath run"
    if now["commit"] != opened["commit"]:
        raise VerificationFailed(
            f"the project is at commit {now['commit']}, and this run was opened at {opened['commit']}", hint=hint
        )
    if now["changed"]:
        files = ", ".join(now["changed"][:3])
        raise VerificationFailed(
            f"files were changed since this run was opened at {opened['commit'][:12]}: {files}", hint=hint
        )


def git(folder: Path, *arguments: str) -> str | None:
    """Run git and give what it prints, or None if it cannot tell."""
    argv = ["git", "-C", str(folder), *_NOTHING_OF_THEIRS, *arguments]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.rstrip("\n") if done.returncode == 0 else None
