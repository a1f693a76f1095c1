"""Tells when the source of an application changes: its templates, and the build contexts of its functions."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

import watchfiles

from stages.template import BuiltImage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stages.template import Application

_OURS = ".towpath"


def changes(project: Path, application: Application) -> Iterator[None]:
    """Yield each time that something has changed, once it has been quiet for a moment; never ends by itself."""
    templates = {(project / stack.template.file).resolve() for stack in application.stacks.values()}
    contexts = {
        (project / application.stacks[each.stack].template.file).parent.resolve() / each.image.context
        for each in application.functions
        if isinstance(each.image, BuiltImage)
    }
    told: queue.SimpleQueue[None] = queue.SimpleQueue()

    def follow(folders: set[Path], *, recursive: bool, only: set[Path] | None) -> None:
        def wanted(_: watchfiles.Change, path: str) -> bool:
            return f"/{_OURS}/" not in path and (only is None or path in {str(each) for each in only})

        for _ in watchfiles.watch(
            *folders, recursive=recursive, watch_filter=wanted, raise_interrupt=False, ignore_permission_denied=True
        ):
            told.put(None)

    for folders, recursive, only in (({each.parent for each in templates}, False, templates), (contexts, True, None)):
        if folders:
            threading.Thread(
                target=follow, args=(folders,), kwargs={"recursive": recursive, "only": only}, daemon=True
            ).start()
    while True:
        told.get()
        while not told.empty():
            told.get()
        yield
