"""Whether the source of functions is still what an image was built from."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stages.contract import Request, StageError
from stages.template import BuiltImage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from stages.contract import Json
    from stages.template import Application


def touched(project: Path, application: Application, since: float) -> bool:
    """Whether a template or anything in a build context was changed, added or removed since then, or may have been.

    The time that the kernel notes of every change, of contents and of names, is nobody's to set. `since` is in seconds.
    """
    templates = {stack.path: project / stack.template.file for stack in application.stacks.values()}
    contexts = {
        (templates[each.stack].parent / each.image.context).resolve()
        for each in application.functions
        if isinstance(each.image, BuiltImage)
    }
    paths = [*map(str, templates.values()), *(path for context in contexts for path in _below(context))]
    try:
        return any(os.lstat(path).st_ctime >= since for path in paths)
    except OSError:
        return True


def _below(folder: Path) -> Iterator[str]:
    for root, _, files in os.walk(folder):
        yield root
        yield from (os.path.join(root, each) for each in files)  # noqa: PTH118 - there may be very many


def since(project: Path, options: Json, secrets: list[str], built: Mapping[str, Any], cache: Path) -> list[str]:
    """The functions of `built`, entries of an images.json, whose source would now be another. Bases are not looked at.

    `options` and `secrets` are those of the build, `cache` is where it keeps digests of contexts.
    """
    from stages.build import definitions, settings, sources  # late, as mostly nothing was touched

    request = Request("build", "check", "local", options, source=".", secrets=secrets)
    try:
        plan = definitions.load(request, project)
        wanted = [each for each in plan.definitions if each.function.id in built]
        found = sources.gather(wanted, settings.read(request).deciding, cache if cache.is_dir() else None)
    except StageError:
        return sorted(built)  # it cannot be built any more
    return sorted(
        function
        for source in found
        for function in source.functions
        if replace(source, bases=built[function].get("bases")).hash != built[function].get("source")
    )
