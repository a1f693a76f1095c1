"""The files and folders besides images that templates name: gathered, so that `package` can upload them without the source.

Folders, and files that have to be, are put into zip archives that are the same for the same content: names sorted, times
fixed, and of the modes only whether a file may be executed, as that is what git keeps too. Nothing is installed or built:
what stands in the folder is what is uploaded.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from stages import template as templates
from stages.contract import InvalidInput, Problem
from stages.log import log

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stages.contract import Json
    from stages.template import Application, Artifact

FOLDER = "artifacts"
LEFT_OUT = frozenset({".git", ".towpath"})
"""Of a folder itself, not of folders in it: a repository's history and our record are nobody's code."""
_TIME = (1980, 1, 1, 0, 0, 0)  # the first that zip archives can say
_READ_BYTES = 1 << 20


def check(application: Application, root: Path) -> list[Problem]:
    """What is missing, or outside the project, of all that the templates name."""
    problems = []
    for artifact in templates.artifacts(application):
        try:
            _find(artifact, root)
        except ValueError as error:
            template = application.stacks[artifact.stack].template
            hint = "It is relative to the folder of the template that names it."
            message = f"{artifact.id}: {artifact.name} names {artifact.file}, which {error}"
            problems.append(template.problem(artifact.node or template.root, message, hint))
    return problems


def gather(application: Application, root: Path, output: Path) -> list[Json]:
    """Put everything into `output/artifacts`, by its content, and say what is where, in the order of the templates."""
    found = templates.artifacts(application)
    if not found:
        return []
    (output / FOLDER).mkdir(parents=True, exist_ok=True)
    known: dict[tuple[str, bool], Json] = {}
    rows = []
    for artifact in found:
        key = (artifact.file, artifact.zipped)
        if key not in known:
            known[key] = _store(artifact, _find(artifact, root), root, output / FOLDER)
        where = {"id": artifact.id, "stack": artifact.stack, "path": list(artifact.slot.path), "name": artifact.name}
        rows.append(where | known[key])
    return rows


def _find(artifact: Artifact, root: Path) -> Path:
    """The file or folder. Raises ValueError: what is wrong with it, to follow "which"."""
    path = Path(os.path.realpath(root / artifact.file))
    if not path.is_relative_to(root):
        raise ValueError("is outside the project")
    if not path.exists():
        raise ValueError("does not exist")
    if path.is_dir() and not artifact.zipped:
        raise ValueError("is a folder, and a file is meant")
    return path


def _store(artifact: Artifact, path: Path, root: Path, folder: Path) -> Json:
    new = folder / ".new"
    if artifact.zipped and not (path.is_file() and zipfile.is_zipfile(path)):
        _write_zip(path, root, new)
        suffix = ".zip"
    else:
        shutil.copyfile(path, new)
        suffix = path.suffix
    with new.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    size = new.stat().st_size
    name = f"{sha256}{suffix}"
    new.replace(folder / name)
    log(f"{artifact.name}: {artifact.file}, {size:,} bytes", function=artifact.id)
    return {"file": f"{FOLDER}/{name}", "sha256": f"sha256:{sha256}", "size": size}


def _write_zip(path: Path, root: Path, target: Path) -> None:
    """Write a folder's files, or one file, as a zip archive. Links are followed, but never out of the project."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, file in sorted(_files(path, root)) if path.is_dir() else [(path.name, path)]:
            info = zipfile.ZipInfo(name, _TIME)
            info.create_system = 3  # unix, wherever it is written
            executable = file.stat().st_mode & stat.S_IXUSR
            info.external_attr = (stat.S_IFREG | (0o755 if executable else 0o644)) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            info.file_size = file.stat().st_size
            with file.open("rb") as content, archive.open(info, "w") as entry:
                shutil.copyfileobj(content, entry, _READ_BYTES)


def _files(folder: Path, root: Path, prefix: str = "", within: tuple[Path, ...] = ()) -> Iterator[tuple[str, Path]]:
    """All files below a folder, with their names in the archive."""
    real = Path(os.path.realpath(folder))
    if not real.is_relative_to(root) or real in within:
        what = "leads out of the project" if real not in within else "leads into itself"
        raise InvalidInput(
            [Problem(f"the link {folder.relative_to(root)} {what}", hint="Put the files there themselves.")]
        )
    with os.scandir(folder) as listed:
        entries = list(listed)
    for entry in entries:
        path, name = Path(entry.path), prefix + entry.name
        if not prefix and entry.name in LEFT_OUT:
            continue
        if entry.is_dir():
            yield from _files(path, root, f"{name}/", (*within, real))
        elif not Path(os.path.realpath(path)).is_relative_to(root):
            raise InvalidInput([Problem(f"the link {path.relative_to(root)} leads out of the project")])
        elif entry.is_file():
            yield name, path
        else:
            raise InvalidInput([Problem(f"{path.relative_to(root)} is neither a file nor a folder")])
