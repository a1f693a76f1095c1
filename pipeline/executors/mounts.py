"""What a sandbox has of the file system: from what is wanted to bubblewrap's arguments, in an order in which they work.

Everything is mounted at its real path, and the links that lead there are made anew, so that each name means what it means
outside. A parent stands before what is in it.
"""

from __future__ import annotations

import functools
import os
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

Way = Literal["read", "write", "scratch", "hidden"]
"""`read`, `write`: what lies there, and all below. `scratch`: something else of ours, for writing. `hidden`: nothing of it."""

_MOST_LINKS = 40
_EMPTY = (None, "hidden", "scratch")
"""What has nothing of this machine in it."""
NOTHING = "/dev/null"


@dataclass(frozen=True)
class Mount:
    """One path of a sandbox. `source` is what is to be there, if that is not what is there outside.

    `lasting`: what is there now will be there as long as this runner, so it is looked at once.
    """

    path: str
    way: Way
    source: str | None = None
    lasting: bool = False


def place(mounts: Iterable[Mount]) -> list[Mount]:
    """Give what has to be mounted, parents first. Of two for one path the later counts; what is not there is passed over."""
    return _needed(_placed(mounts)[0])


def arguments(mounts: Iterable[Mount]) -> list[str]:
    """Give bubblewrap's arguments."""
    placed, links = _placed(mounts)
    made = [(mount.path, _bind(mount)) for mount in _needed(placed)]
    made += [(link, ["--symlink", target, link]) for link, target in links.items() if _around(link, placed) in _EMPTY]
    return [argument for _, each in sorted(made) for argument in each] + _closed(placed)


def _placed(mounts: Iterable[Mount]) -> tuple[dict[str, Mount], dict[str, str]]:
    """Mounts by their real paths, and the links on the way there."""
    placed: dict[str, Mount] = {}
    links: dict[str, str] = {}
    for mount in mounts:
        real, found, is_there = _known(mount.path) if mount.lasting else _look(mount.path)
        links |= found
        if is_there:
            placed[real] = Mount(real, mount.way, mount.source)
    return placed, links


def _look(path: str) -> tuple[str, dict[str, str], bool]:
    real, links = resolve(path)
    return real, links, os.path.lexists(real)


_known = functools.cache(_look)


def _needed(placed: dict[str, Mount]) -> list[Mount]:
    """Those that change what is there already."""
    return [
        mount
        for real, mount in sorted(placed.items())
        if mount.way in ("write", "scratch")
        or (mount.way == "read" and _around(real, placed) != "read")
        or (mount.way == "hidden" and _around(real, placed) not in _EMPTY)
    ]


def _bind(mount: Mount) -> list[str]:
    if mount.way == "hidden":
        return ["--tmpfs", mount.path] if Path(mount.path).is_dir() else ["--ro-bind", NOTHING, mount.path]
    return ["--ro-bind" if mount.way == "read" else "--bind", mount.source or mount.path, mount.path]


def _closed(placed: dict[str, Mount]) -> list[str]:
    """Nothing can be written where mounts were made for others to lie in."""
    hidden = [mount.path for mount in _needed(placed) if mount.way == "hidden" and Path(mount.path).is_dir()]
    return [argument for path in (*hidden, "/") for argument in ("--remount-ro", path)]


def _around(path: str, placed: dict[str, Mount]) -> Way | None:
    """What the nearest mount above a path is."""
    return next((placed[str(each)].way for each in Path(path).parents if str(each) in placed), None)


def resolve(path: str) -> tuple[str, dict[str, str]]:
    """Follow a path to its real one, and give the links on the way by their own real place."""
    links: dict[str, str] = {}
    rest = deque(_parts(path))
    here, followed = Path("/"), 0
    while rest:
        part = rest.popleft()
        there = here.parent if part == ".." else here / part
        if not there.is_symlink() or followed == _MOST_LINKS:
            here = there
            continue
        followed += 1
        target = str(there.readlink())
        links[str(there)] = target
        rest.extendleft(reversed(_parts(target)))
        here = Path("/") if target.startswith("/") else here
    return str(here), links


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
