"""Projects in git, with people who may approve."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def commit(project: Path, author: str, ignored: str = ".towpath/\n") -> None:
    """Commit all there is as `author`, whose address is that name at example.com."""
    (project / ".gitignore").write_text(ignored)
    for arguments in (
        ["init", "-q"],
        ["config", "user.email", f"{author}@example.com"],
        ["config", "user.name", author.capitalize()],
        ["add", "-A"],
        ["commit", "-qm", "one"],
    ):
        subprocess.run(["git", *arguments], cwd=project, check=True)


def enrol(project: Path, folder: Path, *people: str) -> None:
    """Make an SSH key for each person in `folder`, and the project's `allowed_signers`."""
    folder.mkdir(exist_ok=True)
    signers = []
    for person in people:
        key = folder / person
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", person, "-f", key], check=True)
        signers.append(f'{person} namespaces="towpath-approval" {key.with_suffix(".pub").read_text()}')
    (project / "allowed_signers").write_text("".join(signers))


def enrol_runners(folder: Path) -> None:
    """Make keys for two runners in `folder`, `builder` and `gate`, and `trust`, which pins them."""
    lines = []
    for name, roles in (("builder", "builder"), ("gate", "builder,gate")):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", folder / name], check=True)
        lines.append(f'{roles} namespaces="towpath" {" ".join((folder / f"{name}.pub").read_text().split()[:2])}\n')
    (folder / "trust").write_text("".join(lines))
