"""Tells when the source of an application changes: its templates, and the build contexts of its functions."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

import watchfiles

from stages.template import BuiltImage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from stages.template import Application

_OURS = ".towpath"


def changes(project: Path, application: Callable[[], Application]) -> Iterator[None]:
    """Yield each time that something has changed, once it has been quiet for a moment; never ends by itself.

    `application` is asked anew each time, as a change may bring functions and templates that are to be watched, too.
    """
    told: queue.SimpleQueue[None] = queue.SimpleQueue()
    stop = threading.Event()
    followed = None
    try:
        while True:
            places = _places(project, application())
            if places != followed:
                before, stop, followed = stop, threading.Event(), places
                _follow(*places, told, stop)
                before.set()
            told.get()
            while not told.empty():
                told.get()
            yield
    finally:
        stop.set()


def _places(project: Path, application: Application) -> tuple[frozenset[Path], frozenset[Path]]:
    """The templates, and the build contexts."""
    templates = {(project / stack.template.file).resolve() for stack in application.stacks.values()}
    contexts = {
        (project / application.stacks[each.stack].template.file).parent.resolve() / each.image.context
        for each in application.functions
        if isinstance(each.image, BuiltImage)
    }
    return frozenset(templates), frozenset(contexts)


def _follow(
    templates: frozenset[Path], contexts: frozenset[Path], told: queue.SimpleQueue[None], stop: threading.Event
) -> None:
    """Tell of changes until stopped, from threads of their own."""

    def follow(folders: frozenset[Path], *, recursive: bool, only: frozenset[str] | None) -> None:
        def wanted(_: watchfiles.Change, path: str) -> bool:
            return f"/{_OURS}/" not in path and (only is None or path in only)

        for _ in watchfiles.watch(
            *folders,
            recursive=recursive,
            watch_filter=wanted,
            raise_interrupt=False,
            ignore_permission_denied=True,
            stop_event=stop,
        ):
            told.put(None)

    beside = frozenset(each.parent for each in templates)
    for folders, recursive, only in ((beside, False, frozenset(map(str, templates))), (contexts, True, None)):
        if folders:
            threading.Thread(
                target=follow, args=(folders,), kwargs={"recursive": recursive, "only": only}, daemon=True
            ).start()
